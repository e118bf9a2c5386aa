"""The scripts of launch/, with stand-ins for the programs of clusters that are not here."""

import os
import subprocess
import sys

import pytest

from dalle_jax.train.distributed import Place, find_place
from tests.conftest import ONE_DEVICE, ROOT
from tests.sweeps.test_slurm import missing, slurm, wait_for  # noqa: F401

# In the place of `dalle-jax`: the processes meet, say whom they met, and the first time are told to
# be preempted.
MEETING = """
import os, sys
import jax
import numpy as np
from jax.experimental import multihost_utils
from dalle_jax.train import distributed

distributed.join(distributed.find_place())
met = multihost_utils.process_allgather(np.int32(jax.process_index()))
again = os.environ.get("SLURM_RESTART_COUNT", "0")
with open(f"met_{again}_{jax.process_index()}", "w") as file:
    print(*met, *sys.argv[1:], file=file)
sys.exit(143 if again == "0" else 0)
"""


def script(path, text):
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("code, requeued", [(0, False), (1, False), (143, True)])
def test_a_preempted_slurm_job_goes_into_the_queue_again(tmp_path, code, requeued):
    script(tmp_path / "srun", f'printf "%s\\n" "$@" > {tmp_path}/srun.txt; exit {code}')
    script(tmp_path / "scontrol", f'echo "$@" > {tmp_path}/scontrol.txt')
    environ = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "7",
        "SLURM_SUBMIT_DIR": str(tmp_path),
    }
    command = ["bash", ROOT / "launch/slurm.sbatch", "--config=a b.py", "--workdir=w"]
    assert subprocess.run(command, env=environ).returncode == code
    started = (tmp_path / "srun.txt").read_text().splitlines()
    assert started[-4:] == [".venv/bin/dalle-jax", "train", "--config=a b.py", "--workdir=w"]
    assert (tmp_path / "scontrol.txt").exists() == requeued
    if requeued:
        assert (tmp_path / "scontrol.txt").read_text().split() == ["requeue", "7"]


def test_each_host_of_a_tpu_pod_is_told_the_same(tmp_path):
    script(tmp_path / "gcloud", f'printf "%s\\n" "$@" >> {tmp_path}/told.txt')
    script(tmp_path / "git", 'for last; do true; done; [ "$1" = archive ]')
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "NAME": "pod", "ZONE": "here"}
    command = ["bash", ROOT / "launch/tpu_pod.sh", "--config=a b.py"]
    subprocess.run(command, env=environ, check=True)
    told = (tmp_path / "told.txt").read_text().splitlines()
    assert told.count("--worker=all") == 2 and told.count("--zone=here") == 2
    assert told[-2].strip() == "PYTHON=python3 bash launch/install.sh tpu"
    assert told[-1].strip() == r".venv/bin/dalle-jax train --config=a\ b.py"
    subprocess.run(command, env={**environ, "PYTHON": "python3.12"}, check=True)
    told = (tmp_path / "told.txt").read_text().splitlines()
    assert told[-2].strip() == "PYTHON=python3.12 bash launch/install.sh tpu"
    del environ["ZONE"]
    failed = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert failed.returncode == 1 and "its zone is missing" in failed.stderr


def test_the_image_has_the_program_that_the_jobset_calls():
    yaml = pytest.importorskip("yaml")
    image = (ROOT / "launch/Dockerfile").read_text()
    assert "RUN bash launch/install.sh cuda\nENV PATH=/dalle_jax/.venv/bin:" in image
    text = (ROOT / "launch/jobset.yaml").read_text()
    (replicated,) = yaml.safe_load(text)["spec"]["replicatedJobs"]
    pod = replicated["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["dalle-jax", "train"]
    config = next(a for a in container["args"] if a.startswith("--config="))
    assert (ROOT / config.removeprefix("--config=")).exists() and "WORKDIR /dalle_jax\n" in image


def test_the_pods_of_the_jobset_know_their_places():
    yaml = pytest.importorskip("yaml")
    jobset = yaml.safe_load((ROOT / "launch/jobset.yaml").read_text())
    (replicated,) = jobset["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    environ = {entry["name"]: entry["value"] for entry in container["env"]}
    # JobSet names its pods JOBSET-REPLICATED JOB-0-INDEX, in the subdomain JOBSET.
    name = jobset["metadata"]["name"]
    first = f"{name}-{replicated['name']}-0-0.{name}"
    pods = job["completions"]
    assert job["completionMode"] == "Indexed" and job["parallelism"] == pods > 1
    for index in range(pods):
        place = find_place(environ={**environ, "JOB_COMPLETION_INDEX": str(index)})
        assert place == Place(f"{first}:{container['ports'][0]['containerPort']}", pods, index)


@pytest.mark.long
@pytest.mark.skipif(bool(missing()), reason=missing() or "there is one")
def test_under_a_real_slurm_the_tasks_meet_and_a_preempted_job_goes_on(slurm, tmp_path):  # noqa: F811
    (tmp_path / "meeting.py").write_text(MEETING)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    run = f'PYTHONPATH={ROOT} exec {sys.executable} {tmp_path}/meeting.py "$@"'
    script(tmp_path / ".venv/bin/dalle-jax", run)
    job = ["sbatch", "--ntasks=2", "--ntasks-per-node=2", "--cpus-per-task=1"]
    command = [*job, ROOT / "launch/slurm.sbatch", "--config=a b.py"]
    environ = {**ONE_DEVICE, "SLURM_CONF": os.environ["SLURM_CONF"]}
    subprocess.run(command, cwd=tmp_path, env=environ, check=True)
    for again in range(2):
        for own in range(2):
            wait_for((tmp_path / f"met_{again}_{own}").exists, 400)
    wait_for(lambda: (tmp_path / "met_1_1").read_text(), 10)
    met = [(tmp_path / f"met_{again}_{own}").read_text() for again in (0, 1) for own in (0, 1)]
    assert met == ["0 1 train --config=a b.py\n"] * 4

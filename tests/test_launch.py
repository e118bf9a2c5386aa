"""The scripts of launch/, with stand-ins for the programs of clusters that are not here."""

import os
import subprocess

import pytest

from dalle_jax.train.distributed import Place, find_place
from tests.conftest import ROOT


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
    assert told[-1].strip() == r".venv/bin/dalle-jax train --config=a\ b.py"
    del environ["ZONE"]
    failed = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert failed.returncode == 1 and "its zone is missing" in failed.stderr


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

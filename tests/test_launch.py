"""The scripts of launch/, with stand-ins for the programs of clusters that are not here."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from dalle_jax.training.checkpoint import steps_in
from dalle_jax.training.distributed import ProcessAddress, find_address
from tests.conftest import ONE_DEVICE, ROOT
from tests.sweeps.test_slurm import missing, output, slurm, wait_for  # noqa: F401


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


@pytest.mark.parametrize("venv", [".venv", "other python"])
def test_installing_does_nothing_twice_and_keeps_the_extras_of_earlier_calls(tmp_path, venv):
    environ = {**os.environ, "PYTHON": tmp_path / "python", "VENV": venv}
    if venv == ".venv":
        del environ["VENV"]
    shutil.copytree(ROOT / "launch", tmp_path / "launch")
    for name in ("requirements.txt", "pyproject.toml"):
        (tmp_path / name).write_text("jax\n")
    script(
        tmp_path / "python",
        f'echo "$@" >> {tmp_path}/calls.txt\n'
        '[ "$1 $2" != "-m venv" ] || { mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; }',
    )

    def installed(*extras):
        """What is given to pip as the project, None if it is not called."""
        (tmp_path / "calls.txt").write_text("")
        command = ["bash", tmp_path / "launch/install.sh", *extras]
        subprocess.run(command, env=environ, check=True)
        calls = (tmp_path / "calls.txt").read_text().splitlines()
        return next((call.split()[-1] for call in calls if "--editable" in call), None)

    assert installed() == "."
    assert installed() is None
    assert installed("test", "parity") == ".[parity,test]"
    assert installed("docs") == ".[docs,parity,test]"
    assert installed("test") is None and installed() is None
    (tmp_path / "requirements.txt").write_text("jax==0.10.2\n")
    assert installed() == ".[docs,parity,test]"
    assert [path.parent.name for path in tmp_path.rglob("installed")] == [venv]


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
        place = find_address(environ={**environ, "JOB_COMPLETION_INDEX": str(index)})
        assert place == ProcessAddress(
            f"{first}:{container['ports'][0]['containerPort']}", pods, index
        )


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.skipif(bool(missing()), reason=missing() or "there is one")
def test_under_a_real_slurm_a_training_told_to_end_is_queued_again_and_goes_on(
    slurm,  # noqa: F811
    tmp_path,
    shapes_dir,
):
    (tmp_path / ".venv/bin").mkdir(parents=True)
    verb = f'PYTHONPATH={ROOT} exec {sys.executable} -m dalle_jax "$@"'
    script(tmp_path / ".venv/bin/dalle-jax", verb)
    command = ["sbatch", "--parsable", "--ntasks=2", "--ntasks-per-node=2", "--cpus-per-task=1"]
    command += [ROOT / "launch/slurm.sbatch", f"--config={ROOT / 'configs/tiny.py'}"]
    command += [f"--workdir={tmp_path / 'run'}", f"--config.data.dir={shapes_dir}"]
    command += [f"--config.decoder.train.{setting}" for setting in ("steps=60", "log_every=1")]
    environ = {**ONE_DEVICE, "SLURM_CONF": os.environ["SLURM_CONF"]}
    environ["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path / "xla")
    job = subprocess.check_output(command, cwd=tmp_path, env=environ, text=True).strip()

    def logged():
        log = tmp_path / "run/decoder/metrics.jsonl"
        return [json.loads(x)["step"] for x in log.read_text().splitlines()] if log.exists() else []

    wait_for(lambda: max(logged(), default=0) >= 20, 400)
    # As 120 seconds before its time is over: to the tasks, and not to the script that waits.
    subprocess.run(["scancel", "--signal=TERM", job], check=True)
    wait_for(lambda: "Restarts=1" in output("scontrol", "show", "job", job), 60)
    (saved,) = steps_in(tmp_path / "run/decoder/checkpoints")[-1:]
    assert 20 <= saved < 60
    wait_for(lambda: not output("squeue", "-h"), 400)
    assert steps_in(tmp_path / "run/decoder/checkpoints")[-1] == 60
    told = (tmp_path / f"slurm-{job}.out").read_text()
    assert told.count("mesh {'data': 2, ") == 2  # the tasks met, both times
    assert f"stopped by SIGTERM at step {saved}, checkpoint saved" in told
    assert f"decoder goes on from step {saved}" in told

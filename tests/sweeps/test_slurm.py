"""The Slurm backend: against a real Slurm of one node where one can be started, else in parts."""

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import types

import pytest

from dalle_jax.sweeps.slurm import TIME, TIME_OVER, Task, submit
from dalle_jax.training.checkpoint import steps_in
from tests.conftest import ONE_DEVICE, ROOT
from tests.sweeps.twelve import FOUR, calls, graph_of, prepared

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol")
TASKS = 2
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
NodeName={host} NodeAddr=127.0.0.1 CPUs={tasks} State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=3 State=UP
PartitionName=high Nodes=ALL PriorityTier=2 PreemptMode=OFF State=UP
"""


def missing() -> str:
    """Why no Slurm can be started here, or nothing."""
    if absent := [program for program in PROGRAMS if shutil.which(program) is None]:
        return f"{', '.join(absent)} not installed (Debian: slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "Slurm's daemons are started as root"


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A Slurm of this machine alone, on loopback."""
    pytest.importorskip("submitit")
    folder = tmp_path / "slurm"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    conf = folder / "slurm.conf"
    conf.write_text(
        CONFIGURATION.format(host=host, folder=folder, ports=free_ports(2), tasks=TASKS)
    )
    monkeypatch.setenv("SLURM_CONF", str(conf))
    munged = ["munged", "--foreground", "--force", f"--key-file={key}"]
    for name in ("socket", "pid", "log", "seed"):
        munged.append(f"--{name}{'' if name == 'socket' else '-file'}={folder}/munge.{name}")
    daemons = [munged, ["slurmctld", "-D", "-f", str(conf)]]
    daemons.append(["slurmd", "-D", "-f", str(conf), "-N", host])
    running = []
    try:
        for command in daemons:
            with open(folder / f"{command[0]}.out", "wb") as out:
                running.append(subprocess.Popen(command, stdout=out, stderr=out))
            time.sleep(1)
        wait_for(lambda: "idle" in output("sinfo", "-h", "-o", "%T"), 60)
        yield
        # What runs while the daemons end would stay behind.
        subprocess.run(["scancel", "--full", "--signal=KILL", "--user=root"], check=True)
        wait_for(lambda: not output("squeue", "-h"), 60)
    finally:
        for daemon in reversed(running):
            daemon.terminate()
            daemon.wait(30)


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def wait_for(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


@pytest.mark.skipif(bool(missing()), reason=missing() or "there is one")
@pytest.mark.timeout(900)
def test_an_array_shares_the_work_and_goes_on_after_its_time_and_a_preemption(
    slurm, tmp_path, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("STAND_IN_SECONDS", "0.4")
    workdir = tmp_path / "sweep"
    _, jobs = prepared(graph_of(FOUR), workdir)
    command = [sys.executable, "-m", "tests.sweeps.twelve", str(workdir)]
    tasks = submit(command, TASKS, workdir / "slurm", {"partition": "low", "time": 10})
    wait_for(lambda: any(job.step() > 1 for job in jobs), 240)
    # As Slurm tells a task of the end of its time; submitit puts it into the queue again.
    wait_for(lambda: all(state(task) == "RUNNING" for task in tasks), 240)
    subprocess.run(["scancel", "--signal=USR2", tasks[0]], check=True)
    wait_for(lambda: "Restarts=1" in output("scontrol", "show", "job", tasks[0]), 240)
    # A job that may preempt the other asks for the whole node.
    urgent = ["sbatch", "--partition=high", "--exclusive", "--wrap=true", "--output=/dev/null"]
    subprocess.run(urgent, check=True, capture_output=True)
    wait_for(lambda: all(job.is_done() for job in jobs) or not output("squeue", "-h"), 360)
    told = [output("scontrol", "show", "job", task) for task in tasks]
    assert ["Restarts=1" in of_task for of_task in told] == [True, True]
    counted = calls(workdir)
    assert len(counted) == 5 + len(FOUR.points)
    # What ran in the tasks that were stopped was begun twice, and nothing else; what is trained
    # went on from its checkpoint.
    assert len(counted) < sum(counted.values()) <= len(counted) + TASKS
    begun = (workdir / "calls").read_text().split()
    assert any(word.startswith("from=") and word != "from=0" for word in begun)


SEEDS = """
from dalle_jax.sweeps.grid import Sweep, product

def get_sweep(scale):
    evaluation = {{"n": 8, "metrics": "oracle"}}
    return Sweep("{config}", product(seed=range(2)), evaluation=evaluation)
"""


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.skipif(bool(missing()), reason=missing() or "there is one")
def test_a_sweep_of_two_trainings_goes_on_after_the_end_of_its_tasks_time(
    slurm, tmp_path, shapes_dir, monkeypatch
):
    for name, value in ONE_DEVICE.items():
        monkeypatch.setenv(name, value)
    experiment, workdir = tmp_path / "seeds.py", tmp_path / "sweeps"
    experiment.write_text(SEEDS.format(config=ROOT / "configs/tiny.py"))
    command = [sys.executable, "-m", "dalle_jax", "sweep", experiment, f"--workdir={workdir}"]
    command += ["--backend=slurm", "--workers=2", "--slurm.partition=low", "--slurm.time=20"]
    command += [f"--config.data.dir={shapes_dir}", "--config.decoder.train.steps=100"]
    command += ["--config.decoder.train.log_every=1", "--config.decoder.train.checkpoint_every=50"]
    submitted = output(*map(str, command))
    tasks = re.findall(r"'(\d+_\d)'", submitted)
    assert len(tasks) == 2, submitted

    def logged(run) -> int:
        log = run / "metrics.jsonl"
        return log.read_text().count('"loss"') if log.exists() else 0

    wait_for(lambda: any(logged(run) > 60 for run in workdir.glob("runs/*")), 900)
    subprocess.run(["scancel", "--signal=USR2", *tasks], check=True)
    wait_for(lambda: not output("squeue", "-h"), 900)
    runs = list(workdir.glob("runs/*"))
    assert [steps_in(run / "checkpoints")[-1] for run in runs] == [100, 100]
    steps = [json.loads(x) for run in runs for x in (run / "metrics.jsonl").open()]
    assert sorted(x["step"] for x in steps if "loss" in x) == sorted([*range(1, 101)] * 2)
    told = "".join(log.read_text() for log in workdir.glob("jobs/decoder-*/attempt_*.log"))
    saved = [int(step) for step in re.findall(r"stopped by SIGTERM at step (\d+)", told)]
    assert any(step > 60 for step in saved)
    assert [int(x) for x in re.findall(r"decoder goes on from step (\d+)", told)] == saved
    (table,) = workdir.glob("seeds-tiny*/results.csv")
    rows = list(csv.DictReader(table.open()))
    assert {row["seed"] for row in rows if row["metric"] == "oracle/caption"} == {"0", "1"}


def state(task: str) -> str:
    """Of a task of an array, as "RUNNING"."""
    return output("squeue", "-h", "-o", "%T", f"--job={task}").strip()


def test_a_preempted_tasks_command_is_told_to_save_and_submitted_again(tmp_path, monkeypatch):
    helpers = types.ModuleType("submitit.helpers")
    helpers.DelayedSubmission = lambda task: task  # which submitit submits
    monkeypatch.setitem(sys.modules, "submitit.helpers", helpers)
    monkeypatch.setitem(sys.modules, "submitit", types.ModuleType("submitit"))
    code = (
        "import signal, sys, time; from pathlib import Path\n"
        "def save(*_): Path(sys.argv[1]).write_text('saved'); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, save); Path(sys.argv[2]).touch(); time.sleep(60)"
    )
    saved, started = tmp_path / "saved", tmp_path / "started"
    task = Task([sys.executable, "-c", code, str(saved), str(started)])

    again = []

    def preempt(*_):  # as on a node: while the task waits for its command
        if started.exists():
            signal.setitimer(signal.ITIMER_REAL, 0)
            again.append(task.checkpoint())
            sys.exit()  # as submitit does

    before = signal.signal(signal.SIGALRM, preempt)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    try:
        with pytest.raises(SystemExit):
            task()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert saved.read_text() == "saved"
    assert again[0].command == task.command


def test_a_task_whose_sweep_failed_fails_too():
    ends = lambda code: Task([sys.executable, "-S", "-c", f"raise SystemExit({code})"])
    assert ends(0)() == 0 and ends(75)() == TIME_OVER == 75
    for code in (1, 2, 143):
        with pytest.raises(RuntimeError, match=f"ended with exit code {code}; what it said"):
            ends(code)()


@pytest.mark.parametrize(("typed", "minutes"), [({}, TIME), ({"time": 600}, 600)])
def test_a_task_has_a_day_unless_told_and_is_queued_again_however_often_that_is_over(
    typed, minutes, tmp_path, monkeypatch
):
    submitit = pytest.importorskip("submitit")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "srun").write_text("#!/bin/sh\n")
    (programs / "sbatch").write_text(
        f'#!/bin/sh\ncat "$1" > {tmp_path}/submitted\necho Submitted batch job 17\n'
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    tasks = submit(["true"], 2, tmp_path / "slurm", {"gpus_per_node": 1, **typed})
    assert tasks == ["17_0", "17_1"]
    asked = (tmp_path / "submitted").read_text().splitlines()
    assert f"#SBATCH --time={minutes}" in asked and "#SBATCH --requeue" in asked
    assert "#SBATCH --gpus-per-node=1" in asked and TIME == 1440
    of_a_task = tmp_path / "slurm/17_0_submitted.pkl"
    task = submitit.core.utils.DelayedSubmission.load(of_a_task)
    # submitit counts down from this at each end of a task's time, and gives up below 0.
    assert task._timeout_countdown > 1000


def test_a_machine_without_submitit_or_slurm_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ImportError, match=r"pip install 'dalle-jax\[slurm\]'"):
        submit(["true"], 1, tmp_path, {})
    monkeypatch.setitem(sys.modules, "submitit", types.ModuleType("submitit"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no Slurm on this machine"):
        submit(["true"], 1, tmp_path, {})

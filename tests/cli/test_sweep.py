"""`dalle-jax sweep` and `dalle-jax report` as a person types them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dalle_jax.cli import sweep
from dalle_jax.sweeps import launcher as launchers
from dalle_jax.sweeps import run as sweep_run
from dalle_jax.sweeps import slurm
from dalle_jax.sweeps.definition import read_definition
from dalle_jax.sweeps.hours import Counts
from dalle_jax.sweeps.results import table
from tests.conftest import ONE_DEVICE, ROOT
from tests.sweeps.twelve import calls, stand_in_jobs

EXPERIMENT = """
from dalle_jax.sweeps.grid import Sweep, product

def get_sweep(scale):
    points = product(
        ("decoder.loss.target", ["v", "eps"]), ("decoder.sample.guidance_scale", [1.0, 3.0])
    )
    unet = {"decoder.model.unet.channel_mult": (1,), "decoder.model.unet.attention_resolutions": ()}
    steps = {"tiny": 4}[scale]
    return Sweep(
        config="configs/tiny.py",
        points=points,
        overrides={"decoder.train.steps": steps, "decoder.train.validation_images": 8, **unet},
        evaluation={"n": 8, "metrics": "oracle"},
    )
"""


@pytest.fixture
def experiment(tmp_path) -> Path:
    """A project of its own, whose configs are the real ones."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    path = tmp_path / "experiments/targets.py"
    path.parent.mkdir()
    path.write_text(EXPERIMENT)
    return path


def test_a_dry_run_tells_what_would_be_done_and_does_nothing(experiment, tmp_path, capsys):
    workdir = tmp_path / "sweeps"
    assert sweep.run([str(experiment), f"--workdir={workdir}", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "targets-tiny: 4 points" in out
    assert "2 of 2 distinct trainings are to be done, for 4 points" in out
    lines = [[cell.strip() for cell in line.split("│")[1:4]] for line in out.splitlines()]
    assert [line for line in lines if line and line[0].isdecimal()] == [
        ["1", "target=v, guidance_scale=1.0", "train"],
        ["2", "target=v, guidance_scale=3.0", "as no. 1"],
        ["3", "target=eps, guidance_scale=1.0", "train"],
        ["4", "target=eps, guidance_scale=3.0", "as no. 3"],
    ]
    assert "…" not in out  # nothing is cut off
    assert "hours, guessed from how fast this machine multiplies matrices" in out
    assert "missing: captioned_shapes/easy is not prepared at 24 pixels" in out
    assert not (workdir / "runs").exists() and not (workdir / "targets-tiny").exists()
    # Estimated once: a decoder's step and forward pass, which are alike for both targets.
    assert len(json.loads((workdir / "flops.json").read_text())) == 2


def test_what_is_mistyped_is_named_in_a_sentence(experiment, tmp_path):
    def refused(*options, match):
        with pytest.raises((ValueError, OSError), match=match):
            sweep.run([str(experiment), f"--workdir={tmp_path}/w", *options])

    refused("--scale=paper", match="has no scale 'paper'")
    refused("--config.decoder.loss.target=x0", match="is what the sweep varies")
    refused("--config.decoder.train.stepz=3", match=r"did you mean decoder\.train\.steps")
    refused(f"--reuse={tmp_path}/none", "--dry-run", match="no workdir .*none")
    (tmp_path / "pictures").mkdir()
    refused(f"--reuse={tmp_path}/pictures", "--dry-run", match="pictures holds no runs to reuse")
    with pytest.raises(FileNotFoundError, match="there is no sweep"):
        sweep.run([f"{tmp_path}/none.py", f"--workdir={tmp_path}/w"])
    (tmp_path / "experiments/script.py").write_text("print('not one')")
    with pytest.raises(ValueError, match="defines no get_sweep"):
        sweep.run([f"{tmp_path}/experiments/script.py", f"--workdir={tmp_path}/w"])


def test_what_is_typed_has_a_place_of_its_own_and_columns(experiment, tmp_path, monkeypatch):
    workdir = tmp_path / "sweeps"
    found = []

    def keep_table(graph, layout, *given, **options):
        for point in graph.points:
            (run,) = point.runs.values()
            line = {"step": 4, "validation/loss": 0.5}
            (layout.run(run) / "metrics.jsonl").write_text(json.dumps(line) + "\n")
            (layout.run(run) / "checkpoints/4").mkdir(parents=True, exist_ok=True)
        found.append(table(graph, layout))
        assert read_definition(layout.directory)[1].cli_overrides == graph.cli_overrides
        return 0

    monkeypatch.setattr(sweep_run, "run", keep_table)
    typed = ["--config.decoder.train.batch_size=8", "--config.seed=3"]
    free = [f"--config.data.dir={tmp_path}", "--config.decoder.train.log_every=7"]
    for options in ([], free, [*typed, *free], [f"--config.data.source=folder:/{'a' * 80}"]):
        assert sweep.run([str(experiment), f"--workdir={workdir}", *options]) == 0
    names = {path.name for path in workdir.glob("targets-*")}
    (long,) = names - {"targets-tiny", "targets-tiny-decoder.train.batch_size=8,seed=3"}
    assert long.startswith("targets-tiny-data.source=folder__aaa") and len(long) < 90
    plain, with_free, changed, _ = found
    assert list(plain[0]) == list(with_free[0]) and "decoder.train.batch_size" not in plain[0]
    assert {row["decoder.train.batch_size"] for row in changed} == {8}
    assert {row["seed"] for row in changed} == {3} and len(changed) == len(plain) == 4


def test_when_its_hours_are_over_it_ends_with_75_and_the_same_command_goes_on(
    experiment, tmp_path, monkeypatch, capsys
):
    workdir = tmp_path / "sweeps"
    workdir.mkdir()

    by_stand_in = lambda graph, layout, config, program: stand_in_jobs(
        graph, layout, config, workdir
    )
    monkeypatch.setattr("dalle_jax.sweeps.run.jobs_of", by_stand_in)
    monkeypatch.setattr(sweep_run, "data_problems", lambda *given: [])
    monkeypatch.setattr(Counts, "training", lambda counts, run: 100.0)
    monkeypatch.setattr(launchers, "POLL_SECONDS", 0.05)
    monkeypatch.setenv("STAND_IN_SECONDS", "0.15")
    command = [str(experiment), f"--workdir={workdir}"]
    assert sweep.run([*command, f"--max-hours={1 / 3600}"]) == 75
    # A second was over in the midst of the first job, which ended as usual; no other began.
    ((trained, times),) = calls(workdir).items()
    assert trained.startswith("train decoder-") and times == 1
    assert (workdir / "runs" / trained.split()[1] / "checkpoints/10").is_dir()
    assert "5 jobs are left; the same command goes on" in capsys.readouterr().err
    monkeypatch.setenv("STAND_IN_SECONDS", "0")
    assert sweep.run([*command, "--max-hours=1"]) == 0
    assert set(calls(workdir).values()) == {1} and len(calls(workdir)) == 2 + 4


def test_missing_data_is_reported_before_any_job_starts(experiment, tmp_path):
    workdir = tmp_path / "sweeps"
    with pytest.raises(FileNotFoundError, match="dalle-jax prepare captioned_shapes/easy"):
        sweep.run([str(experiment), f"--workdir={workdir}", f"--config.data.dir={tmp_path}/none"])
    assert not (workdir / "jobs").exists()


def test_the_slurm_backend_submits_this_sweep_for_each_task(
    experiment, tmp_path, monkeypatch, capsys
):
    submitted = []
    monkeypatch.setattr(slurm, "submit", lambda *given: submitted.append(given) or ["17_0", "17_1"])
    workdir = tmp_path / "sweeps"
    options = ["--backend=slurm", "--workers=2", "--retries=3", "--slurm.partition=gpu"]
    options += ["--slurm.gpus_per_node=1", "--config.decoder.train.batch_size=8"]
    assert sweep.run([str(experiment), f"--workdir={workdir}", *options]) == 0
    assert "submitted: ['17_0', '17_1']" in capsys.readouterr().out
    ((command, count, folder, resources),) = submitted
    layout = workdir / "targets-tiny-decoder.train.batch_size=8"
    assert count == 2 and folder == layout / "slurm"
    assert resources == {"partition": "gpu", "gpus_per_node": 1}
    # What a task is given is a sweep of the local backend, over the same points.
    assert command[1:4] == ["-m", "dalle_jax", "sweep"]
    args = sweep.make_parser().parse_args(command[4:])
    assert (args.backend, args.experiment, args.workdir) == ("local", experiment, workdir)
    assert (args.scale, args.retries, args.slurm) == ("tiny", 3, [])
    assert args.overrides == ["--config.decoder.train.batch_size=8"]
    assert (layout / "sweep.json").exists()


@pytest.mark.long  # of two real trainings; the suite has such a sweep under Slurm
@pytest.mark.timeout(600)
def test_a_sweep_from_the_command_line_to_its_table(experiment, shapes_dir, tmp_path):
    workdir = tmp_path / "sweeps"

    def type_(verb, *options):
        return subprocess.run(
            [sys.executable, "-m", "dalle_jax", verb, *map(str, options)],
            capture_output=True,
            text=True,
            env=ONE_DEVICE,
        )

    command = [experiment, f"--workdir={workdir}", f"--config.data.dir={shapes_dir}"]
    first = type_("sweep", *command)
    assert first.returncode == 0, first.stderr + first.stdout
    assert len(list((workdir / "runs").iterdir())) == 2
    for run in (workdir / "runs").iterdir():
        assert (run / "checkpoints/4").is_dir()
    results = (workdir / "targets-tiny/results.csv").read_text()
    assert results.count("oracle/caption,") == 4 and results.count("decoder/validation/loss,") == 4

    again = type_("sweep", *command)
    assert again.returncode == 0 and "running" not in again.stdout
    assert (workdir / "targets-tiny/results.csv").read_text() == results

    plan = type_("sweep", *command, "--dry-run").stdout
    assert "0 of 2 distinct trainings" in plan and "GFLOP/s of earlier runs: decoder" in plan

    assert type_("report", workdir / "targets-tiny").returncode == 0
    page = (workdir / "targets-tiny/report.html").read_text()
    assert page.count("<tr title=") == 4 and page.count("<img") == 4 * 8


def test_what_is_asked_of_slurm_needs_its_backend(experiment, tmp_path, capsys):
    with pytest.raises(SystemExit):
        sweep.run([str(experiment), f"--workdir={tmp_path}", "--slurm.partition=gpu"])
    said = capsys.readouterr().err
    assert "--slurm.partition=gpu is asked of Slurm; give --backend=slurm" in said

"""A workdir measured on held-out captions: rows, seeds, features, leakage, and going on."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from dalle_jax.cli import evaluate, prepare
from dalle_jax.config.load import load_config
from dalle_jax.evaluation.generated import PipelineCache
from dalle_jax.metrics.images import Subset
from dalle_jax.metrics.protocol import protocol_hash
from dalle_jax.metrics.results import read_scores
from dalle_jax.runs import Run, create_run
from dalle_jax.sweeps.points import write_points
from dalle_jax.sweeps.progress import read_images
from dalle_jax.sweeps.record import begin_attempt, read_attempts
from dalle_jax.training.checkpoint import Checkpoints
from dalle_jax.training.optim import make_optimizer
from dalle_jax.training.state import create_state
from tests.conftest import ONE_DEVICE, PATIENCE, ROOT

N = 40  # captions: all of the test split


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """Every evaluation here builds its stages anew; what they compile to is kept for the next."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("xla")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    yield
    jax.config.update("jax_compilation_cache_dir", None)


def untrained(directory, stage, config_file, overrides) -> Path:
    """A run of random weights: features all the same."""
    config = load_config(
        ROOT / "configs" / config_file, [f"--config.{k}={v}" for k, v in overrides.items()]
    ).to_dict()
    run = create_run(directory / stage, stage, config)
    run.tokenizer(run.open_source("train"))
    optimizer = make_optimizer("adamw", learning_rate=0.1, steps=1)
    create = jax.jit(lambda key: create_state(run.build_stage(), optimizer, key))
    checkpoints = Checkpoints(run.directory / "checkpoints")
    checkpoints.save(1, create(jax.random.key(0)), {})
    checkpoints.close()
    return run.directory


@pytest.fixture(scope="module")
def features(tmp_path_factory, shapes_dir) -> Path:
    smaller = {"channels": 8, "norm_groups": 4}
    overrides = {
        **{"data.dir": shapes_dir, "data.image_size": 24, "classifier.train.steps": 1},
        **{f"classifier.model.{name}": value for name, value in smaller.items()},
    }
    return untrained(tmp_path_factory.mktemp("features"), "classifier", "features.py", overrides)


@pytest.fixture
def workdir(tiny_workdir, tmp_path) -> Path:
    """A trained workdir that nothing was measured of yet."""
    shutil.copytree(tiny_workdir / "decoder", tmp_path / "tiny/decoder")
    return tmp_path / "tiny"


def run(workdir, *more):
    assert evaluate.run([f"--workdir={workdir}", f"--n={N}", *map(str, more)]) == 0
    return [json.loads(line) for line in (workdir / "results.jsonl").read_text().splitlines()]


def test_one_evaluation_of_everything(workdir, features, capsys):
    options = ["--metrics=oracle,fid,kid,prdc,memorization", f"--features={features}"]
    options += ["--seeds=0,1"]
    oracle, nearest, sets = run(workdir, *options)
    out = capsys.readouterr().out
    assert "sampling 80 images" in out and "whole caption" in out

    for row in (oracle, nearest, sets):
        assert row["protocol_hash"] == protocol_hash(row["protocol"])
        assert row["protocol"]["num_images"] == N
        assert row["protocol"]["sampling"]["seeds"] == [0, 1]
        assert row["model"]["decoder"]["step"] == 20
        assert row["model"]["decoder"]["weights"] == "ema"
    assert oracle["protocol"]["features"] == "oracle"
    assert oracle["floor"]["oracle/caption"] == 1.0  # the real images of the captions
    assert oracle["metrics"]["oracle/caption"]["of"] == N

    name = sets["protocol"]["features"]
    assert name.startswith("classifier:") and sets["protocol"]["reference_sha256"]
    assert f"FD[{name}]" in sets["metrics"] and "fid" not in sets["metrics"]
    fd = sets["metrics"][f"FD[{name}]"]
    assert len(fd["by_seed"]) == 2 and fd["interval"][0] <= fd["value"] <= fd["interval"][1]
    # No other 40 images of the split are left: the floor is of its halves.
    assert sets["floor"]["num_images"] == N // 2
    assert sets["floor"][f"FD[{name}]"] < fd["value"]
    assert len(set(sets["fake_sha256"])) == 2

    assert nearest["metrics"]["copies"]["value"] == 0 == nearest["memorization"]["copies"]
    # After twenty steps the images are farther from the training data than real ones.
    assert nearest["metrics"]["data_copying"]["value"] > 5
    assert nearest["floor"]["nearest_train_image"] > 0
    assert (workdir / "memorization.png").exists()

    page = (workdir / "report.html").read_text()
    assert "<img" in page and "Worst captions" in page and 'src="http' not in page
    assert f"FD[{name}]" in page and oracle["protocol_hash"] in page
    assert "Nearest training images" in page
    assert (workdir / "samples.png").exists()

    # The same again: nothing is drawn and no row added. One seed of the two: drawn already.
    assert len(run(workdir, *options)) == 3
    assert len(run(workdir)) == 4
    # The picture of neighbours was of other images than these.
    assert "Nearest training images" not in (workdir / "report.html").read_text()
    # Another metric of the same protocol: its row has those that were measured before as well.
    *_, more = run(workdir, "--metrics=cmmd", f"--features={features}", "--seeds=0,1")
    assert more["protocol_hash"] == sets["protocol_hash"]
    cmmd = more["metrics"].pop(f"CMMD[{name}]")
    assert more["metrics"] == sets["metrics"] and len(cmmd["left_out"]) == 10
    scores = read_scores(workdir / "results.jsonl", more)
    assert scores[f"precision[{name}]"].shape == (N, 2)
    assert len(run(workdir, *options)) == 5
    assert "sampling" not in capsys.readouterr().out


def test_raw_weights_are_another_model_of_the_same_protocol(workdir):
    averaged, raw = (run(workdir, f"--weights={kind}")[-1] for kind in ("ema", "raw"))
    assert raw["protocol"] == averaged["protocol"]
    assert raw["model"]["decoder"] == {**averaged["model"]["decoder"], "weights": "raw"}
    images = [np.load(file)["images"] for file in workdir.glob("generated/*/*.npz")]
    assert len(images) == 2 and (images[0] != images[1]).any()


def test_clip_scores_of_images_and_of_the_real_ones(workdir, shapes_dir, tmp_path):
    clip = untrained(tmp_path, "clip", "unclip_tiny.py", {"data.dir": shapes_dir})
    scores, distances = run(workdir, "--metrics=clip,cmmd", f"--clip={clip}", f"--features={clip}")
    name = scores["protocol"]["features"]
    assert name.startswith("clip:") and name == distances["protocol"]["features"]
    # 40 captions are too few to find one's own among 100.
    variants = [f"{v}[{name}]" for v in ("clip_cosine", "clip_score_x100", "clipscore_hessel")]
    assert list(scores["metrics"]) == variants
    entry = scores["metrics"][f"clip_cosine[{name}]"]
    assert -1 <= entry["interval"][0] <= entry["value"] <= entry["interval"][1] <= 1
    assert scores["floor"].keys() == {"num_images", *variants}
    assert distances["metrics"][f"CMMD[{name}]"]["value"] > distances["floor"][f"CMMD[{name}]"] > 0
    with pytest.raises(ValueError, match="is a decoder, which has no features"):
        run(workdir, "--metrics=fid", f"--features={workdir}/decoder")


def test_a_half_done_evaluation_goes_on_to_the_same_row(workdir, tmp_path):
    (whole,) = run(workdir, "--seeds=0,1,2")
    other = tmp_path / "other"
    shutil.copytree(workdir / "decoder", other / "decoder")
    shutil.copytree(workdir / "generated", other / "generated")
    kept, torn, gone = sorted((other / "generated").glob("*/shard_*.npz"))
    before = kept.stat().st_mtime_ns
    torn.write_bytes(torn.read_bytes()[:1000])
    gone.unlink()
    with pytest.warns(UserWarning, match="can't be read and is generated again"):
        (again,) = run(other, "--seeds=0,1,2")
    assert again == whole
    assert kept.stat().st_mtime_ns == before


def test_systems_of_the_same_runs_and_weights_share_a_pipeline(tiny_workdir, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "decoder").symlink_to(tiny_workdir / "decoder")
    shutil.copytree(tiny_workdir / "decoder", tmp_path / "copy/decoder")
    cache = PipelineCache()
    pipe = cache.load(tmp_path / "one", "ema")
    assert cache.load(tmp_path / "two", "ema") is pipe
    raw = cache.load(tmp_path / "two", "raw")
    assert raw is not pipe and raw.memo is not pipe.memo
    kernels = [
        np.asarray(p.system.params["decoder"]["network"]["conv_in"]["kernel"]) for p in (pipe, raw)
    ]
    assert np.abs(kernels[0] - kernels[1]).max() > 0
    assert cache.load(tmp_path / "copy", "raw") is not raw
    with pytest.raises(ValueError, match="weights are 'both'; known are ema, raw"):
        cache.load(tmp_path / "copy", "both")
    with pytest.raises(FileNotFoundError):
        cache.load(tmp_path / "none", "ema")


def test_points_of_one_process_have_the_rows_of_evaluations_by_themselves(
    workdir, tiny_workdir, tmp_path
):
    points, scales = [], (1.0, 2.5)
    for scale in scales:
        system = tmp_path / f"system{scale}"
        system.mkdir()
        (system / "decoder").symlink_to(tiny_workdir / "decoder")
        (job := tmp_path / f"jobs/point{scale}").mkdir(parents=True)
        sampling = {"guidance_scale": scale}
        options = {"n": N, "metrics": "oracle"}
        points.append(
            {"workdir": str(system), "job": str(job), "options": options, "sampling": sampling}
        )
    request = begin_attempt(Path(points[0]["job"]), {}).with_suffix(".json")
    write_points(request, points, {}, until=float("inf"))
    subprocess.run(
        [sys.executable, "-m", "dalle_jax", "evaluate", f"--points={request}"],
        env=ONE_DEVICE,
        check=True,
    )
    for point, scale in zip(points, scales):
        (row,) = map(json.loads, (Path(point["workdir"]) / "results.jsonl").open())
        alone = run(workdir, f"--guidance_scale={scale}")[-1]
        assert {**row, "scores": None} == {**alone, "scores": None}
        (attempt,) = read_attempts(Path(point["job"]))
        assert attempt["exit_code"] == 0 and (Path(point["job"]) / "done").exists()
        assert read_images(Path(point["job"])) == (N, N, None)


@pytest.mark.long  # three processes that compile; one cut short is above
def test_a_killed_evaluation_goes_on_to_the_same_row(workdir, tmp_path):
    def command(where):
        return [
            *(sys.executable, "-m", "dalle_jax", "evaluate", f"--workdir={where}", f"--n={N}"),
            f"--seeds={','.join(map(str, range(30)))}",
        ]

    killed = tmp_path / "killed"
    shutil.copytree(workdir / "decoder", killed / "decoder")
    process = subprocess.Popen(
        command(killed), env=ONE_DEVICE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + PATIENCE
    while len(list(killed.glob("generated/*/shard_*.npz"))) < 3:
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not (killed / "results.jsonl").exists()
    for where in (killed, workdir):
        subprocess.run(command(where), env=ONE_DEVICE, check=True, stdout=subprocess.DEVNULL)
    rows = [(where / "results.jsonl").read_text() for where in (killed, workdir)]
    assert rows[0] == rows[1]


def test_a_file_of_captions_is_the_draw_from_the_split(workdir, shapes_dir, tmp_path):
    path = tmp_path / "test.jsonl"
    prepare.run(
        [
            *("captioned_shapes/easy", "--resolution=24", f"--data_dir={shapes_dir}"),
            *("--split=test", f"--n={N}", f"--manifest={path}"),
        ]
    )
    (drawn,) = run(workdir)
    assert run(workdir, f"--manifest={path}") == [drawn]
    with pytest.raises(ValueError, match="has 40 captions, fewer than the 41 asked for"):
        evaluate.run([f"--workdir={workdir}", f"--manifest={path}", "--n=41"])


def test_a_planted_leak_is_found_and_left_out(workdir, features, monkeypatch, capsys):
    open_source = Run.open_source

    def leaking(self, split):
        """Training data into which ten of the captions and images for testing have slipped."""
        return (
            Subset(open_source(self, "test"), range(10))
            if split == "train"
            else open_source(self, split)
        )

    (clean,) = run(workdir, "--leakage")
    assert clean["leakage"]["image"]["count"] == 0 and "without_leaked" not in clean
    assert "feature_neighbour" not in clean["leakage"]
    # In a space of features there are neighbours besides; the training data is not read again.
    assert "reading 400 training images" in capsys.readouterr().out
    _, near = run(workdir, "--leakage", f"--features={features}")
    assert "reading" not in capsys.readouterr().out
    found = near["leakage"]["feature_neighbour"]
    assert found["features"].startswith("classifier:") and found["cosine"] == 0.98
    assert near["without_neighbours"]["num_images"] == N - found["count"] < N
    assert near["metrics"] == clean["metrics"] and "without_leaked" not in near
    report = json.loads((workdir / "leakage.json").read_text())
    assert report["summary"] == near["leakage"] and report["num_train"] == 400
    assert len(report["found"]["feature_neighbour"]["train"]) == found["count"]
    (workdir / "results.jsonl").unlink()

    monkeypatch.setattr(Run, "open_source", leaking)
    (row,) = run(workdir, "--leakage")
    assert "reading 10 training images" in capsys.readouterr().out
    assert row["leakage"]["image"] == {"count": 10, "share": 0.25}
    assert row["leakage"]["caption"]["count"] >= 10
    without = row["without_leaked"]
    assert without["num_images"] == 30
    assert without["metrics"]["oracle/caption"]["of"] == 30
    assert row["metrics"] == clean["metrics"]
    run(workdir, "--leakage")
    assert "25.0 % by image" in capsys.readouterr().out

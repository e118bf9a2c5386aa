"""The verbs as a person types them, each in a process of its own."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ONE_DEVICE, PATIENCE, ROOT, SMALLER
from tests.data.pictures import write
from tests.data.tars import png


def command(*arguments):
    return [sys.executable, "-m", "dalle_jax", *map(str, arguments)]


def dalle_jax(*arguments, **options):
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, env=ONE_DEVICE, **options
    )


def of_training(workdir, *options):
    return ["train", f"--config={ROOT / 'configs/tiny.py'}", f"--workdir={workdir}", *options]


def start_training(workdir, shapes_dir):
    typed = command(*of_training(workdir, f"--config.data.dir={shapes_dir}"))
    return subprocess.Popen(typed, env=ONE_DEVICE, stderr=subprocess.PIPE, text=True)


def steps_logged(workdir):
    path = workdir / "decoder/metrics.jsonl"
    lines = map(json.loads, path.read_text().splitlines()) if path.exists() else []
    return [line["step"] for line in lines if "loss" in line]


def wait_until(condition, process):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def final_state(workdir):
    from orbax.checkpoint import PyTreeCheckpointer

    path = workdir / "decoder/checkpoints/20/state"
    return PyTreeCheckpointer().restore(path.absolute())


@pytest.mark.slow
def test_a_training_terminated_and_killed_goes_on_to_the_same_bits(
    tiny_workdir, tmp_path, shapes_dir
):
    import jax

    process = start_training(tmp_path, shapes_dir)
    wait_until(lambda: steps_logged(tmp_path), process)
    process.terminate()
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM
    (saved,) = re.findall(r"the same command continues from step (\d+)", errors)
    assert 5 <= int(saved) < 20

    process = start_training(tmp_path, shapes_dir)
    wait_until(lambda: max(steps_logged(tmp_path)) >= 10, process)
    process.kill()
    process.communicate(timeout=PATIENCE)

    process = start_training(tmp_path, shapes_dir)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert "goes on from step" in errors
    jax.tree.map(np.testing.assert_array_equal, final_state(tmp_path), final_state(tiny_workdir))
    assert steps_logged(tmp_path) == [5, 10, 15, 20]


def test_sample_writes_images_that_say_how_they_were_made(tiny_workdir, tmp_path):
    out = tmp_path / "red.png"
    options = ["--num_inference_steps=3", "--guidance_scale=2", "--seed=5", "--n=2", f"--out={out}"]
    options += ["--sampler=ddim", "--eta=0.5", f"--workdir={tiny_workdir}"]
    done = dalle_jax("sample", "a large red circle", *options)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "red_1.png") as image:
        text = image.text
        assert image.size == (24, 24)
    assert (
        text.items()
        >= {
            "prompt": "a large red circle",
            "seed": "5",
            "sample_index": "1",
            "num_inference_steps": "3",
            "guidance_scale": "2.0",
            "eta": "0.5",
            "sampler": "ddim",
        }.items()
    )
    assert re.fullmatch(r"[0-9a-f]{12} step 20", text["checkpoint"])
    assert "Copyright" in text
    with Image.open(out) as grid:  # all of them
        both = {"sample_index": "0 | 1", "batch": "0 of 2 | 1 of 2"}
        assert grid.text == text | both


def test_evaluate_prints_a_table_and_then_reuses_it(tiny_workdir):
    arguments = ("evaluate", f"--workdir={tiny_workdir}", "--n=12")
    first = dalle_jax(*arguments)
    assert first.returncode == 0, first.stderr
    assert "whole caption" in first.stdout and "95 % interval" in first.stdout
    again = dalle_jax(*arguments)
    assert "sampling" in first.stdout and "sampling" not in again.stdout
    rows = (tiny_workdir / "results.jsonl").read_text().splitlines()
    assert len(rows) == 1
    row = json.loads(rows[0])
    assert row["metrics"]["oracle/color"]["of"] == 12
    assert (tiny_workdir / "samples.png").exists()


def test_training_what_is_trained_ends_at_once_and_another_config_is_refused(
    tiny_workdir, shapes_dir
):
    typed = of_training(tiny_workdir, f"--config.data.dir={shapes_dir}")
    done = dalle_jax(*typed)
    assert done.returncode == 0 and "trained to step 20 already" in done.stdout
    done = dalle_jax(*typed, "--config.decoder.train.batch_size=4")
    assert done.returncode == 1
    assert "decoder.train.batch_size is 8 there, 4 given" in done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["smaple"], "no verb 'smaple'; did you mean sample?"),
        (["prepare", "folder:/nonexistent"], "/nonexistent"),
    ],
)
def test_what_goes_wrong_is_a_sentence(arguments, message, tmp_path):
    done = dalle_jax(*arguments, cwd=tmp_path)
    assert done.returncode != 0
    assert message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_folder_of_ones_own_pictures_goes_all_the_way(tmp_path):
    pictures = {f"{i}.png": png(4 * i, (40, 30)) for i in range(60)}
    captions = {f"{i}.txt": f"a red of level {4 * i}" for i in range(60)}
    folder = write(tmp_path / "pictures", pictures | captions)
    write(folder, {"torn.png": b"\x89PNG torn", "torn.txt": "no picture"})

    def succeeds(*arguments):
        done = dalle_jax(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    data = f"--data_dir={tmp_path / 'data'}"
    assert "torn.png" in succeeds("prepare", f"folder:{folder}", "--max_bad_share=0.1", data)
    options = [f"--config.data.source=folder:{folder}", "--config.data.max_bad_share=0.1"]
    options += ["--config.decoder.train.validation_images=0", "--config.decoder.train.steps=4"]
    succeeds(*of_training(tmp_path / "run", *options, *SMALLER))
    out = tmp_path / "red.png"
    succeeds("sample", f"--workdir={tmp_path / 'run'}", "a red of level 200", f"--out={out}")
    assert Image.open(out).size == (24, 24)

import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dalle_jax import DallePipeline
from dalle_jax.interop.pretrained import save_pretrained
from dalle_jax.pipelines.system import choose_weights, load_system, weights_of
from dalle_jax.runs import create_run, open_run

PROMPTS = ["a large red circle", "a small blue star"]
QUICK = {"num_inference_steps": 2, "sample_index": (0, 1)}


@pytest.fixture(scope="module")
def pipe(tiny_workdir):
    return DallePipeline.from_pretrained(tiny_workdir)


@pytest.fixture(scope="module")
def folder(pipe, tmp_path_factory):
    return pipe.save_pretrained(tmp_path_factory.mktemp("models") / "shapes")


def assert_draws_the_same(path, pipe):
    again = DallePipeline.from_pretrained(path)
    np.testing.assert_array_equal(again.generate(PROMPTS, **QUICK), pipe.generate(PROMPTS, **QUICK))
    assert again.checkpoint == pipe.checkpoint


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def changed(folder, tmp_path, change):
    """A copy of a model whose tensors `change` has changed."""
    copy = shutil.copytree(folder, tmp_path / "changed")
    path = copy / "decoder/model.safetensors"
    tensors = load_file(path)
    metadata = json.dumps(read_header(path))
    change(tensors)
    save_file(tensors, path, {"dalle_jax": metadata})
    return copy


def leaves(params):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(params)]


def read_header(path):
    length = int.from_bytes(path.read_bytes()[:8], "little")
    return json.loads(json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]["dalle_jax"])


def test_a_saved_model_draws_the_same_images_to_the_bit(folder, pipe):
    assert_draws_the_same(folder, pipe)


def test_every_stage_of_a_system_travels(tiny_unclip_workdir, tmp_path):
    pipe = DallePipeline.from_pretrained(tiny_unclip_workdir)
    assert_draws_the_same(pipe.save_pretrained(tmp_path / "unclip"), pipe)


def test_one_file_is_enough_wherever_it_lies(folder, pipe, tmp_path):
    assert_draws_the_same(folder / "decoder/model.safetensors", pipe)
    assert_draws_the_same(shutil.copy(folder / "decoder/model.safetensors", tmp_path / "x"), pipe)


def test_two_folders_of_one_run_hold_the_same_bytes(folder, pipe, tmp_path):
    again = files_of(pipe.save_pretrained(tmp_path / "again"))
    assert again == files_of(folder)
    of_copy = DallePipeline.from_pretrained(folder).save_pretrained(tmp_path / "of copy")
    assert files_of(of_copy).keys() == again.keys()
    name = "decoder/model.safetensors"
    assert files_of(of_copy)[name] == again[name]


def test_half_precision_halves_the_size_and_is_read_as_float32(folder, pipe, tmp_path):
    half = pipe.save_pretrained(tmp_path / "half", dtype="bfloat16")
    sizes = [(f / "decoder/model.safetensors").stat().st_size for f in (half, folder)]
    assert 0.45 < sizes[0] / sizes[1] < 0.7  # the metadata is not halved
    exact, rounded = (leaves(open_run(f / "decoder").load_params()) for f in (folder, half))
    assert all(leaf.dtype == np.float32 for leaf in rounded)
    for one, other in zip(rounded, exact, strict=True):
        np.testing.assert_allclose(one, other, rtol=2**-8)
    with pytest.raises(ValueError, match="dtype is 'int8'; it can be float32, bfloat16, float16"):
        pipe.save_pretrained(tmp_path / "other", dtype="int8")
    assert not (tmp_path / "other").exists()
    # What was rounded is not taken for what it was made of, in records and in rows of results.
    rounded = DallePipeline.from_pretrained(half)
    assert rounded.checkpoint == f"{pipe.checkpoint} ema bfloat16"
    assert weights_of(rounded.system, "decoder", "ema") == "ema bfloat16"
    with pytest.raises(ValueError, match="holds ema bfloat16 weights; export others from the run"):
        rounded.save_pretrained(tmp_path / "exact again")


def test_missing_extra_and_misshapen_tensors_are_named(folder, tmp_path):
    def change(tensors):
        first, second, *_ = tensors
        tensors["of_nothing"] = tensors.pop(first)
        tensors[second] = np.zeros((1, 2), np.float32)
        change.names = first, second

    copy = changed(folder, tmp_path, change)
    with pytest.raises(ValueError, match=r"missing: .*; of no parameter: of_nothing; ") as error:
        DallePipeline.from_pretrained(copy)
    assert change.names[0] in str(error.value)
    assert f"of another shape: {change.names[1]} ([1, 2], not [" in str(error.value)


def test_what_is_no_model_is_refused_in_a_sentence(folder, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"no tensors here")
    save_file({"a": np.zeros(3)}, tmp_path / "y.safetensors")
    for name in ("x.safetensors", "y.safetensors"):
        with pytest.raises(ValueError, match=f"{name} is not a model of dalle_jax"):
            DallePipeline.from_pretrained(tmp_path / name)


@pytest.mark.parametrize(
    "header", [{}, [], {"run": 1}, {"run": {"stage": "decoder"}}, {"files": {"words.json": 2}}]
)
def test_metadata_of_another_form_are_refused_in_a_sentence(folder, tmp_path, header):
    if isinstance(header, dict) and header:
        header = {**read_header(folder / "decoder/model.safetensors"), **header}
    save_file({"a": np.zeros(3)}, tmp_path / "x", {"dalle_jax": json.dumps(header)})
    with pytest.raises(ValueError, match="x is not a model of dalle_jax"):
        DallePipeline.from_pretrained(tmp_path / "x")


@pytest.mark.parametrize("change", [{"files": {"../x": ""}}, {"run": {"stage": "../x"}}])
def test_a_file_writes_nothing_outside_its_folder(folder, tmp_path, change):
    path = folder / "decoder/model.safetensors"
    header = read_header(path)
    header |= {name: {**header[name], **value} for name, value in change.items()}
    save_file(load_file(path), tmp_path / "bad", {"dalle_jax": json.dumps(header)})
    with pytest.raises(ValueError, match=r"\.\./x"):
        DallePipeline.from_pretrained(tmp_path / "bad")


def test_a_model_is_not_written_over_something(folder, pipe):
    with pytest.raises(FileExistsError, match="is not an empty folder; give another name"):
        pipe.save_pretrained(folder)


def test_no_training_goes_on_in_a_model(folder):
    run = open_run(folder / "decoder")
    with pytest.raises(ValueError, match="without the state of its training"):
        create_run(run.directory, run.stage_name, run.config)


def test_weights_that_were_not_saved_are_not_had(folder, tiny_workdir, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds ema weights only"):
        open_run(folder / "decoder").load_params("raw")
    raw = save_pretrained([open_run(tiny_workdir / "decoder")], tmp_path / "raw", weights="raw")
    saved, there = (
        leaves(open_run(workdir / "decoder").load_params("raw")) for workdir in (raw, tiny_workdir)
    )
    for one, other in zip(saved, there, strict=True):
        np.testing.assert_array_equal(one, other)


def test_raw_weights_leave_those_that_others_were_trained_with_averaged(
    tiny_unclip_workdir, tmp_path
):
    evaluated = choose_weights(load_system(tiny_unclip_workdir), "raw")
    raw = save_pretrained(evaluated.runs.values(), tmp_path / "raw", weights="raw")
    saved = load_system(raw)
    for name, params in evaluated.params.items():
        for one, other in zip(leaves(saved.params[name]), leaves(params), strict=True):
            np.testing.assert_array_equal(one, other)
        assert weights_of(saved, name, "ema") == weights_of(evaluated, name, "raw")


def test_the_card_says_what_was_measured_and_no_path_of_its_maker(tiny_workdir, tmp_path):
    workdir = shutil.copytree(tiny_workdir, tmp_path / "measured")
    run = open_run(workdir / "decoder")
    model = {"decoder": {"fingerprint": run.fingerprint, "step": run.step, "weights": "ema"}}
    metrics = {"oracle/caption": {"value": 0.8125, "interval": [0.75, 0.86]}}
    row = {"protocol": {"num_images": 160}, "protocol_hash": "ab12", "metrics": metrics}
    other = {**row, "model": {"decoder": {**model["decoder"], "step": 1}}, "protocol_hash": "cd34"}
    raw = {"decoder": {**model["decoder"], "weights": "raw"}}
    rows = [{**row, "model": model, "data": "captioned_shapes/easy test"}, other]
    rows.append({**row, "model": raw, "protocol_hash": "ef56"})
    (workdir / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = save_pretrained([run], tmp_path / "model")
    card = (folder / "README.md").read_text()
    line = "| captioned_shapes/easy test | 160 | oracle/caption | 0.8125 | 0.75 – 0.86 | `ab12` |"
    assert line in card and "cd34" not in card and "ef56" not in card
    rounded = save_pretrained([run], tmp_path / "rounded", dtype="float16") / "README.md"
    assert line in rounded.read_text() and "before rounding to float16" in rounded.read_text()
    assert "captioned_shapes/easy" in card and "400 training images" in card
    assert f"{run.step}" in card and run.config["licence"] in card
    assert not [n for n, content in files_of(folder).items() if str(tmp_path).encode() in content]

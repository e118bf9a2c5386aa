"""data.json of a run: written when the training starts, compared whenever the data is opened."""

import json
import warnings
from types import SimpleNamespace

import pytest

from dalle_jax import runs
from dalle_jax.configs import tiny, unclip_tiny
from dalle_jax.runs import create_run, open_run
from dalle_jax.runs import run as run_module
from dalle_jax.runs.data import (
    DataRecord,
    Reading,
    check_moved,
    content_of,
    read_record,
    write_record,
)


class Data(list):
    """A split of data as its readers give it: a length, a signature, a report of all splits."""

    def __init__(self, signature, count=36, total=40, skipped=0):
        super().__init__(range(count))
        self.signature = signature
        self.report = SimpleNamespace(total=total, num_skipped=skipped)


def config(source="folder:cards", steps=20, **overrides):
    settings = tiny.get_config()
    settings.update_from_flattened_dict({"data.source": source, **overrides})
    settings.decoder.train.steps = steps
    return settings.to_dict()


@pytest.fixture
def opened(monkeypatch):
    """What `open_source` gives, by source; each asked for is noted."""
    there = {}
    monkeypatch.setattr("dalle_jax.runs.opening.open_source", lambda source, **_: there[source])
    return there


@pytest.fixture
def step(monkeypatch):
    """Lets the runs be at a step without checkpoints."""
    now = SimpleNamespace(step=0)
    monkeypatch.setattr(run_module, "steps_in", lambda _: [now.step] if now.step else [])
    return now


def trained(directory, data, **options):
    run = create_run(directory, "decoder", config(**options))
    run.record_data(data, Data(data.signature, 2))
    return run


def without_warnings(function, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return function(*arguments)


def test_a_training_records_its_data_once(tmp_path, step):
    trained(tmp_path, Data("aa"))
    document = json.loads((tmp_path / "data.json").read_text())
    reading = {"step": 0, "source": "folder:cards", "signature": "aa", "content": "aa"}
    reading["items"] = {"all": 40, "train": 36, "validation": 2}
    assert document == {"readings": [reading], "shared": False}
    before = (tmp_path / "data.json").stat().st_mtime_ns
    step.step = 5
    without_warnings(trained, tmp_path, Data("aa"))
    assert (tmp_path / "data.json").stat().st_mtime_ns == before


def test_built_in_data_is_recorded_by_its_name(tmp_path):
    run = create_run(tmp_path, "decoder", config("emoji"))
    run.record_data(range(30), range(3))
    (reading,) = read_record(tmp_path).readings
    assert (reading.source, reading.signature) == ("emoji", "")
    assert reading.items == {"train": 30, "validation": 3}
    assert run.content == ""


@pytest.mark.parametrize(
    ("now", "sentence"),
    [
        (Data("bb", 18, 20), "there were 40 items, now there are 20."),
        (Data("bb", 36, 42, 1), "there were 40 items, now there are 41."),
        (Data("bb", 35, 40), "there were 36 train items, now there are 35."),
        (Data("bb"), "the number of items is the same, but names, sizes or captions are not."),
    ],
)
def test_changed_data_is_reported_whenever_it_is_opened(tmp_path, opened, now, sentence):
    trained(tmp_path, Data("aa"))
    opened["folder:cards"] = now
    with pytest.warns(UserWarning) as told:
        open_run(tmp_path).open_source("train")
    start = f"folder:cards has changed since the training of {tmp_path} read it: "
    assert [str(warning.message) for warning in told] == [start + sentence]


@pytest.mark.parametrize("split", ["train", "validation", "test", "all"])
def test_data_that_is_the_same_is_opened_without_a_word(tmp_path, opened, split):
    trained(tmp_path, Data("aa"))
    opened["folder:cards"] = Data("aa", 3, 40)
    without_warnings(open_run(tmp_path).open_source, split)


def test_a_training_that_goes_on_with_changed_data_records_both(tmp_path, step):
    run = trained(tmp_path, Data("aa"))
    step.step = 7
    trained(tmp_path, Data("bb", 18, 20))
    assert [(r.step, r.signature) for r in read_record(tmp_path).readings] == [(0, "aa"), (7, "bb")]
    assert run.content not in ("aa", "bb", "")  # no other training has the same data
    without_warnings(trained, tmp_path, Data("bb", 18, 20))


def test_a_training_without_a_checkpoint_was_of_nothing_yet(tmp_path, step):
    trained(tmp_path, Data("aa"))
    run = trained(tmp_path, Data("bb"))
    assert [reading.signature for reading in read_record(tmp_path).readings] == ["bb"]
    assert run.content == "bb"


def test_a_run_of_an_earlier_version_is_told_once(tmp_path, opened, step):
    create_run(tmp_path, "decoder", config())
    step.step = 7
    opened["folder:cards"] = Data("aa")
    without_warnings(open_run(tmp_path).open_source, "test")
    with pytest.warns(UserWarning, match=r"data\.json has one from step 7 on"):
        trained(tmp_path, Data("aa"))
    step.step = 9
    without_warnings(trained, tmp_path, Data("aa"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"readings": 3}', '{"readings": [{"step": 0}]}'])
def test_a_torn_record_is_as_none(tmp_path, text, opened):
    run = create_run(tmp_path, "decoder", config())
    (tmp_path / "data.json").write_text(text)
    opened["folder:cards"] = Data("aa")
    without_warnings(run.open_source, "train")
    run.record_data(Data("aa"), Data("aa"))
    assert run.content == "aa"


def test_a_shared_run_never_goes_on_with_other_data(tmp_path):
    create_run(tmp_path, "decoder", config())
    write_record(tmp_path, DataRecord([Reading(0, "folder:cards", "aa", "aa")], shared=True))
    with pytest.raises(ValueError, match="the same `dalle-jax sweep` goes on"):
        trained(tmp_path, Data("bb"))
    trained(tmp_path, Data("aa"))
    record = read_record(tmp_path)
    assert record.shared and record.readings[0].items["train"] == 36


def test_moved_data_of_the_same_content_keeps_the_fingerprint_and_says_nothing(
    tmp_path, opened, step
):
    before = trained(tmp_path, Data("aa"))
    step.step = 7
    opened["folder:/new/cards"] = Data("aa")
    run = create_run(tmp_path, "decoder", config(), "folder:/new/cards")
    assert run.fingerprint == before.fingerprint
    source = without_warnings(run.open_source, "train")
    without_warnings(run.record_data, source, source)
    assert read_record(tmp_path).readings[-1].source == "folder:cards"


def test_training_refuses_other_data_at_the_new_place_and_evaluation_warns(tmp_path, opened):
    trained(tmp_path, Data("aa"))
    opened["folder:/other"] = Data("bb", 18, 20)
    run = create_run(tmp_path, "decoder", config(), "folder:/other")
    with pytest.warns(UserWarning, match="folder:/other is not the data that .* was trained on"):
        source = run.open_source("train")
    with pytest.raises(ValueError, match="Give the --data_source at which the same data is now"):
        run.record_data(source, source)


def test_a_new_training_reads_moved_data_only_where_a_run_upstream_knows_it(tmp_path, opened, step):
    settings = unclip_tiny.get_config()
    settings.data.source = "folder:cards"
    settings.clip.train.steps = 7
    settings = settings.to_dict()
    opened["folder:/new"] = Data("aa")
    with pytest.raises(ValueError, match=r"give --config\.data\.source=folder:/new"):
        runs.Run(tmp_path / "clip", "clip", settings, "folder:/new").check_known_data()
    create_run(tmp_path / "clip", "clip", settings).record_data(Data("aa"), Data("aa"))
    step.step = 7
    prior = runs.Run(tmp_path / "prior", "prior", settings, "folder:/new")
    without_warnings(prior.check_known_data)
    without_warnings(prior.open_source, "train")
    with pytest.raises(ValueError, match="is not the data"):
        prior.record_data(Data("bb"), Data("bb"))


@pytest.mark.parametrize(
    ("sources", "moved_to", "message"),
    [
        (["folder:a"], "folder:b", None),
        (["webdataset:a/*.tar"], "webdataset:https://host/{0..3}.tar", None),
        (["folder:a", "folder:b"], "folder:c", "name one --stage"),
        (["captioned_shapes/easy"], "folder:c", r"lies in the folder config\.data\.dir"),
        (["tfds:coco"], "tfds:flickr", r"lies in the folder config\.data\.dir"),
        (["folder:a"], "webdataset:b", "give folder:PLACE"),
        (["folder:a"], "b", "give folder:PLACE"),
    ],
)
def test_a_place_that_data_can_t_have_moved_to_is_refused(sources, moved_to, message):
    if message is None:
        return check_moved(sources, moved_to)
    with pytest.raises(ValueError, match=message):
        check_moved(sources, moved_to)


def test_content_joins_all_that_is_upstream():
    assert content_of("", {}) == content_of("", {"clip": ""}) == ""
    assert content_of("aa", {"clip": ""}) == "aa"
    different = {content_of(own, {"clip": clip}) for own in ("", "aa") for clip in ("aa", "bb")}
    assert len(different | {"aa", ""}) == 6
    assert content_of("a", {"x": "1", "y": "2"}) == content_of("a", {"y": "2", "x": "1"})

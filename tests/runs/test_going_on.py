"""A run that goes on with other settings: what it records, what it refuses, who fits it then."""

import json
import shutil

import pytest

from configs import tiny, unclip_tiny
from dalle_jax.runs import create_run, open_run
from dalle_jax.runs.fingerprint import fingerprint
from dalle_jax.runs.history import has_phases
from dalle_jax.runs.run import Run

STEPS, RATE = "decoder.train.steps", "decoder.train.optimizer.learning_rate"
BATCH, DECAY = "decoder.train.batch_size", "decoder.train.optimizer.decay"


def config(of=tiny, **overrides):
    """A config as plain data, with some settings set by their dotted names."""
    settings = of.get_config()
    settings.update_from_flattened_dict(overrides)
    return settings.to_dict()


def at_step(run, step):
    """The run, as if it had a checkpoint of that step."""
    shutil.rmtree(run.directory / "checkpoints", ignore_errors=True)
    (run.directory / f"checkpoints/{step}").mkdir(parents=True)
    return run


@pytest.fixture
def finished(tmp_path):
    return at_step(create_run(tmp_path / "decoder", "decoder", config()), 20)


LONGER = {STEPS: 50, DECAY: "constant", RATE: 1e-4, BATCH: 12}


def test_a_phase_is_part_of_the_fingerprint_and_the_config_stays(finished):
    before = finished.fingerprint
    assert before == fingerprint("decoder", config())
    run = create_run(finished.directory, "decoder", config(**LONGER), from_step=20)
    assert run.config == config()
    assert open_run(finished.directory).config == json.loads(json.dumps(config()))
    assert run.fingerprint == open_run(finished.directory).fingerprint != before
    assert (run.directory / "fingerprint").read_text().strip() == run.fingerprint
    assert run.steps == 50 and has_phases(run.history)
    first, second = run.phases
    assert (first.first_step, first.end, first.first_item) == (0, 20, 0)
    assert (second.first_step, second.end, second.first_item) == (20, 50, 20 * 8)
    assert (first.settings["batch_size"], second.settings["batch_size"]) == (8, 12)
    assert second.settings["optimizer"]["learning_rate"] == 1e-4
    with_phase = run.fingerprint
    other = create_run(finished.directory, "decoder", config(**LONGER | {BATCH: 8}), from_step=20)
    assert other.fingerprint not in (before, with_phase)  # nothing was trained: it is replaced
    assert len(other.phases) == 2


def test_the_same_command_and_the_first_one_go_on_as_recorded(finished):
    run = create_run(finished.directory, "decoder", config(**LONGER), from_step=20)
    at_step(run, 35)
    again = create_run(finished.directory, "decoder", config(**LONGER), from_step=20)
    plain = create_run(finished.directory, "decoder", config())
    assert again.phases == plain.phases == run.phases
    third = create_run(
        finished.directory, "decoder", config(**LONGER | {STEPS: 40, BATCH: 8}), from_step=35
    )
    assert [phase.first_item for phase in third.phases] == [0, 160, 160 + 15 * 12]
    at_step(third, 40)
    assert create_run(finished.directory, "decoder", config(**LONGER), from_step=20).steps == 40


@pytest.mark.parametrize(
    ("settings", "step", "sentence"),
    [
        ({STEPS: 20}, 20, r"train.steps is 20, and .* is at step 20 already; give a step beyond"),
        ({STEPS: 40}, 10, "--from_step=10: .* is at step 20; .* give --from_step=20"),
        ({STEPS: 40, "seed": 1}, 20, "can't go on with these settings: seed is 0 there, 1 given"),
        (
            {STEPS: 40, "decoder.model.unet.channels": 16},
            20,
            "decoder.model.unet.channels is 8 there, 16 given. Only steps, batch_size,",
        ),
        (
            {STEPS: 40, "decoder.train.optimizer.name": "adamw"},
            20,
            "optimizer.name is 'muon' there",
        ),
    ],
)
def test_a_phase_that_can_not_be_is_refused_and_leaves_nothing(finished, settings, step, sentence):
    with pytest.raises(ValueError, match=sentence):
        create_run(finished.directory, "decoder", config(**settings), from_step=step)
    assert not (finished.directory / "history.json").exists()


def test_two_phases_from_one_step_are_refused_once_the_first_is_trained(finished):
    create_run(finished.directory, "decoder", config(**LONGER), from_step=20)
    at_step(finished, 30)
    sentence = "is at step 30, which it reached from there with other settings; .*--from_step=30"
    with pytest.raises(ValueError, match=sentence):
        create_run(finished.directory, "decoder", config(**{STEPS: 99}), from_step=20)


def test_without_a_run_or_a_checkpoint_there_is_nothing_to_go_on_from(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run"):
        create_run(tmp_path / "decoder", "decoder", config(), from_step=20)
    create_run(tmp_path / "decoder", "decoder", config())
    with pytest.raises(ValueError, match="has no checkpoint to go on from; train it first"):
        create_run(tmp_path / "decoder", "decoder", config(**LONGER), from_step=20)


def test_another_config_of_a_trained_run_is_refused_with_the_option_that_takes_it(finished):
    for settings in ({STEPS: 40}, {BATCH: 12}, {RATE: 1e-4, STEPS: 40}):
        with pytest.raises(ValueError, match="newest checkpoint add --from_step=20"):
            create_run(finished.directory, "decoder", config(**settings))
    with pytest.raises(ValueError, match="seed is 0") as error:
        create_run(finished.directory, "decoder", config(**{STEPS: 40, "seed": 1}))
    assert "--from_step" not in str(error.value)


def test_a_history_that_is_none_is_named(finished):
    for content in ("{", "[]", '{"phases": [1]}'):
        (finished.directory / "history.json").write_text(content)
        with pytest.raises(ValueError, match=r"history\.json is not the history of a run"):
            _ = finished.fingerprint


def test_runs_that_others_stand_on_stay_and_those_that_went_on_do_not_fit(tmp_path):
    settings = config(unclip_tiny)
    end = settings["clip"]["train"]["steps"]
    longer = config(unclip_tiny, **{"clip.train.steps": 2 * end})
    clip = at_step(create_run(tmp_path / "a/clip", "clip", settings), end)
    prior = create_run(tmp_path / "a/prior", "prior", settings)
    at_step(prior, settings["prior"]["train"]["steps"])
    with pytest.raises(ValueError, match=r"prior was trained on the weights that .* has now"):
        create_run(clip.directory, "clip", longer, from_step=end)
    shutil.copytree(clip.directory, tmp_path / "b/clip")
    gone_on = create_run(tmp_path / "b/clip", "clip", longer, from_step=end)
    with pytest.raises(ValueError, match=f"prior needs clip .* is at step {end} of {2 * end}"):
        create_run(tmp_path / "b/prior", "prior", settings)
    at_step(gone_on, 2 * end)
    there = create_run(tmp_path / "b/prior", "prior", settings)
    assert set(there.upstream()) == {"clip"}
    assert there.history == {"upstream": {"clip": gone_on.history}} and has_phases(there.history)
    assert there.fingerprint != prior.fingerprint
    shutil.copytree(prior.directory, tmp_path / "c/prior")
    shutil.copytree(gone_on.directory, tmp_path / "c/clip")
    with pytest.raises(ValueError, match="was trained on other weights of clip than those of"):
        open_run(tmp_path / "c/prior").upstream()


def test_a_run_that_points_of_a_sweep_share_is_left_to_them(finished, tmp_path):
    (tmp_path / "point").mkdir()
    (tmp_path / "point/decoder").symlink_to(finished.directory)
    with pytest.raises(ValueError, match="is a link to a run that others use too"):
        create_run(tmp_path / "point/decoder", "decoder", config(**LONGER), from_step=20)


def test_a_run_without_a_history_has_the_fingerprint_of_its_config(tmp_path):
    run = Run(tmp_path, "decoder", json.loads(json.dumps(config())))
    assert run.history == {} and run.fingerprint == fingerprint("decoder", config())
    assert [(phase.first_step, phase.end) for phase in run.phases] == [(0, 20)]

from types import SimpleNamespace

from dalle_jax.sweeps.place import Place
from dalle_jax.train import due


def test_a_run_is_trained_once_what_was_due_at_its_last_step_is_made(tmp_path):
    place, run = Place(tmp_path, "sweep"), SimpleNamespace(key="decoder-0", steps=10)
    directory = place.run(run.key)
    assert not place.is_trained(run)
    (directory / "checkpoints/10").mkdir(parents=True)
    assert place.is_trained(run)
    due.note(directory, 10, ["preview", "evaluation"])
    assert not place.is_trained(run)
    due.note(directory, 5, ["preview"])  # of a step before
    assert place.is_trained(run)

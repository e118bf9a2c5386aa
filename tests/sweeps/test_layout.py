from types import SimpleNamespace

from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.training import pending


def test_a_run_is_trained_once_what_was_due_at_its_last_step_is_made(tmp_path):
    layout, run = SweepLayout(tmp_path, "sweep"), SimpleNamespace(key="decoder-0", steps=10)
    directory = layout.run(run.key)
    assert not layout.is_trained(run)
    (directory / "checkpoints/10").mkdir(parents=True)
    assert layout.is_trained(run)
    pending.write(directory, 10, ["preview", "evaluation"])
    assert not layout.is_trained(run)
    pending.write(directory, 5, ["preview"])  # of a step before
    assert layout.is_trained(run)

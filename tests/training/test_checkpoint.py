import errno
import functools
import gc
import logging
import os
import resource
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.experimental import multihost_utils

from dalle_jax.training import checkpoint
from dalle_jax.training.checkpoint import Checkpoints, load_params, steps_in
from dalle_jax.training.checkpoint.integrity import damage
from dalle_jax.training.optim import make_optimizer
from dalle_jax.training.sharding import make_mesh, tree_shardings, with_shardings
from dalle_jax.training.state import create_state
from tests.conftest import PATIENCE
from tests.training.tiny import TinyStage

ONE = make_mesh({"data": 1}, jax.devices()[:1])


@functools.cache
def make_state(seed=0, width=128, name="adamw"):
    optimizer = make_optimizer(name, learning_rate=1e-3, steps=10, clip_norm=1.0)
    return jax.jit(lambda key: create_state(TinyStage(width=width), optimizer, key))(
        jax.random.key(seed)
    )


def abstract(state, mesh=ONE):
    shapes = jax.eval_shape(lambda: state)
    return with_shardings(shapes, tree_shardings(shapes, mesh))


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Checkpoints of steps 1 and 2, of the states with these seeds."""
    directory = tmp_path_factory.mktemp("saved")
    checkpoints = Checkpoints(directory)
    for step in (1, 2):
        checkpoints.save(step, make_state(step), {"k": step})
    checkpoints.close()
    return directory


@pytest.fixture
def copy(saved, tmp_path):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    return tmp_path


def largest_file(path):
    return max((f for f in path.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)


def truncate(path):
    file = largest_file(path / "state")
    os.truncate(file, file.stat().st_size // 2)


def flip_bit(path):
    file = max((path / "state").rglob("d/*"), key=lambda f: f.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 16
    file.write_bytes(content)


def lose_state(path):
    shutil.rmtree(path / "state")


def empty_all_unsealed(path):
    (path / "checksums.json").unlink()
    for file in path.rglob("*"):
        if file.is_file():
            os.truncate(file, 0)


def arrays_file(path):
    """The largest of those that hold arrays."""
    return largest_file(path / "state/ocdbt.process_0/d")


def truncate_arrays_unsealed(path):
    (path / "checksums.json").unlink()
    os.truncate(arrays_file(path), arrays_file(path).stat().st_size // 2)


def lose_arrays_unsealed(path):
    (path / "checksums.json").unlink()
    arrays_file(path).unlink()


def lose_state_unsealed(path):
    (path / "checksums.json").unlink()
    lose_state(path)


HARMS = [truncate, flip_bit, lose_state, empty_all_unsealed]
HARMS += [truncate_arrays_unsealed, lose_arrays_unsealed, lose_state_unsealed]


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_comes_back_bit_for_bit(tmp_path, name):
    state = make_state(3, name=name)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(5, state, {"k": 5, "nested": [1, 2]})
    checkpoints.wait()
    restored, data_state = checkpoints.restore(abstract(state))
    assert_equal(restored, state)
    assert data_state == {"k": 5, "nested": [1, 2]}
    checkpoints.close()


def test_checksums_are_there_as_soon_as_the_save_is(tmp_path):
    checkpoints, state = Checkpoints(tmp_path), make_state(1)
    checkpoints.save(5, state, {})
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "5/checksums.json").exists():
        assert time.monotonic() < deadline
        checkpoints.seal()
    flip_bit(tmp_path / "5")
    assert "is not as it was written" in damage(tmp_path / "5")
    flip_bit(tmp_path / "5")
    checkpoints.wait()  # nothing of it is written any more
    assert damage(tmp_path / "5") is None
    # A process that was killed before it could: the next one does, once it has read it.
    (tmp_path / "5/checksums.json").unlink()
    assert checkpoints.restore(abstract(state)) is not None
    checkpoints.close()
    assert (tmp_path / "5/checksums.json").exists()


def test_checksums_keep_nobody_waiting(tmp_path, monkeypatch):
    write, held = checkpoint.write_checksums, threading.Event()
    monkeypatch.setattr(
        checkpoint, "write_checksums", lambda path: held.wait(PATIENCE) and write(path)
    )
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(5, make_state(1), {})
    while not steps_in(tmp_path):
        time.sleep(0.01)
    for _ in range(3):  # steps of training
        checkpoints.seal()
    assert not (tmp_path / "5/checksums.json").exists()
    held.set()
    checkpoints.wait()
    assert damage(tmp_path / "5") is None and (tmp_path / "5/checksums.json").exists()
    checkpoints.close()


def test_bytes_as_data_state(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"a": jnp.arange(3)}, b"\x00\xff{")
    checkpoints.wait()
    _, data_state = checkpoints.restore({"a": jax.ShapeDtypeStruct((3,), jnp.int32)})
    assert data_state == b"\x00\xff{"
    checkpoints.close()


def test_nothing_there(tmp_path):
    checkpoints = Checkpoints(tmp_path / "new")
    assert checkpoints.restore(abstract(make_state())) is None
    checkpoints.close()
    assert steps_in(tmp_path / "other") == []
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load_params(tmp_path / "new")


def test_newest_and_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.losses |= {1: 0.5, 2: 0.1, 4: 0.3, 6: 0.2}
    for step in range(1, 7):
        checkpoints.save(step, {"a": jnp.zeros(2)}, {})
    checkpoints.close()
    assert steps_in(tmp_path) == [2, 5, 6]


def test_of_equally_good_ones_the_newest_is_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1, losses={1: 0.3, 2: 0.3, 3: 0.4})
    for step in range(1, 5):
        checkpoints.save(step, {"a": jnp.zeros(2)}, {})
    checkpoints.close()
    assert steps_in(tmp_path) == [2, 4]


@pytest.mark.parametrize(
    ("lost", "position"), [(np.nan, 0), (np.nan, 2), (np.inf, 1), (-np.inf, 3)]
)
@pytest.mark.parametrize("late", [False, True])
def test_a_validation_loss_that_is_no_number_never_costs_the_best(tmp_path, lost, position, late):
    """`late`: a loss is known only after its checkpoint is saved."""
    losses = [0.5, 0.1, 0.3]
    losses.insert(position, lost)
    checkpoints = Checkpoints(tmp_path, keep=1)
    for step, loss in enumerate([*losses, 0.4, 0.2], start=1):
        if not late:
            checkpoints.losses[step] = loss
        checkpoints.save(step, {"a": jnp.zeros(2)}, {})
        checkpoints.losses[step] = loss
    checkpoints.close()
    assert steps_in(tmp_path) == [losses.index(0.1) + 1, 6]


@pytest.mark.parametrize("harm", HARMS, ids=lambda f: f.__name__)
def test_damaged_newest_is_named_and_the_one_before_used(copy, harm, caplog):
    harm(copy / "2")
    checkpoints = Checkpoints(copy)
    with caplog.at_level(logging.WARNING):
        state, data_state = checkpoints.restore(abstract(make_state()))
    assert_equal(state, make_state(1))
    assert data_state == {"k": 1}
    assert any(str(copy / "2") in m and "damaged" in m for m in caplog.messages)
    # Training on comes to step 2 again and can save it.
    checkpoints.save(2, make_state(7), {"k": 2})
    checkpoints.close()
    assert (copy / "damaged_2").is_dir()
    assert_equal(load_params(copy), make_state(7).ema_params)


def test_all_damaged_is_an_error_and_not_a_new_start(copy):
    truncate(copy / "1")
    truncate(copy / "2")
    checkpoints = Checkpoints(copy)
    with pytest.raises(ValueError, match=r"all checkpoints .* damaged"):
        checkpoints.restore(abstract(make_state()))
    checkpoints.close()


def half_written(path, whole):
    """What a kill in the middle of a save leaves: half of the files, nothing by its final name."""
    suffix = ".orbax-checkpoint-tmp"
    half = shutil.copytree(whole, path.with_name(path.name + suffix))
    for part in ("state", "data"):
        (half / part).rename(half / f"{part}{suffix}")
    closing = ("commit_success.txt", "checksums.json")
    files = sorted(file for file in half.rglob("*") if file.is_file())
    for i, file in enumerate(files):
        if file.name in closing or i % 2:
            file.unlink()
    return half


def test_saving_asks_no_preemption_service(copy, monkeypatch):
    """What it would ask by is another counting than the loop's, see `signals.StopSignals`."""
    asked = Mock(return_value=False)
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", asked)
    checkpoints = Checkpoints(copy)
    checkpoints.save(3, make_state(3), {"k": 3})
    checkpoints.close()
    assert steps_in(copy)[-1] == 3 and not asked.called


def test_half_written_save_is_no_checkpoint(copy):
    half = half_written(copy / "3", copy / "2")
    assert steps_in(copy) == [1, 2]
    assert_equal(load_params(copy), make_state(2).ema_params)
    checkpoints = Checkpoints(copy)
    assert checkpoints.restore(abstract(make_state()))[1] == {"k": 2}
    checkpoints.save(3, make_state(3), {"k": 3})
    checkpoints.close()
    assert not half.exists()  # known for what it is
    assert_equal(load_params(copy, step=3), make_state(3).ema_params)


@contextmanager
def one_file_more():
    """A single file can be opened at a time, as in a process that has too many of them."""
    gc.collect()  # files of what is no more: closed meanwhile, they would make room for others
    lowest, limits = os.open(os.devnull, os.O_RDONLY), resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(lowest)
    gc.disable()
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        gc.enable()


# Python's half-made event loops complain of themselves.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
@pytest.mark.parametrize("sealed", [True, False])
def test_too_many_open_files_set_no_checkpoint_aside(copy, sealed):
    if not sealed:
        (copy / "2/checksums.json").unlink()
    checkpoints = Checkpoints(copy)
    with one_file_more(), pytest.raises(OSError, match=r"could not be read .*(EXHAUSTED|Too many)"):
        checkpoints.restore(abstract(make_state()))
    assert steps_in(copy) == [1, 2]
    assert checkpoints.restore(abstract(make_state()))[1] == {"k": 2}
    checkpoints.close()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ETIMEDOUT, "Connection timed out"),
        ValueError("RESOURCE_EXHAUSTED: Failed to open: Too many open files [os_error_code='24']"),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_machine_lacked_while_reading_sets_no_checkpoint_aside(copy, monkeypatch, error):
    (copy / "2/checksums.json").unlink()
    checkpoints = Checkpoints(copy)
    with monkeypatch.context() as patched:
        patched.setattr(ocp.CompositeCheckpointHandler, "restore", Mock(side_effect=error))
        with pytest.raises(OSError, match=f"/2 could not be read .{type(error).__name__}"):
            checkpoints.restore(abstract(make_state()))
    assert steps_in(copy) == [1, 2]
    assert checkpoints.restore(abstract(make_state()))[1] == {"k": 2}
    checkpoints.close()


def test_another_tree_is_refused_by_name(copy):
    checkpoints = Checkpoints(copy)
    with pytest.raises(ValueError, match=r"ema_params/in/bias is \(128,\) there, \(64,\) here"):
        checkpoints.restore(abstract(make_state(width=64)))
    with pytest.raises(ValueError, match="missing"):
        checkpoints.restore(abstract(make_state(name="muon")))
    checkpoints.close()
    assert steps_in(copy) == [1, 2]


def test_arrays_of_another_precision_are_refused_by_name(tmp_path):
    def state(dtype, count=jnp.int32):
        return {"params": {"w": jnp.ones(3, dtype)}, "count": jnp.zeros((), count)}

    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state(jnp.bfloat16), {"k": 1})
    checkpoints.wait()
    with pytest.raises(ValueError, match="params/w is bfloat16 there, float32 here"):
        checkpoints.restore(abstract(state(jnp.float32)))
    with pytest.raises(ValueError, match="count is int32 there, float32 here; params/w is"):
        checkpoints.restore(abstract(state(jnp.float16, jnp.float32)))
    restored, _ = checkpoints.restore(abstract(state(jnp.bfloat16)))
    assert restored["params"]["w"].dtype == jnp.bfloat16
    checkpoints.close()
    with pytest.raises(ValueError, match=r"w in checkpoint .* is bfloat16, and parameters are"):
        load_params(tmp_path, weights="raw")


def test_ema_params_alone(copy):
    params = load_params(copy)
    assert_equal(params, make_state(2).ema_params)
    assert_equal(load_params(copy, step=1), make_state(1).ema_params)
    with pytest.raises(FileNotFoundError, match="no checkpoint of step 9"):
        load_params(copy, step=9)
    truncate(copy / "2")
    with pytest.raises(ValueError, match="damaged"):
        load_params(copy)


def test_loading_parameters_warns_of_nothing(copy, caplog):
    load_params(copy)
    assert not caplog.records


def test_restores_onto_another_layout(copy):
    mesh = make_mesh({"data": 2, "fsdp": 4})
    checkpoints = Checkpoints(copy)
    state, _ = checkpoints.restore(abstract(make_state(), mesh))
    checkpoints.close()
    assert_equal(state, make_state(2))
    assert len(state.params["mlp_up"]["kernel"].sharding.device_set) == 8
    assert not state.params["mlp_up"]["kernel"].sharding.is_fully_replicated


@pytest.fixture
def small_disk(tmp_path):
    """A disk of a megabyte, in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"only root may mount: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_is_one_sentence_and_harms_nothing(small_disk):
    checkpoints = Checkpoints(small_disk / "run")
    checkpoints.save(1, make_state(1), {"k": 1})
    checkpoints.wait()
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk)
    ballast.write_bytes(bytes((free.f_bavail - 8) * free.f_bsize))
    with pytest.raises(OSError, match=r"could not be saved in .* whole ones there: 1"):
        checkpoints.save(2, make_state(2), {"k": 2})
        checkpoints.wait()
    checkpoints.close()
    ballast.unlink()
    checkpoints = Checkpoints(small_disk / "run")
    state, _ = checkpoints.restore(abstract(make_state()))
    assert_equal(state, make_state(1))
    checkpoints.save(2, make_state(2), {"k": 2})
    checkpoints.close()
    assert_equal(load_params(small_disk / "run"), make_state(2).ema_params)


def test_threads_go_with_it(tmp_path):
    before = threading.active_count()
    for step in range(3):
        checkpoints = Checkpoints(tmp_path)
        checkpoints.save(step, {"a": jnp.zeros(2)}, {})
        checkpoints.close()
    assert threading.active_count() <= before

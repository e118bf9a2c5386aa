import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

from dalle_jax.metrics.shards import Shards
from tests.conftest import PATIENCE, ROOT


def draw(indices):
    """Image i is of the colour (i, 2i, 3i)."""
    colors = np.outer(np.asarray(indices), [1, 2, 3]).astype(np.uint8)
    return np.broadcast_to(colors[:, None, None], (len(indices), 4, 5, 3))


def shards(root, num_images=11, **made_of):
    return Shards(root, {"model": "m", **made_of}, num_images, shard_size=4)


def make(one, draw=draw):
    return one.make(draw, lambda done: None)


def test_all_images_are_made_once_in_order(tmp_path):
    one = shards(tmp_path)
    assert one.missing() == 11
    assert make(one) == 11
    np.testing.assert_array_equal(list(one.load()), draw(range(11)))
    assert make(one, draw=None) == 0  # draws nothing
    assert one.missing() == 0


def test_a_draw_is_always_of_a_whole_shard(tmp_path):
    asked = []
    make(shards(tmp_path), lambda indices: asked.append(indices) or draw(indices))
    assert asked == [range(0, 4), range(4, 8), range(8, 12)]


def test_what_is_torn_is_made_again_and_nothing_else(tmp_path):
    one = shards(tmp_path)
    make(one)
    one = shards(tmp_path)  # which has not seen them whole
    files = sorted(one.directory.glob("shard_*.npz"))
    files[0].write_bytes(files[0].read_bytes()[:-20])
    changed = bytearray(files[2].read_bytes())
    changed[len(changed) // 2] ^= 0xFF
    files[2].write_bytes(bytes(changed))
    (one.directory / "shard_00000004.npz.99.partial").write_bytes(b"half")
    asked = []
    with pytest.warns(UserWarning, match="can't be read and is generated again"):
        assert make(one, lambda indices: asked.append(indices[0]) or draw(indices)) == 7
    assert asked == [0, 8]
    np.testing.assert_array_equal(list(one.load()), draw(range(11)))


def test_fewer_images_than_wanted_are_never_given(tmp_path):
    one = shards(tmp_path)
    make(one)
    (one.directory / "shard_00000004.npz").unlink()
    with pytest.raises(FileNotFoundError, match="lacks 4 of 11 images"):
        one.load()


def test_other_images_have_another_directory(tmp_path):
    directories = {
        shards(tmp_path).directory,
        shards(tmp_path, seed=1).directory,
        Shards(tmp_path, {"model": "m"}, 11, shard_size=8).directory,
    }
    assert len(directories) == 3
    assert shards(tmp_path).directory == shards(tmp_path).directory


def test_two_workers_share_the_images(tmp_path):
    made = [0, 0]
    both_draw = threading.Barrier(2, timeout=PATIENCE)

    def work(k):
        first = True

        def slowly(indices):
            nonlocal first
            if first:
                both_draw.wait()
                first = False
            return draw(indices)

        made[k] = make(shards(tmp_path, 40), slowly)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # flock is held by an open file, so two threads stand for two processes.
    assert sum(made) == 40 and min(made) > 0
    np.testing.assert_array_equal(list(shards(tmp_path, 40).load()), draw(range(40)))


WORKER = """
import sys, time
from tests.metrics.test_shards import draw, shards

def slowly(indices):
    print(indices[0], flush=True)
    time.sleep(0.05 if indices[0] < 12 else 60)
    return draw(indices)

shards(sys.argv[1], 40).make(slowly, lambda done: None)
"""


def test_a_killed_worker_leaves_whole_shards_and_no_lock(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.strip() == "12":
            break
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=PATIENCE)
    one = shards(tmp_path, 40)
    assert one.missing() == 28
    asked = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # It would wait for ever for a lock of the dead worker.
        make(one, lambda indices: asked.append(indices[0]) or draw(indices))
    assert asked == list(range(12, 40, 4))
    np.testing.assert_array_equal(list(one.load()), draw(range(40)))

"""Event files, read by the library that TensorBoard's own format is known by."""

import io

import numpy as np
import pytest
from PIL import Image

from dalle_jax.training.event_file import EventFile

pytestmark = pytest.mark.parity


def events(directory):
    """The events of a folder's only file; every checksum is checked."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    masked_crc32c = pytest.importorskip("tensorboardX.record_writer").masked_crc32c
    (path,) = directory.iterdir()
    data, found = path.read_bytes(), []
    while data:
        length, message = int.from_bytes(data[:8], "little"), data[12:]
        assert int.from_bytes(data[8:12], "little") == masked_crc32c(data[:8])
        message, checksum = message[:length], message[length : length + 4]
        assert int.from_bytes(checksum, "little") == masked_crc32c(message)
        found.append(event_pb2.Event.FromString(message))
        data = data[length + 16 :]
    return found


def test_numbers_and_pictures_come_back(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    board = EventFile(tmp_path, purge_step=301)
    board.scalar(300, "validation/loss", 0.25)
    board.scalar(2**40, "größe", -1e-30)
    board.image(7, "preview", image)
    board.close()
    version, start, loss, large, picture = events(tmp_path)
    assert version.file_version == "brain.Event:2" and version.wall_time > 1e9
    assert (start.step, start.session_log.status) == (301, 1)
    assert (loss.step, loss.summary.value[0].tag) == (300, "validation/loss")
    assert loss.summary.value[0].simple_value == 0.25
    assert (large.step, large.summary.value[0].tag) == (2**40, "größe")
    assert large.summary.value[0].simple_value == np.float32(-1e-30)
    shown = picture.summary.value[0].image
    assert (shown.height, shown.width, shown.colorspace) == (50, 70, 3)
    with Image.open(io.BytesIO(shown.encoded_image_string)) as decoded:
        np.testing.assert_array_equal(np.asarray(decoded), image)


def test_what_is_written_can_be_read_before_it_is_closed(tmp_path):
    board = EventFile(tmp_path, purge_step=1)
    board.scalar(1, "loss", 0.5)
    assert [event.step for event in events(tmp_path)] == [0, 1, 1]
    board.close()

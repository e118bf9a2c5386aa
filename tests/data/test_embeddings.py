"""A file of embeddings: read back as written, and there only once it is whole."""

import numpy as np
import pytest

from dalle_jax.data.embeddings import StoredEmbeddings, write_embeddings

ROWS = np.arange(6, dtype=np.float32).reshape(3, 2)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "stored" / "train"
    write_embeddings(path, ROWS, count=3, width=2, made_by="clip")
    stored = StoredEmbeddings(path, "clip")
    assert len(stored) == 3
    np.testing.assert_array_equal([stored[i] for i in range(3)], ROWS)
    with pytest.raises(ValueError, match="holds embeddings of clip, and another is asked for"):
        StoredEmbeddings(path, "another")


@pytest.mark.parametrize(
    ("written", "asked", "refused"),
    [("aa", "aa", False), ("", "aa", False), ("aa", "", False), ("aa", "bb", True)],
)
def test_embeddings_of_data_that_has_changed_are_refused(tmp_path, written, asked, refused):
    path = tmp_path / "train"
    write_embeddings(path, ROWS, count=3, width=2, made_by="clip", data=written)
    if not refused:
        assert len(StoredEmbeddings(path, "clip", asked)) == 3
        return
    with pytest.raises(ValueError, match="embeddings of data that has changed since; make them"):
        StoredEmbeddings(path, "clip", asked)


@pytest.mark.parametrize(
    "rows, message",
    [
        (ROWS[:2], "2 embeddings came where 3 were announced"),
        ([*ROWS, ROWS[0]], "4 embeddings came"),
        ([ROWS[0], np.array([1, np.nan], np.float32)], "embedding 1 is no 2 finite numbers"),
        ([ROWS[0, :1]], "embedding 0 is no 2 finite numbers"),
    ],
)
def test_a_wrong_one_leaves_nothing_behind(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        write_embeddings(tmp_path / "train", rows, count=3, width=2, made_by="clip")
    assert not list(tmp_path.iterdir())

import threading

import numpy as np
import pytest

from dalle_jax.metrics.results import append_row, find_row, read_rows, read_scores


def row(value, model="a", protocol_hash="p"):
    metrics = {"fid": {"value": value}}
    return {"protocol": {}, "protocol_hash": protocol_hash, "model": model, "metrics": metrics}


def test_rows_and_scores_come_back(tmp_path):
    path = tmp_path / "results.jsonl"
    assert read_rows(path) == []
    scores = {"oracle/caption": np.array([[1.0], [np.nan]])}
    written = append_row(path, row(1.0), scores)
    append_row(path, {**row(2.0, "b"), "interval": (1, 2)})
    rows = read_rows(path)
    assert rows[0] == written and rows[1]["interval"] == [1, 2]
    np.testing.assert_array_equal(read_scores(path, rows[0])["oracle/caption"], [[1], [np.nan]])
    assert read_scores(path, rows[1]) == {}
    kept = tmp_path / rows[0]["scores"]
    for content in (b"", kept.read_bytes()[:60]):
        kept.write_bytes(content)
        with pytest.raises(ValueError, match="can't be read"):
            read_scores(path, rows[0])
    kept.unlink()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_scores(path, rows[0])


def test_the_newest_row_of_a_protocol_and_a_model_is_found():
    rows = [row(1.0), row(2.0), row(3.0, "b"), row(4.0, protocol_hash="q")]
    assert find_row(rows, "p", "a") == rows[1]
    assert find_row(rows, "p", "c") is None


def test_many_writers_lose_no_row(tmp_path):
    path = tmp_path / "results.jsonl"
    threads = [threading.Thread(target=append_row, args=(path, row(k))) for k in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(r["metrics"]["fid"]["value"] for r in read_rows(path)) == list(range(12))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (b'{"protocol": {}\n', r"results\.jsonl, line 2, is not a results row"),
        (b'{"a": "\xff\xfe"}\n', "line 2"),
        (b"[1, 2]\n", "it is not a JSON object"),
        (b"3", "it is not a JSON object"),
        (b'{"protocol": 1, "protocol_hash": "a", "metrics": {}}', "its protocol is not a JSON"),
        (b'{"protocol": {}, "protocol_hash": 1, "metrics": {}}', "its protocol_hash is not a str"),
        (b'{"protocol": {}, "protocol_hash": "a", "metrics": [1]}', "its metrics do not have the"),
        (b'{"protocol": {}, "protocol_hash": "a", "metrics": {"fid": 3}}', "its metrics do not"),
        (b"[" * 10_000, "line 2, is not a results row"),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path, lines, message):
    path = tmp_path / "results.jsonl"
    append_row(path, row(1.0))
    path.write_bytes(path.read_bytes() + lines)
    with pytest.raises(ValueError, match=message):
        read_rows(path)

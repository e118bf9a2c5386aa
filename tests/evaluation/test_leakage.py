from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

from dalle_jax.evaluation.leakage import data_hash, leakage_of
from dalle_jax.metrics.pooled import pooled_extractor


def items(seed, count):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 12, 12, 3), np.uint8)
    return [{"image": image, "caption": f"{seed}/{i}"} for i, image in enumerate(images)]


def run_of(train):
    return SimpleNamespace(data={"source": "folder:x"}, open_source=lambda split: train)


def test_prints_and_features_of_the_training_data_are_cached(tmp_path, capsys):
    train, held_out = items(0, 80), items(1, 20)
    held_out[3] = train[7]
    held = SimpleNamespace(items=held_out, images=[item["image"] for item in held_out])
    flat = lambda params, x: x.reshape(len(x), -1).astype(jnp.float32) - 127.5
    extractor = pooled_extractor("clip:0123", "ab" * 32, {}, flat, 12)
    report = leakage_of(run_of(train), held, extractor, tmp_path)
    assert report["summary"]["image"] == {"count": 1, "share": 0.05}
    near = report["summary"]["feature_neighbour"]
    assert (near["count"], near["features"], near["cosine"]) == (1, "clip:0123", 0.98)
    assert abs(near["median_cosine"]) < 0.5
    assert report["found"]["feature_neighbour"]["train"] == [7]
    assert capsys.readouterr().out.count("80 training images") == 2
    assert leakage_of(run_of(train), held, extractor, tmp_path) == report
    assert not capsys.readouterr().out

    # A file that is torn is made anew, and other data are other files.
    (prints,) = tmp_path.glob("*.npz")
    prints.write_bytes(prints.read_bytes()[:500])
    without = leakage_of(run_of(train), held, None, tmp_path)
    assert without["summary"] == {k: report["summary"][k] for k in without["summary"]}
    assert capsys.readouterr().out.count("80 training images") == 1
    leakage_of(run_of(train[:79]), held, None, tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 2


def test_data_are_identified_by_their_content():
    train = items(0, 30)
    other_text = [*train[:29], {**train[29], "caption": "another"}]
    other_image = [*train[:29], {**train[29], "image": train[0]["image"]}]
    scanned = type("Scanned", (list,), {"report": SimpleNamespace(signature="files")})(train)
    hashes = [data_hash(run_of(t), t) for t in (train, other_text, other_image, scanned)]
    assert len(set(hashes)) == 4
    assert data_hash(run_of(train), items(0, 30)) == hashes[0]

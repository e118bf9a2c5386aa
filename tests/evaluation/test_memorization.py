import json

import numpy as np

from dalle_jax.evaluation.memorization import measure_memorization


def test_a_model_that_copies_is_distinguished_from_one_that_does_not():
    rng = np.random.default_rng(0)
    draw = lambda n: rng.integers(0, 256, (n, 8, 8, 3), np.uint8)
    seen, held_out, fresh = draw(60), draw(40), draw(40)
    train = [{"image": image, "caption": f"caption {i}"} for i, image in enumerate(seen)]
    captions = [f"prompt {i}" for i in range(40)]

    # Half of the images are training images with a little noise, one is a copy bit for bit.
    copied = fresh.copy()
    copied[:20] = seen[:20] ^ rng.integers(0, 4, (20, 8, 8, 3), np.uint8)
    copied[7] = seen[33]
    report, picture = measure_memorization(copied, captions, held_out, train)
    assert report["copies"] == 1 and report["data_copying"] < -3
    assert report["distance"]["generated"]["least"] == 0.0
    assert report["distance"]["generated"]["lower quartile"] < 3
    assert report["distance"]["held out"]["least"] > 80
    low, high = report["interval_of_median"]
    assert low <= report["distance"]["generated"]["median"] <= high
    assert picture.width == 5 * (128 + 12)
    json.dumps(report)

    report, _ = measure_memorization(fresh, captions, held_out, train)
    assert report["copies"] == 0 and abs(report["data_copying"]) < 3

import numpy as np
import pytest

from dalle_jax.cli import compare
from dalle_jax.evaluation.compare import read
from dalle_jax.metrics.protocol import protocol_hash
from dalle_jax.metrics.reference import Reference, save_reference
from dalle_jax.metrics.results import append_row
from dalle_jax.metrics.statistics import Gaussian

FD = "FD[classifier:0123456789ab]"


PROTOCOL = {
    "features": "oracle",
    "features_sha256": None,
    "num_images": 40,
    "reference": None,
    "reference_sha256": None,
    "manifest_sha256": "a",
}


def write(
    folder,
    value,
    *,
    metric="oracle/caption",
    scores=None,
    model=(),
    guidance=3.0,
    protocol=(),
    **more,
):
    """A row of results in folder/results.jsonl; returns its path."""
    protocol = {**PROTOCOL, "sampling": {"guidance_scale": guidance}, **dict(protocol)}
    model = {"fingerprint": folder.name, "step": 10, "weights": "ema", **dict(model)}
    row = {
        "protocol": protocol,
        "protocol_hash": protocol_hash(protocol),
        "model": {"decoder": model},
        "metrics": {metric: {"value": value, "interval": [value - 0.1, value + 0.1], **more}},
    }
    path = folder / "results.jsonl"
    append_row(path, row, None if scores is None else {metric: scores})
    return path


def run(capsys, *arguments):
    assert compare.run([str(a) for a in arguments]) == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")


def test_two_models_are_ranked_and_tested_on_the_same_captions(tmp_path, capsys):
    right = np.zeros((40, 1))
    a, b = right.copy(), right.copy()
    a[:20], b[:28] = 1, 1  # b is right on eight captions more, and nowhere less
    paths = [write(tmp_path / "a", 0.5, scores=a), write(tmp_path / "b", 0.7, scores=b)]
    out = run(capsys, *paths, "--metric=caption")
    assert out.index(f"{tmp_path}/b") < out.index(f"{tmp_path}/a")
    assert "70.0 %" in out and "40.0 % – 60.0 %" in out
    assert "-0.20 [-0.33, -0.07]" in out
    assert f"{2 / 2**8:.2g}" in out and "exact McNemar" in out


def test_unlike_protocols_are_refused_and_the_difference_is_named(tmp_path, capsys):
    write(tmp_path / "a", 0.5, guidance=1.0)
    path = write(tmp_path / "a", 0.7, guidance=3.0)
    with pytest.raises(ValueError, match=r"sampling\.guidance_scale is 1\.0 and 3\.0") as error:
        compare.run([str(path), "--metric=oracle/caption"])
    assert "--vary" in str(error.value) and "--protocol" in str(error.value)
    out = run(capsys, path, "--metric=oracle/caption", "--vary=sampling.guidance_scale")
    assert out.index("3.0") < out.index("1.0 │")
    assert "nothing to pair them by" in out
    with pytest.raises(ValueError, match="manifest_sha256"):
        other = write(tmp_path / "b", 0.5, protocol={"manifest_sha256": "b"})
        compare.run([str(path), str(other), "--metric=caption", "--vary=sampling"])


def test_a_protocol_is_chosen_by_its_hash(tmp_path, capsys):
    write(tmp_path / "a", 0.5, guidance=1.0)
    path = write(tmp_path / "a", 0.7)
    chosen = read([path], None)[1].row["protocol_hash"]
    out = run(capsys, path, "--metric=caption", f"--protocol={chosen}")
    assert "70.0 %" in out and "50.0 %" not in out
    with pytest.raises(ValueError, match="no rows of protocol 0000"):
        compare.run([str(path), "--metric=caption", "--protocol=0000"])


def test_the_newest_row_counts(tmp_path, capsys):
    write(tmp_path / "a", 0.55)
    path = write(tmp_path / "a", 0.6)
    write(tmp_path / "a", 0.8, model={"step": 20})
    out = run(capsys, path, "--metric=caption")
    assert "60.0 %" in out and "80.0 %" in out and "55.0 %" not in out


def test_distances_are_better_small_and_of_one_network(tmp_path, capsys):
    paths = [write(tmp_path / "a", 2.0, metric=FD), write(tmp_path / "b", 1.0, metric=FD)]
    out = run(capsys, *paths, "--metric=fd")
    assert out.index(f"{tmp_path}/b") < out.index(f"{tmp_path}/a")
    paths.append(write(tmp_path / "c", 0.5, metric="FD[clip:ab]"))
    with pytest.raises(ValueError, match="of different features, which can't be ranked"):
        compare.run([*map(str, paths), "--metric=fd"])
    with pytest.raises(ValueError, match="no row has the metric 'fid'"):
        compare.run([*map(str, paths), "--metric=fid"])
    with pytest.raises(FileNotFoundError, match="no file of results"):
        compare.run([str(tmp_path / "none.jsonl"), "--metric=fd"])


def test_distances_are_tested_with_the_same_captions_left_out(tmp_path, capsys):
    rng = np.random.default_rng(0)
    common, noise = rng.normal(size=10), 0.01 * rng.normal(size=10)
    paths = [
        write(tmp_path / "a", 2.0, metric=FD, left_out=(2 + common).tolist()),
        write(tmp_path / "b", 1.5, metric=FD, left_out=(1.5 + common + noise).tolist()),
    ]
    out = run(capsys, *paths, "--metric=fd")
    # √(9/10 Σ (noise − mean)²), and 2.262 of Student's t with 9 degrees of freedom.
    half = 2.2622 * np.sqrt(8.1) * noise.std(ddof=1)
    assert f"+0.500 [{0.5 - half:+.3f}, {0.5 + half:+.3f}]" in out and "by jackknife" in out
    # Of other noise, or without what is left out, there is no test.
    other = {"sampling": {"guidance_scale": 3.0, "seeds": [1]}}
    paths.append(write(tmp_path / "c", 1.6, metric=FD, left_out=[1.0] * 10, protocol=other))
    paths.append(write(tmp_path / "d", 1.7, metric=FD))
    out = run(capsys, *paths, "--metric=fd", "--vary=sampling.seeds")
    assert out.count("[+") == 1 and "Rows without a p have other captions or noise" in out


def test_a_setting_of_kid_forbids_no_comparison_of_distances_but_one_of_kid(tmp_path, capsys):
    def both(metric):
        for name, value, size in (("a", 2.0, 100), ("b", 1.0, 50)):
            protocol = {"settings": {"kid_subset_size": size, "seed": 0}}
            yield write(tmp_path / name, value, metric=metric, protocol=protocol)

    out = run(capsys, *both(FD), "--metric=fd")
    assert out.index(f"{tmp_path}/b") < out.index(f"{tmp_path}/a")
    paths = [*both("KD[classifier:ab]")]
    with pytest.raises(ValueError, match=r"settings\.kid_subset_size is 100 and 50"):
        compare.run([*map(str, paths), "--metric=kd"])


def test_of_other_seeds_of_the_groups_distances_are_no_pairs(tmp_path, capsys):
    more = {"metric": FD, "left_out": [1.0] * 10}
    paths = [
        write(tmp_path / name, 2.0, **more, protocol={"settings": {"seed": seed}})
        for name, seed in (("a", 0), ("b", 1))
    ]
    assert "nothing to pair them by" in run(capsys, *paths, "--metric=fd")


def test_a_distance_of_few_images_is_called_biased_and_shown_without_the_bias(tmp_path, capsys):
    more = {"extrapolated": 1.234, "extrapolated_standard_error": 0.021}
    few = write(tmp_path / "a", 2.0, metric=FD, num_features=64, **more)
    many = write(tmp_path / "b", 1.0, metric=FD, num_features=32, **more)
    out = run(capsys, few, many, "--metric=fd")
    assert "at n → ∞" in out and out.count("1.234 ± 0.021") == 2
    assert "biased upwards: 40 images are fewer than its 64 features" in out
    assert "32 features" not in out
    assert "biased" not in run(capsys, many, "--metric=fd")


def test_raw_weights_are_another_model_of_the_same_protocol(tmp_path, capsys):
    write(tmp_path / "a", 0.5)
    path = write(tmp_path / "a", 0.4, model={"weights": "raw"})
    out = run(capsys, path, "--metric=caption")
    assert "(decoder 10)" in out and "(decoder 10, raw weights)" in out


def test_files_of_statistics_are_shown_and_compared(tmp_path, capsys):
    def save(name, mean, **made_with):
        gaussians = {"2048": Gaussian(np.full(4, mean), np.eye(4), 100)}
        save_reference(tmp_path / name, Reference(gaussians, made_with))
        return tmp_path / name

    a = save("a.npz", 0.0, features="inception", features_sha256="aa")
    b = save("b.npz", 0.5, features="inception", features_sha256="aa")
    out = run(capsys, a, b)
    assert "num_images: 100" in out and "features_sha256: aa" in out
    assert f"Fréchet distance of {a} and {b}, 2048: 1" in out
    np.savez(tmp_path / "other.npz", mu=np.zeros(4), sigma=np.eye(4))  # as pytorch-fid writes it
    assert "unknown (a file of another tool)" in run(capsys, tmp_path / "other.npz")
    with pytest.raises(ValueError, match="features_sha256 'aa' and 'bb', so that their distance"):
        compare.run([str(a), str(save("c.npz", 0.0, features_sha256="bb"))])
    with pytest.raises(FileNotFoundError, match=r"there is no file of results none\.jsonl"):
        compare.run(["none.jsonl"])


def test_without_a_metric_those_of_the_files_are_named(tmp_path):
    paths = [write(tmp_path / "a", 0.5), write(tmp_path / "b", 3.0, metric="FD[clip:0123]")]
    with pytest.raises(ValueError, match=r"--metric .* have oracle/caption, FD\[clip:0123\]"):
        compare.run([str(path) for path in paths])


def test_a_row_whose_protocol_lacks_what_is_compared_is_named(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text('{"protocol": {"num_images": 3}, "protocol_hash": "a", "metrics": {}}\n')
    with pytest.raises(ValueError, match=r"row 1 of .* its protocol has no manifest_sha256"):
        compare.run([str(path), "--metric=fid"])

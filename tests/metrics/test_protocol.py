import dataclasses

import pytest

from dalle_jax.metrics.metric import Settings
from dalle_jax.metrics.protocol import Protocol, protocol_hash
from dalle_jax.metrics.ranking import differences, rank

PROTOCOL = Protocol(
    features="inception",
    features_sha256="ab" * 32,
    preprocessing={"resize": "torch-fidelity", "fit": "squeeze"},
    num_images=1000,
    reference="photos/",
    reference_sha256="cd" * 32,
    settings={"kid_subsets": 100},
    sampling={"sampler": "ddim", "guidance_scale": 3.0, "seeds": (0, 1)},
)


def row(value, protocol=PROTOCOL):
    metrics = {name: {"value": value} for name in ("fid", "kid")}
    return {"protocol": protocol.as_dict(), "metrics": metrics}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("features_sha256", "ee" * 32),
        ("preprocessing", {"resize": "clean-fid", "fit": "squeeze"}),
        ("num_images", 999),
        ("reference_sha256", "ff" * 32),
        ("settings", {"kid_subsets": 10}),
        ("manifest_sha256", "12" * 32),
        ("sampling", {"sampler": "ddim", "guidance_scale": 3.0, "seeds": (0, 2)}),
        ("preprocessing.decoding", {**PROTOCOL.preprocessing, "decoding": "converted"}),
    ],
)
def test_all_that_a_number_depends_on_is_in_the_hash_and_stops_the_ranking(name, value):
    other = dataclasses.replace(PROTOCOL, **{name.partition(".")[0]: value})
    assert other.hash != PROTOCOL.hash
    with pytest.raises(ValueError, match=f"rows 1 and 2 .* can't be ranked: {name}"):
        rank([row(1.0), row(2.0, other)], "kid")


@pytest.mark.parametrize(
    ("metric", "reads"),
    [
        ("fid", []),
        ("sfid", []),
        ("FD[clip:ab]", []),
        ("CMMD[clip:ab]", []),
        ("kid", ["kid_subset_size", "kid_subsets", "seed"]),
        ("KD[classifier:ab]", ["kid_subset_size", "kid_subsets", "seed"]),
        ("precision", ["neighbours"]),
        ("recall[clip:ab]", ["neighbours"]),
        ("density", ["neighbours_density"]),
        ("coverage", ["neighbours_density"]),
        ("is", ["is_splits", "seed"]),
        ("a metric of tomorrow", ["all"]),
    ],
)
def test_only_settings_that_a_metric_reads_forbid_its_ranking(metric, reads):
    names = [field.name for field in dataclasses.fields(Settings)]
    base = dict.fromkeys(names, 1)
    rows = []
    for changed in (None, *names):
        settings = base | ({changed: 2} if changed else {})
        protocol = dataclasses.replace(PROTOCOL, settings=settings)
        rows.append({"protocol": protocol.as_dict(), "metrics": {metric: {"value": 1.0}}})
    refused = []
    for name, other in zip(names, rows[1:]):
        try:
            rank([rows[0], other], metric)
        except ValueError as error:
            assert f"settings.{name} is 1 and 2" in str(error)
            refused.append(name)
    assert sorted(refused) == (sorted(names) if reads == ["all"] else reads)


def test_a_record_that_says_what_it_reads_is_believed():
    one, other = row(1.0), row(2.0, dataclasses.replace(PROTOCOL, settings={"kid_subsets": 9}))
    for entry in (one["metrics"]["fid"], other["metrics"]["fid"]):
        entry["settings"] = ["kid_subsets"]
    with pytest.raises(ValueError, match="kid_subsets is 100 and 9"):
        rank([one, other], "fid")


def test_the_name_of_the_reference_is_no_difference():
    other = dataclasses.replace(PROTOCOL, reference="/elsewhere/photos")
    assert other.hash == PROTOCOL.hash == protocol_hash(PROTOCOL.as_dict())
    rows = [row(2.0), row(1.0, other)]
    assert rank(rows, "fid") == rows[::-1]
    with pytest.raises(ValueError, match="no 'is'; it has fid, kid"):
        rank(rows, "is")


def test_what_is_compared_may_vary():
    sampling = {"sampler": "ddim", "guidance_scale": 5.0, "seeds": (0, 1)}
    other = dataclasses.replace(PROTOCOL, sampling=sampling)
    assert differences(PROTOCOL.as_dict(), other.as_dict()) == {
        "sampling.guidance_scale": (3.0, 5.0)
    }
    rows = [row(2.0), row(1.0, other)]
    assert rank(rows, "fid", vary=["sampling.guidance_scale"]) == rows[::-1]
    assert rank(rows, "fid", vary=["sampling"], larger_is_better=True) == rows
    with pytest.raises(ValueError, match=r"guidance_scale is 3\.0 and 5\.0"):
        rank(rows, "fid", vary=["sampling.seeds"])


@pytest.mark.parametrize("larger_is_better", [False, True])
@pytest.mark.parametrize("lost", [float("nan"), None, "3"])
def test_a_value_that_is_none_comes_last(larger_is_better, lost):
    rows = [
        {"protocol": {}, "metrics": {"m": {"value": value}}} for value in (lost, 2.0, lost, 1.0)
    ]
    ranked = rank(rows, "m", larger_is_better=larger_is_better)
    values = [row["metrics"]["m"]["value"] for row in ranked]
    assert values[:2] == ([2.0, 1.0] if larger_is_better else [1.0, 2.0])

import dataclasses

import pytest

from dalle_jax.metrics.protocol import Protocol, differences, protocol_hash, rank

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
    return {"protocol": protocol.as_dict(), "metrics": {"fid": {"value": value}}}


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
    ],
)
def test_all_that_a_number_depends_on_is_in_the_hash_and_stops_the_ranking(name, value):
    other = dataclasses.replace(PROTOCOL, **{name: value})
    assert other.hash != PROTOCOL.hash
    with pytest.raises(ValueError, match=f"rows 1 and 2 .* can't be ranked: {name}"):
        rank([row(1.0), row(2.0, other)], "fid")


def test_the_name_of_the_reference_is_no_difference():
    other = dataclasses.replace(PROTOCOL, reference="/elsewhere/photos")
    assert other.hash == PROTOCOL.hash
    assert [r["metrics"]["fid"]["value"] for r in rank([row(2.0), row(1.0, other)], "fid")] == [
        1,
        2,
    ]


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


def test_the_hash_is_that_of_the_row_and_stays():
    assert protocol_hash(PROTOCOL.as_dict()) == PROTOCOL.hash
    assert len(PROTOCOL.hash) == 12
    with pytest.raises(ValueError, match="no 'kid'; it has fid"):
        rank([row(1.0)], "kid")

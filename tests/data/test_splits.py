import numpy as np
import pytest

from dalle_jax.data.splits import split_mask, warn_of_named_splits

IDS = [f"{i:06d}.png" for i in range(4000)]


def test_each_item_is_in_one_split_and_the_shares_are_as_stated():
    masks = [
        split_mask(IDS, split, validation_share=0.1, test_share=0.2)
        for split in ("train", "validation", "test")
    ]
    assert (np.sum(masks, axis=0) == 1).all()
    # Binomial(4000, p): standard deviations below 0.8 %.
    np.testing.assert_allclose([mask.mean() for mask in masks], [0.7, 0.1, 0.2], atol=0.03)
    assert split_mask(IDS, "all").all()


def test_an_item_stays_where_it_is_when_others_come():
    np.testing.assert_array_equal(split_mask(IDS, "test")[::7], split_mask(IDS[::7], "test"))


def test_mistakes_give_a_sentence():
    with pytest.raises(ValueError, match="no split 'dev'"):
        split_mask(IDS, "dev")
    with pytest.raises(ValueError, match="at most 1"):
        split_mask(IDS, "train", validation_share=0.6, test_share=0.6)


@pytest.mark.parametrize(
    "paths",
    [
        ["d/train-00000-of-00001.parquet", "d/test-00000-of-00001.parquet"],
        ["d/train/0.tar", "d/validation/1.tar"],
        ["d/cc3m-train-0000.tar", "d/cc3m-validation-0000.tar"],
        ["d/TRAIN_0.tar", "d/dev.0.tar", "d/more.tar"],
    ],
)
def test_files_named_after_several_splits_are_warned_of(paths):
    with pytest.warns(UserWarning, match=r"named after several splits: .*give those of one: X"):
        warn_of_named_splits("parquet d", paths, "X")


@pytest.mark.parametrize(
    "paths",
    [
        ["d/train-0.tar", "d/train-1.tar"],
        ["test/train/0.tar", "test/train/1.tar"],
        ["d/0.tar", "d/latest.tar", "d/trains.tar"],
        ["test/d/train-0.tar", "test/d/more.tar"],
    ],
)
@pytest.mark.filterwarnings("error")
def test_files_of_one_split_or_none_are_not(paths):
    warn_of_named_splits("parquet d", paths, "X")

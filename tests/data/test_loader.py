import json
import threading

import numpy as np
import pytest

from dalle_jax.data.loader import augment, make_loader
from dalle_jax.data.prefetch import Stalled
from dalle_jax.data.source import InMemory, keep_in_memory
from dalle_jax.data.tokenizer import Tokenizer, train_tokenizer


class Numbered:
    """Item i shows the number i in its first pixel and says it in its captions."""

    def __init__(self, length, size=4, captions=0):
        self.length, self.size, self.captions, self.reads = length, size, captions, 0

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        self.reads += 1
        image = np.zeros((self.size, self.size, 3), np.uint8)
        image[0, 0] = i // 256, i % 256, 7
        item = {"image": image, "caption": f"{i}"}
        if self.captions:
            item["captions"] = tuple(f"{i} {'abcdef'[c]}" for c in range(self.captions))
        return item


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(train_tokenizer(["0"], 258), max_length=8)


def numbers(batch):
    return (batch["image"][:, 0, 0, 0].astype(int) * 256 + batch["image"][:, 0, 0, 1]).tolist()


def loader(tokenizer, source, **settings):
    return make_loader(source, tokenizer, **{"batch_size": 8, "image_size": 4, **settings})


def shared(tokenizer, count, source, **settings):
    """The loaders of all processes."""
    return [
        loader(tokenizer, source, process_index=p, process_count=count, **settings)
        for p in range(count)
    ]


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_images_and_tokens_belong_together(tokenizer):
    for batch in take(loader(tokenizer, Numbered(300)), 5):
        assert batch["image"].shape == (8, 4, 4, 3) and batch["image"].dtype == np.uint8
        assert batch["tokens"].shape == (8, 8) and batch["tokens"].dtype == np.int32
        assert [tokenizer.decode(row) for row in batch["tokens"]] == list(map(str, numbers(batch)))
        assert "mask" not in batch


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_each_epoch_has_every_item_once_over_all_processes(tokenizer, processes):
    # 20 items in batches of 8: an epoch ends inside a batch, and the next begins there.
    shares = [take(one, 5) for one in shared(tokenizer, processes, Numbered(20), seed=3)]
    stream = [n for batches in zip(*shares) for batch in batches for n in numbers(batch)]
    assert sorted(stream[:20]) == sorted(stream[20:]) == list(range(20))
    assert stream[:20] != stream[20:] and stream[:20] != list(range(20))


def test_the_global_batch_is_the_same_for_any_number_of_processes(tokenizer):
    source, settings = Numbered(30, captions=3), {"flip": True, "max_shift": 1}
    shares = [take(one, 6) for one in shared(tokenizer, 2, source, **settings)]
    joined = [{name: np.concatenate([a[name], b[name]]) for name in a} for a, b in zip(*shares)]
    assert_same(take(loader(tokenizer, source, **settings), 6), joined)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(tokenizer, threads):
    settings = {"seed": 5, "flip": True, "max_shift": 1}
    none, some = (
        take(loader(tokenizer, Numbered(50, captions=4), num_threads=n, **settings), 12)
        for n in (0, threads)
    )
    assert_same(none, some)


@pytest.mark.parametrize("threads", [0, 2])
def test_it_goes_on_from_its_state(tokenizer, threads):
    settings = {"num_threads": threads, "flip": True}
    iterator = loader(tokenizer, Numbered(21, captions=2), **settings)
    take(iterator, 4)
    state = json.loads(json.dumps(iterator.get_state()))
    expected = take(iterator, 5)
    fresh = loader(tokenizer, Numbered(21, captions=2), **settings)
    fresh.set_state(state)
    assert_same(take(fresh, 5), expected)
    iterator.set_state(state)
    assert_same(take(iterator, 5), expected)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (4, 2)])
def test_it_goes_on_with_another_number_of_processes(tokenizer, before, after):
    iterators = shared(tokenizer, before, Numbered(20, captions=2))
    stream = [n for _ in range(3) for it in iterators for n in numbers(next(it))]
    states = [it.get_state() for it in iterators]
    assert all(state == states[0] for state in states)
    iterators = shared(tokenizer, after, Numbered(20, captions=2))
    for iterator in iterators:
        iterator.set_state(json.loads(json.dumps(states[0])))
    stream += [n for _ in range(2) for it in iterators for n in numbers(next(it))]
    whole = take(loader(tokenizer, Numbered(20, captions=2)), 5)
    assert stream == [n for batch in whole for n in numbers(batch)]
    assert sorted(stream[:20]) == sorted(stream[20:]) == list(range(20))


@pytest.mark.parametrize("processes", [1, 2])
def test_another_batch_size_goes_on_with_the_items_after_those_that_were_read(tokenizer, processes):
    source = Numbered(21)
    read = [i for batch in take(loader(tokenizer, source), 3) for i in numbers(batch)]
    later = shared(tokenizer, processes, source, batch_size=6, first_batch=3, first_item=24)
    for one in later:
        one.set_state({"next_index": 3})
    for _ in range(5):
        read += [i for one in later for i in numbers(next(one))]
    wanted = [
        i for batch in take(loader(tokenizer, source, batch_size=54), 1) for i in numbers(batch)
    ]
    assert read == wanted
    with pytest.raises(ValueError, match="batches of 6 begin at number 3, after 0"):
        next(loader(tokenizer, source, batch_size=6, first_batch=3, first_item=24))


def test_an_item_whose_reading_hangs_is_named(tokenizer):
    class Hangs(Numbered):
        def __getitem__(self, i):
            if i == 17:
                threading.Event().wait()
            return super().__getitem__(i)

        def location(self, i):
            return f"/disk/{i}.png"

    for limit in (0, 2**30):
        batches = loader(tokenizer, Hangs(20), shuffle=False, patience=1, memory_limit=limit)
        take(batches, 2)
        with pytest.raises(Stalled, match=r"batch 2 hangs at /disk/17\.png"):
            next(batches)


@pytest.mark.parametrize("memory_limit", [0, 2**30])
@pytest.mark.parametrize(
    "error, kind",
    [
        (TimeoutError("timed out"), OSError),
        (ValueError("torn"), ValueError),
        (KeyError("image"), ValueError),
        (RuntimeError("a record is torn"), ValueError),
        (MemoryError(), MemoryError),
    ],
)
def test_an_item_that_can_not_be_read_is_named_whatever_is_raised(
    tokenizer, memory_limit, error, kind
):
    class Torn(Numbered):
        def __getitem__(self, i):
            if i == 17:
                raise error
            return super().__getitem__(i)

    batches = loader(tokenizer, Torn(20), shuffle=False, memory_limit=memory_limit)
    take(batches, 2)
    sentence = rf"^item 17 of Torn can't be read \({type(error).__name__}: {error}"
    with pytest.raises(kind, match=sentence) as raised:
        next(batches)
    assert raised.value.__cause__ is error


def test_an_error_that_names_its_item_is_left_as_it_is(tokenizer):
    class Torn(Numbered):
        def __getitem__(self, i):
            raise ValueError(f"The image {self.location(i)} is torn.")

        def location(self, i):
            return f"/disk/{i}.png"

    with pytest.raises(ValueError, match=r"^The image /disk/0\.png is torn\.$"):
        next(loader(tokenizer, Torn(20), shuffle=False))


def test_the_seed_decides_the_order(tokenizer):
    orders = [numbers(next(loader(tokenizer, Numbered(99), seed=seed))) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("processes", [1, 2])
def test_evaluation_is_one_pass_with_a_masked_rest(tokenizer, processes):
    seen = []
    settings = {"shuffle": False, "repeat": False}
    for share in shared(tokenizer, processes, Numbered(19, captions=2), **settings):
        batches = list(share)
        assert len(batches) == 3
        for batch in batches:
            assert batch["mask"].shape == (8 // processes,)
            assert (batch["image"][~batch["mask"]] == 0).all()
            assert (batch["tokens"][~batch["mask"]] == [1, 0, 0, 0, 0, 0, 0, 0]).all()
            words = [tokenizer.decode(row) for row in batch["tokens"][batch["mask"]]]
            assert words == [str(n) for n in np.array(numbers(batch))[batch["mask"]]]
            seen += words
    assert sorted(map(int, seen)) == list(range(19))


def test_training_draws_among_the_captions_of_an_image(tokenizer):
    batches = take(loader(tokenizer, Numbered(8, captions=3)), 60)
    words = [tokenizer.decode(row)[-1] for batch in batches for row in batch["tokens"]]
    counts = [words.count(letter) for letter in "abc"]
    # Binomial(480, 1/3): standard deviation 10.3.
    assert sum(counts) == 480 and all(abs(count - 160) < 45 for count in counts)


def test_items_of_a_small_source_are_read_once(tokenizer):
    source = Numbered(16)
    take(loader(tokenizer, source, num_threads=0), 8)
    assert source.reads == 16
    shared = Numbered(16)
    memory = keep_in_memory(shared, 4)
    assert [memory[i]["caption"] for i in range(16)] == list(map(str, range(16)))
    take(loader(tokenizer, memory, num_threads=0), 8)
    assert shared.reads == 16
    large = Numbered(16)
    take(loader(tokenizer, large, num_threads=0, memory_limit=0), 8)
    assert large.reads == 64


def test_memory_holds_what_the_source_gives():
    memory, source = InMemory(Numbered(5, captions=2), 4), Numbered(5, captions=2)
    for i in (3, 3, 0):
        for name, value in source[i].items():
            np.testing.assert_array_equal(memory[i][name], value)


def test_other_sizes_are_cropped_and_resized(tokenizer):
    class Wide:
        def __len__(self):
            return 2

        def __getitem__(self, i):
            image = np.zeros((16, 48, 3), np.uint8)
            image[:, 16:32] = 200
            return {"image": image, "caption": "x"}

    batch = next(loader(tokenizer, Wide(), resize_filter="box"))
    assert batch["image"].shape == (8, 4, 4, 3) and (batch["image"] == 200).all()


def test_flip_and_shift_move_pixels_as_drawn():
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    same = augment(image, np.array([0.9, 0.5, 0.5]), flip=True, max_shift=1)
    np.testing.assert_array_equal(same, image)
    flipped = augment(image, np.array([0.1, 0.5, 0.5]), flip=True, max_shift=0)
    np.testing.assert_array_equal(flipped, image[:, ::-1])
    up = augment(image, np.array([0.9, 0.99, 0.5]), flip=False, max_shift=1)
    np.testing.assert_array_equal(up[:3], image[1:])
    np.testing.assert_array_equal(up[3], image[3])


def test_mistakes_give_a_sentence(tokenizer):
    with pytest.raises(ValueError, match="positive multiple of the 3 process"):
        loader(tokenizer, Numbered(9), process_count=3)
    with pytest.raises(ValueError, match="holds no items"):
        loader(tokenizer, Numbered(0))
    with pytest.raises(ValueError, match="must be one of box"):
        loader(tokenizer, Numbered(9), resize_filter="best")

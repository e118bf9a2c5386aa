"""The samples of tar shards: which members belong together, and where they lie."""

import json
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dalle_jax.data.files import File
from dalle_jax.data.images import IMAGE_SUFFIXES
from dalle_jax.data.index import are_numbers_of
from dalle_jax.data.no_image import OTHER_IMAGE_SUFFIXES
from dalle_jax.data.tar_members import Listing, Member, compression, list_members
from dalle_jax.data.text import caption_columns
from dalle_jax.data.walk import reserved

CAPTION_SUFFIXES = ("txt", "caption", "json")  # in the order of asking
ROLES = ("image", *CAPTION_SUFFIXES)
COLUMNS = 1 + 2 * len(ROLES)  # of an index's rows

NO_SUFFIX = "no suffix"
FURTHER = "further member of a sample"
BESIDE = "{} beside another caption (read where that is empty)"
KEY_TWICE = "key twice in a shard"
TWO_IMAGES = "two images of one key"


@dataclass(frozen=True)
class Names:
    """Which members are images and which captions."""

    image: str = ""  # what follows the key and a dot in an image's name, as "input.jpg"; "" for any
    captions: tuple[str, ...] = ()  # likewise for captions; () for any of `CAPTION_SUFFIXES`
    fields: tuple[str, ...] = ()  # of captions in JSON members; () for the usual ones

    def split(self, name: str) -> tuple[str, str] | None:
        """The key and the role ("image", "txt", "caption" or "json") of a member, or None."""
        folder, base = posixpath.split(name)
        suffix = base.rpartition(".")[2].lower()
        ends = [(end, end.rpartition(".")[2]) for end in self.captions]
        if self.image:
            ends.append((self.image, "image"))
        if not self.captions and suffix in CAPTION_SUFFIXES:
            ends.append((suffix, suffix))
        if not self.image and "." + suffix in IMAGE_SUFFIXES | OTHER_IMAGE_SUFFIXES:
            ends.append((suffix, "image"))
        end, role = next((pair for pair in ends if base.lower().endswith("." + pair[0])), ("", ""))
        key = base[: -len(end) - 1]
        if not role or not key:
            return None
        return unicodedata.normalize("NFC", posixpath.join(folder, key)), role


def names_of(image_column: str, caption_column: str) -> Names:
    """The members and the fields of JSON members that the options name.

    `caption_column="txt"` or "output.txt" names members; any other is that of a field of JSON.
    """
    columns = caption_columns(caption_column)
    fields = [name for name in columns if name.rpartition(".")[2].lower() not in CAPTION_SUFFIXES]
    if fields:  # Beside others, "caption" is that of a field, too.
        fields = [name for name in columns if name in fields or name == "caption"]
    members = [name.lower().lstrip(".") for name in columns if name not in fields]
    if fields and not any(name.rpartition(".")[2] == "json" for name in members):
        members.append("json")
    return Names(image_column.lower().lstrip("."), tuple(members), tuple(fields))


@dataclass
class Samples:
    """All samples of shards, before any of them is read."""

    # What the names of a sample's members have in common; "" for the rest of a torn shard.
    keys: list[str] = field(default_factory=list)
    # int64 [N, 9]: shard, then offset and size of the member of each of the `ROLES`, or −1, 0.
    rows: np.ndarray = field(default_factory=lambda: np.zeros((0, COLUMNS), np.int64))
    # Why a sample can't be used whatever its content, by its number.
    problems: dict[int, str] = field(default_factory=dict)
    # Members that belong to no sample, by reason.
    left_out: dict[str, list[str]] = field(default_factory=dict)


def find_samples(shards: Sequence[File], labels: Sequence[str], names: Names) -> Samples:
    """The samples of shards, whose members are left out under the shards' `labels`.

    Raises:
        ValueError: a shard is compressed; or there are members, but no image with a caption.
    """
    found, rows = Samples(), []
    suffixes: Counter[str] = Counter()
    usable = False
    for number, (shard, label) in enumerate(zip(shards, labels)):
        reader = shard.read_ahead()
        packed = compression(reader.read(0, 512))
        if packed:
            raise ValueError(
                f"{shard} is compressed ({packed[0]}), which can't be read at random: unpack it "
                f"with {packed[1]}"
            )
        listing = list_members(reader.read, shard.size)
        samples, left_out = group(listing, names)
        for reason, left in left_out.items():
            found.left_out.setdefault(reason, []).extend(f"{label}/{name}" for name in left)
        for key, sample in samples.items():
            if problem := sample.problem():
                found.problems[len(rows)] = problem
            found.keys.append(key)
            rows.append((number, *sample.locations()))
            usable = usable or (sample.has_image and sample.has_caption)
        if listing.problem:
            found.problems[len(rows)] = listing.problem
            found.keys.append("")
            rows.append((number, *(-1, 0) * len(ROLES)))
        suffixes.update(_suffix(member.name) for member in listing.members)
    for end in names.captions:
        if suffixes and not any(f".{suffix}".endswith(f".{end}") for suffix in suffixes):
            option = ",".join(names.fields) if end == "json" and names.fields else end
            raise ValueError(
                f"caption_column={option} needs members that end in .{end}, of which there are "
                f"none in {_shown(shards)}; the members there end in: {_endings(suffixes)}"
            )
    if suffixes and not usable:
        raise ValueError(_nothing_usable(shards, suffixes, names))
    found.rows = np.array(rows, np.int64).reshape(len(rows), COLUMNS)
    return found


@dataclass
class Sample:
    """The members of one key, by role."""

    members: dict[str, list[Member]] = field(default_factory=dict)

    @property
    def has_image(self) -> bool:
        """Whether one of the members is an image."""
        return "image" in self.members

    @property
    def has_caption(self) -> bool:
        """Whether one of the members holds captions."""
        return any(role != "image" for role in self.members)

    def problem(self) -> str | None:
        """Why the sample is ambiguous, or None."""
        for members in self.members.values():
            names = {member.name for member in members}
            if len(members) > len(names):
                return KEY_TWICE
            if len(names) > 1:
                return TWO_IMAGES if members is self.members.get("image") else KEY_TWICE
        return None

    def locations(self) -> list[int]:
        """Offset and size of the member of each of the `ROLES`."""
        first = (self.members.get(role, [Member("", -1, 0)])[0] for role in ROLES)
        return [number for member in first for number in (member.offset, member.size)]


def group(listing: Listing, names: Names) -> tuple[dict[str, Sample], dict[str, list[str]]]:
    """The samples of a shard by key, and the names of all members that belong to none, by reason.

    The key is the name up to its last dot (`v1.0_000.png` and `v1.0_000.txt`). A member without a
    partner of that key that is a further member by WebDataset's rule, the name up to the first dot
    (`0001.seg.png` beside `0001.png`), belongs to no sample.
    """
    samples: dict[str, Sample] = {}
    left_out = {reason: list(left) for reason, left in listing.left_out.items()}
    for member in listing.members:
        reason, found = reserved(member.name), names.split(member.name)
        if reason is None and found is None:
            _, dot, suffix = posixpath.basename(member.name).lower().rpartition(".")
            reason = f"suffix .{suffix}" if dot else NO_SUFFIX
        if reason is not None:
            left_out.setdefault(reason, []).append(member.name)
            continue
        key, role = found
        samples.setdefault(key, Sample()).members.setdefault(role, []).append(member)
    _join_whole_names(samples)
    for name in (name for left in listing.left_out.values() for name in left):
        # What can't be read leaves it open which of several was meant.
        key, role = names.split(name) or ("", "")
        if key in samples:
            samples[key].members.setdefault(role, []).append(Member(name, -1, 0))
    for key in [key for key in samples if _is_further(key, samples)]:
        further = samples.pop(key)
        left = (member.name for members in further.members.values() for member in members)
        left_out.setdefault(FURTHER, []).extend(left)
    for sample in samples.values():
        _, *others = [role for role in CAPTION_SUFFIXES if role in sample.members] or [None]
        for role in others:
            left = (member.name for member in sample.members[role])
            left_out.setdefault(BESIDE.format(role), []).extend(left)
    return samples, left_out


def _join_whole_names(samples: dict[str, Sample]) -> None:
    """Give an image without captions those of its whole name, as `a.png.txt`."""
    captions = [key for key, sample in samples.items() if not sample.has_image]
    images = {
        unicodedata.normalize("NFC", member.name): sample
        for sample in (samples.values() if captions else ())
        for member in sample.members.get("image", ())
    }
    for key in captions:
        sample = images.get(key)
        if sample is not None and not sample.has_caption:
            sample.members.update(samples.pop(key).members)


def _is_further(key: str, samples: dict[str, Sample]) -> bool:
    """Whether what has this key is a further member of another sample."""
    roles = samples[key].members.keys()
    if "image" in roles and roles & {"txt", "caption"}:
        return False
    folder, base = posixpath.split(key)
    parts = base.split(".")
    shorter = (posixpath.join(folder, ".".join(parts[:n])) for n in range(1, len(parts)))
    return any(other in samples for other in shorter)


def _suffix(name: str) -> str:
    """What follows the first dot of a member's name, its key by WebDataset's rule."""
    return posixpath.basename(name).partition(".")[2].lower() or NO_SUFFIX


def _nothing_usable(shards: Sequence[File], suffixes: Counter[str], names: Names) -> str:
    images = names.image or "jpg, png, webp and all others that Pillow reads"
    captions = ", ".join(names.captions or CAPTION_SUFFIXES)
    image = next((end for end in suffixes if _ends_in(end, IMAGE_SUFFIXES)), "input.jpg")
    text = next((end for end in suffixes if _ends_in(end, CAPTION_SUFFIXES)), "output.txt")
    return (
        f"there is no image with a caption in {_shown(shards)}; the members there end in: "
        f"{_endings(suffixes)}. Read are an image ({images}) and its captions ({captions}) that "
        "differ only behind the last dot; others are named by image_column and caption_column, as "
        f"in image_column={image} caption_column={text}"
    )


def _shown(shards: Sequence[File]) -> str:
    return str(shards[0]) + (f" and {len(shards) - 1} further shards" if shards[1:] else "")


def _endings(suffixes: Counter[str]) -> str:
    """What the names of members end in, the commonest first."""
    if len(suffixes) > 12:  # Keys with dots in them.
        last: Counter[str] = Counter()
        for suffix, count in suffixes.items():
            last[suffix.rpartition(".")[2]] += count
        suffixes = last
    return ", ".join(f"{count} {suffix[:40]!a}" for suffix, count in suffixes.most_common(12))


def _ends_in(name: str, suffixes: Iterable[str]) -> bool:
    return name.isprintable() and name.rpartition(".")[2] in {s.lstrip(".") for s in suffixes}


def is_sound(arrays: Mapping[str, np.ndarray], sizes: Sequence[int]) -> bool:
    """Whether arrays of keys, rows and numbers of usable samples fit shards of these sizes."""
    keys = json.loads(arrays["keys"].tobytes())
    return (
        all(isinstance(key, str) for key in keys)
        and _stay_inside(arrays["rows"], len(keys), sizes)
        and are_numbers_of(arrays["good"], len(keys))
    )


def _stay_inside(rows: np.ndarray, count: int, sizes: Sequence[int]) -> bool:
    if rows.dtype != np.int64 or rows.shape != (count, COLUMNS):
        return False
    shards = rows[:, 0]
    if not ((shards >= 0) & (shards < len(sizes))).all():
        return False
    ends = np.array(sizes, np.int64)[shards][:, None]
    offsets, lengths = rows[:, 1::2], rows[:, 2::2]
    inside = (offsets >= 0) & (lengths >= 0) & (lengths <= ends - offsets)
    return bool((inside | (offsets == -1)).all())

"""Tar shards, of members that tarfile itself would not write, and images of a value each."""

import io
import tarfile
import warnings

from PIL import Image

from tests.data.encoded import encoded


def png(value=0, size=(4, 3)):
    return encoded(Image.new("RGB", size, (value, 0, 0)))


def link(name, target, kind=tarfile.LNKTYPE):
    return special(name, kind, linkname=target)


def special(name, kind, **fields):
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def pair(key, value, image="png", text="txt"):
    """An image of that value, and its caption, which says the value."""
    return [(f"{key}.{image}", png(value)), (f"{key}.{text}", str(value).encode())]


def tar_bytes(members, kind=tarfile.GNU_FORMAT):
    """A tar of (name, content) and of headers without content."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return file.getvalue()


def write(path, members, kind=tarfile.GNU_FORMAT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_bytes(members, kind))
    return path


def found(kind, spec, split="all", **options):
    """The captions of all good items by id, and the report; each image is that of its captions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = kind(spec, split, **{"max_bad_share": 1.0, **options})
    items = [source[i] for i in range(len(source))]
    for item in items:
        if all(caption.isdigit() for caption in item["captions"]):  # as those of `pair` are
            assert item["captions"] == (str(item["image"][0, 0, 0]),)
    return {item["id"]: item["captions"] for item in items}, source.report

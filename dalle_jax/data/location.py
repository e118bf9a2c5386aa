"""Whether two names of a data source lead to the same files, however they are spelled."""

import os

PATH_KINDS = ("folder", "webdataset", "parquet")


def normalized_source(spec: str) -> str:
    """A `data.source` with its path absolute, links followed, `~` and `.` and a last `/` resolved.

    Names without a path, such as `captioned_shapes/easy`, and URLs are returned as they are. Of
    several patterns joined by `::` each is normalized.
    """
    kind, colon, rest = spec.partition(":")
    if kind not in PATH_KINDS or not rest:
        return spec
    return kind + colon + "::".join(map(_normalized_path, rest.split("::")))


def is_same_source(one: str, other: str) -> bool:
    """Whether both are of one kind and lead to the same place, seen from the working directory."""
    return one == other or normalized_source(one) == normalized_source(other)


def _normalized_path(path: str) -> str:
    return path if "://" in path or not path else os.path.realpath(os.path.expanduser(path))

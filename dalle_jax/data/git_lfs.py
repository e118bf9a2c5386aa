"""Pointers, which Git LFS leaves in place of files that it has not fetched."""

POINTER = "a pointer of Git LFS, not the file itself: run git lfs pull"
START = b"version https://git-lfs"


def is_pointer(beginning: bytes) -> bool:
    """Whether a file that begins so is a pointer."""
    return beginning.startswith(START)

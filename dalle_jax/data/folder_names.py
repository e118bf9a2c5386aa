"""What the files of a folder are, by their names."""

import posixpath
import re

from dalle_jax.data.tables import TABLE_SUFFIXES
from dalle_jax.data.walk import Walk

# A caption is read from the first of these that is not empty.
CAPTION_SUFFIXES = (".txt", ".caption", ".json")
TABLE_NAMES = frozenset(
    f"{name}{end}" for name in ("metadata", "captions") for end in TABLE_SUFFIXES
)
# As captions_train2017.json: the split, and the rest, by which files belong together.
COCO = re.compile(r"captions_([a-z]+)(\w*)\.json")
KARPATHY = re.compile(r"dataset(_\w+)?\.json")
IMG2DATASET = re.compile(r"\d+(\.parquet|\.csv|_stats\.json)")
# Reports and indices of this and of other readers.
_OWN_FILES = re.compile(r"data_(report|index)(-\w+)?\.(json|npz)(\.\w+\.partial)?|index-\w+\.npz")


def lies_beside_images(table: str) -> bool:
    """Whether a table, by its name, is of images in the folders beside it or beside its own."""
    return (COCO.fullmatch(table) or KARPATHY.fullmatch(table)) is not None


def without_own_files(tree: Walk) -> Walk:
    """The tree without reports and indices that this package wrote into it."""
    files = [file for file in tree.files if not _is_own_file(file.name)]
    return Walk(tree.root, files, tree.left_out)


def _is_own_file(name: str) -> bool:
    if "data_" not in name and "index-" not in name:
        return False
    return _OWN_FILES.fullmatch(posixpath.basename(name)) is not None

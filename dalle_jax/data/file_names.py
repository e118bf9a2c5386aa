"""Which file of a folder a name means, however it is spelled."""

import os
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cached_property

from dalle_jax.data.splits import named_splits
from dalle_jax.data.walk import File, Walk, reserved

NO_IMAGE = "no image"
AMBIGUOUS = "ambiguous name"


class FileNames:
    """The files of a folder by their names as tables spell them.

    Absolute names may begin with `given`, the folder as the user named it.
    """

    def __init__(self, tree: Walk, given: str, is_remote: bool = False):
        self._tree, self._is_remote = tree, is_remote
        given = given if is_remote else os.path.abspath(given)
        self._roots = [root for root in (tree.root, given.rstrip("/")) if root.strip("/")]
        self._by_name = {file.name: file for file in tree.files}

    @cached_property
    def _by_real(self) -> dict[str, File]:
        return {self.real(file): file for file in reversed(self._tree.files)}

    @cached_property
    def _by_letters(self) -> dict[str, list[File]]:
        return self._grouped(letters)

    @cached_property
    def _by_base(self) -> dict[str, list[File]]:
        return self._grouped(posixpath.basename)

    @cached_property
    def _folder_names(self) -> set[str]:
        paths = {posixpath.dirname(file.name) for file in self._tree.files}
        return {name for path in paths for name in path.split("/")}

    def _grouped(self, key: Callable[[str], str]) -> dict[str, list[File]]:
        groups = defaultdict(list)
        for file in self._tree.files:
            groups[key(file.name)].append(file)
        return groups

    def get(self, name: str) -> File | None:
        """The file of exactly this name, relative to the folder."""
        return self._by_name.get(name)

    def find(self, spelled: str, directory: str = "") -> File | str:
        r"""The file that a table in `directory` (as `sub/`) means, or the reason why there is none.

        A name is tried as it is spelled; without `.`, `..` and doubled slashes; with `\\` as `/`;
        then as that of the only file that differs in case, Unicode form or blanks around it.

        Raises:
            ValueError: the name leads out of the folder.
        """
        file = self._by_name.get(directory + spelled)
        if file is not None:
            return file
        path: str | None = spelled
        for name in dict.fromkeys((spelled, spelled.strip(), spelled.replace("\\", "/").strip())):
            path = self._path(name, directory)
            if path is None:
                raise ValueError(
                    f"the file name {spelled!r:.200} leads out of the folder {self._tree.root}"
                )
            file = self._by_name.get(path)
            if file is not None:
                return file
        return self._alike(path)

    def find_tail(self, spelled: str, folder: str = "", split: str = "") -> File | str:
        """The only file whose path ends in `spelled`, or the reason why there is none.

        It must lie in a folder called `folder`, where there is one; else, if `split` is given, in
        no folder that is named after another split.
        """
        tail = posixpath.normpath(spelled)
        files = self._by_base.get(posixpath.basename(tail), ())
        files = [file for file in files if f"/{file.name}".endswith(f"/{tail}")]
        if folder and folder in self._folder_names:
            files = [file for file in files if folder in file.name.split("/")[:-1]]
        elif split:
            files = [file for file in files if named_splits(file.name) <= {split}]
        return self._only(files)

    def _path(self, name: str, directory: str) -> str | None:
        """The path of a name relative to the folder; None where it leads out of it."""
        if "\0" in name:
            return name
        if self._is_remote:
            root = next((root for root in self._roots if name.startswith(root + "/")), None)
            if root is not None:
                directory, name = "", name[len(root) + 1 :]
            path = posixpath.normpath(directory + name)
            return None if name.startswith("/") or f"{path}/".startswith("../") else path
        if name.startswith("/"):
            path = posixpath.normpath("/" + name.lstrip("/"))
            for root in self._roots:
                if path.startswith(root + "/"):
                    return path[len(root) + 1 :]
        elif ".." in name.split("/"):
            # Behind a link to a folder, `..` is the folder above its target.
            path = posixpath.join(self._tree.root, directory, name)
        else:
            return posixpath.normpath(directory + name)
        real = os.path.realpath(path)
        if not real.startswith(self._tree.root.rstrip("/") + "/"):
            return None
        file = self._by_real.get(real)
        return real[len(self._tree.root.rstrip("/")) + 1 :] if file is None else file.name

    def real(self, file: File) -> str:
        """The path of a file without links."""
        return file.real or f"{self._tree.root.rstrip('/')}/{file.name}"

    def _alike(self, name: str) -> File | str:
        """The only file whose name differs in case, Unicode form and blanks, or a reason."""
        found = self._only(self._by_letters.get(letters(name), ()))
        reason = reserved(name)
        if found == NO_IMAGE and reason and os.path.lexists(f"{self._tree.root}/{name}"):
            return f"{reason}, which is never data"
        return found

    def _only(self, files: Sequence[File]) -> File | str:
        if not files:
            return NO_IMAGE
        return files[0] if len({self.real(file) for file in files}) == 1 else AMBIGUOUS


def letters(name: str) -> str:
    """A name without what case, Unicode form and blanks around its parts make of it."""
    if name.isascii() and " " not in name:
        return name.lower()
    parts = unicodedata.normalize("NFC", name).casefold().split("/")
    return "/".join(unicodedata.normalize("NFC", part).strip() for part in parts)

"""Which images a folder holds, and where their captions and splits come from."""

import posixpath
import re
from collections import defaultdict
from collections.abc import Sequence

from dalle_jax.data import git_lfs, splits
from dalle_jax.data.file_names import NO_IMAGE, FileNames, letters
from dalle_jax.data.folder_files import (
    CAPTION_SUFFIXES,
    COCO,
    IMG2DATASET,
    KARPATHY,
    TABLE_NAMES,
    LocalFolder,
)
from dalle_jax.data.folder_images import Item, Items
from dalle_jax.data.images import IMAGE_SUFFIXES
from dalle_jax.data.no_image import OTHER_IMAGE_SUFFIXES
from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.table_rows import OtherForm, Row
from dalle_jax.data.tables import read_table
from dalle_jax.data.walk import File, stem_of, suffix_of

NOT_NAMED = "image that the table does not name"
SHARED_CAPTION = "caption file of several images"


def find_items(
    folder: LocalFolder, options: ReadingOptions, only_table: str = ""
) -> tuple[list[Item], dict[str, str], dict[str, list[str]]]:
    """The images of a folder; with `only_table` those that this table names.

    Captions come from the tables in the image's folder or in one above it, else from a file beside
    it.

    Returns:
        The items, ordered by the names of their files; the problems of rows of tables, by their
        ids; and the names of what is no item, by reason.

    Raises:
        ValueError: a table can't be read, two lie in one folder, or a name leads out of the folder.
    """
    search = _Search(folder, options)
    if only_table:
        search.read_table(only_table)
        search.leave_out_unnamed()
    else:
        search.sort_files()
        search.read_tables()
        search.read_coco()
        search.look_beside()
    items = sorted(search.items.found.values(), key=lambda item: item.file.name)
    # A table may name an image whatever its suffix.
    images = {item.file.name for item in items} if search.has_table else set()
    left_out = {reason: sorted({*names} - images) for reason, names in search.left_out.items()}
    return items, search.bad_rows, left_out


class _Search:
    def __init__(self, folder: LocalFolder, options: ReadingOptions):
        self._tree, self._open, self._options = folder.tree, folder.open, options
        self._names = FileNames(folder.tree, folder.given, folder.is_remote)
        self.items = Items(folder.tree.root, folder.open)
        self.bad_rows: dict[str, str] = {}
        self.left_out = defaultdict(list, {k: list(v) for k, v in folder.tree.left_out.items()})
        self.has_table = False
        self._is_coco = False  # Whether captions come from COCO's annotation files.
        self._in_bad_rows: set[str] = set()  # Identities of images.
        self._governed: set[str] = set()
        self._images: list[File] = []
        self._texts: dict[str, dict[str, File]] = defaultdict(dict)
        self._table_files: list[File] = []

    def sort_files(self) -> None:
        """Distinguish images, captions, tables and other files by their names."""
        for file in self._tree.files:
            base = posixpath.basename(file.name)
            stem, suffix = stem_of(file.name), suffix_of(file.name)
            if suffix in IMAGE_SUFFIXES or suffix in OTHER_IMAGE_SUFFIXES:
                self._images.append(file)
            elif base.lower() in TABLE_NAMES or KARPATHY.fullmatch(base):
                self._table_files.append(file)
            elif IMG2DATASET.fullmatch(base):
                self.left_out["table or statistics of img2dataset"].append(file.name)
            elif suffix in CAPTION_SUFFIXES:
                known = self._texts[stem].get(suffix)
                if known is None or file.name.endswith(suffix):  # a.txt before a.TXT
                    self._texts[stem][suffix], file = file, known
                if file is not None:
                    self.left_out["second caption file of a name"].append(file.name)
            else:
                self._leave_out_other(file)

    def _leave_out_other(self, file: File) -> None:
        suffix = suffix_of(file.name)
        reason = f"other file ({suffix})" if suffix else "other file without suffix"
        self.left_out[reason].append(file.name)

    def read_tables(self) -> None:
        """Read all tables, at most one a folder."""
        of_folder: dict[str, str] = {}
        # JSON may be something else than a table, which is seen only when it is read.
        self._table_files.sort(key=lambda file: (file.name.lower().endswith(".json"), file.name))
        for file in self._table_files:
            if not file.name.lower().endswith(".json"):
                self._check_single(of_folder, file.name)
        for file in self._table_files:
            try:
                self.read_table(file.name)
            except OtherForm:
                # It may be of an image of this name.
                self._texts[stem_of(file.name)][suffix_of(file.name)] = file
                continue
            self._check_single(of_folder, file.name)

    def read_coco(self) -> None:
        """Read COCO's annotation files where nothing else gives captions.

        Images that they do not name, e.g. those of other splits, are left out.
        """
        files = {
            f"{stem}.json": (stem, of_suffix[".json"])
            for stem, of_suffix in self._texts.items()
            if ".json" in of_suffix and COCO.fullmatch(posixpath.basename(f"{stem}.json"))
        }
        own = {name for file in self._images for name in (file.name, stem_of(file.name))}
        if self.has_table or not own.isdisjoint(self._texts):
            return
        read: dict[str, str] = {}
        for name, (stem, file) in files.items():
            try:
                self.read_table(file.name, is_coco=True)
            except OtherForm:
                continue
            del self._texts[stem][".json"]
            other = read.setdefault(COCO.fullmatch(posixpath.basename(name))[2], file.name)
            if len(read) > 1:
                raise ValueError(
                    f"{self._tree.root} holds both {next(iter(read.values()))} and {other}, whose "
                    "splits may share pictures; keep one of them, or name one: "
                    f"folder:{self._tree.root}/{other}"
                )
        self._is_coco = bool(read)

    def _check_single(self, of_folder: dict[str, str], table: str) -> None:
        directory, base = posixpath.split(table)
        first = of_folder.setdefault(directory, base)
        if first != base:
            folder = posixpath.join(self._tree.root, directory).rstrip("/")
            raise ValueError(
                f"{folder} holds both {first} and {base}; keep one of them, or name one: "
                f"folder:{folder}/{first}"
            )

    def read_table(self, table: str, is_coco: bool = False) -> None:
        """Add the captions of a table (if `is_coco`, in COCO's form) to the images it names."""
        directory = _directory(table)
        with self._open(table) as file:
            if git_lfs.is_pointer(file.read(len(git_lfs.START))):
                raise ValueError(f"{self._tree.root}/{table} is {git_lfs.POINTER}")
            file.seek(0)
            for row in read_table(file, posixpath.join(self._tree.root, table), self._options):
                if is_coco and not row.anywhere:
                    raise OtherForm(f"{table} is a table of another form than COCO's")
                self.has_table = True
                self._add_row(row, table, directory)
        # Such files lie beside the folders of images, or in a folder of annotations.
        anywhere = is_coco or KARPATHY.fullmatch(posixpath.basename(table))
        self._governed.add("" if anywhere else directory)

    def _add_row(self, row: Row, table: str, directory: str) -> None:
        if row.problem is not None:
            self.bad_rows[f"{table}:{row.number}"] = row.problem
            if row.file is not None and (file := self._names.get(directory + row.file)):
                self._in_bad_rows.add(self.items.identity(file))
            return
        found = self._names.find(row.file, directory)
        if found == NO_IMAGE and row.anywhere:
            split = row.split if row.folder else ""  # Karpathy's are not those of the folders.
            found = self._names.find_tail(row.file, row.folder, split)
        if isinstance(found, str):
            self.bad_rows.setdefault(directory + row.file, found)
            return
        item = self.items.item(found)
        item.captions += [pair for pair in row.captions if pair not in item.captions]
        item.splits.add(row.split or _folder_split(directory))
        item.other_split |= row.other_split
        if not row.captions and not item.captions:
            item.problem = "empty caption"
        elif item.captions:
            item.problem = None

    def look_beside(self) -> None:
        """Give images that no table covers the caption files beside them."""
        self.items.hash_outside(self._images)
        of_stem: dict[str, list[File]] = defaultdict(list)
        for file in self._images:
            if self._is_governed(file.name):
                identity = self.items.identity(file)
                if self._is_coco and identity not in self.items.found:
                    self.left_out[NOT_NAMED].append(file.name)
                elif identity not in self._in_bad_rows:  # Its row counts for it.
                    self.items.item(file)
            else:
                stem = stem_of(file.name)
                # Some tools write a.png.txt for a.png.
                whole = file.name in self._texts and stem not in self._texts
                of_stem[file.name if whole else stem].append(file)
        texts = self._texts_by_stem(of_stem)
        for stem, files in of_stem.items():
            there = texts.get(stem, {})
            beside = [there[suffix].name for suffix in self._preferred(there)]
            readable = [f for f in files if suffix_of(f.name) in IMAGE_SUFFIXES]
            if len(readable) == 1 and len(files) > 1 and beside:
                originals = [file.name for file in files if file is not readable[0]]
                self.left_out["original, in a format that is not read, of an image"] += originals
                files = readable
            items = [self.items.item(file) for file in files]
            for item, file in zip(items, files):
                if not beside:
                    continue
                if any(other is not item for other in items):
                    item.problem = SHARED_CAPTION
                elif beside not in item.beside:
                    item.beside.append(beside)
                item.splits.add(_folder_split(_directory(file.name)))
        for stem, of_suffix in texts.items():
            used = stem in of_stem
            for suffix, file in of_suffix.items():
                if not used and suffix == ".json":
                    self._leave_out_other(file)
                elif not used:
                    self.left_out["caption file without image"].append(file.name)
                elif suffix != ".json" and suffix != self._preferred(of_suffix)[0]:
                    self.left_out["second caption file of a name"].append(file.name)

    def _preferred(self, of_suffix: dict[str, File]) -> Sequence[str]:
        """The suffixes of a name's caption files in the order of reading; empty files come last.

        Only JSON has the columns that `caption_column` names.
        """
        there = [suffix for suffix in CAPTION_SUFFIXES if suffix in of_suffix]
        if self._options.caption_column and ".json" in there:
            there = [".json"]
        return sorted(there, key=lambda suffix: of_suffix[suffix].size == 0)

    def _texts_by_stem(self, of_stem: dict[str, list[File]]) -> dict[str, dict[str, File]]:
        """Caption files by the stems of their images, which may differ in case or Unicode form."""
        texts = dict(self._texts)
        images, captions = defaultdict(list), defaultdict(list)
        for groups, stems, taken in ((images, of_stem, texts), (captions, texts, of_stem)):
            for stem in stems:
                if stem not in taken:
                    groups[letters(stem)].append(stem)
        exact = {letters(stem) for stem in of_stem if stem in texts}
        for form, stems in images.items():
            if len(stems) == len(captions[form]) == 1 and form not in exact:
                texts[stems[0]] = texts.pop(captions[form][0])
        return texts

    def leave_out_unnamed(self) -> None:
        """Note the images of the folder that the only table does not name."""
        used = {self.items.identity(item.file) for item in self.items.found.values()}
        for file in self._tree.files:
            if suffix_of(file.name) in IMAGE_SUFFIXES and self.items.identity(file) not in used:
                self.left_out[NOT_NAMED].append(file.name)

    def _is_governed(self, name: str) -> bool:
        if "" in self._governed:
            return True
        ends = [match.end() for match in re.finditer("/", name)] if self._governed else []
        return any(name[:end] in self._governed for end in ends)


def _directory(name: str) -> str:
    """The folder of a file, with a final "/"; "" for the root."""
    return name[: name.rfind("/") + 1]


def _folder_split(directory: str) -> str:
    """The split that the uppermost folder is named after, or ""."""
    return splits.NAMES.get(directory.partition("/")[0].lower(), "")

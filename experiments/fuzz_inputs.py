"""Inputs for the readers of data, generated or damaged; each image says which captions are its own.

Item k has an image of one colour that stands for k, a file name with a check sum of k, and captions
with one. So a damaged name is no other item's name, a damaged caption is nobody's, and a caption
beside another item's image is found by `owner_of_image` and `owners_of_caption`.
"""

import csv
import functools
import io
import json
import random
import re
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ITEMS = 64
FORMATS = {"png": "PNG", "bmp": "BMP", "gif": "GIF", "tiff": "TIFF", "ppm": "PPM", "PNG": "PNG"}
FOLDERS = ("", "", "", "a/", "b c/", "a/ü/", "train/", "val/", "test/", "./")
ENCODINGS = (*["utf-8"] * 9, "utf-8-sig", "utf-16", "cp1252", "utf-16-le")
LINE_ENDS = ("\n", "\n", "\r\n", "\r")
OTHERS = ("README", "x.npy", "0.cls", ".DS_Store", "._0.png", "Thumbs.db", "stats.json", "a.heic")
_CAPTION = re.compile(r"item (\d+) ([0-9a-f]{6})\b")


def _check(number: int) -> str:
    return f"{zlib.crc32(b'item %d' % number):08x}"[:6]


def name_of(number: int) -> str:
    """The stem of an item's file names."""
    return f"{number}-{_check(number)}"


def caption_of(number: int, rng: random.Random) -> str:
    """A caption that says whose it is."""
    before = rng.choice(("", "", "a ", "ein schönes ", "日本 ", '"', "a,b\t"))
    return (
        f"{before}item {number} {_check(number)}{rng.choice(('', '', '.', ', red', ' ü', chr(34)))}"
    )


def owners_of_caption(text: str) -> set[int]:
    """The items whose caption a text is, as far as it is whole."""
    found = {int(number): check for number, check in _CAPTION.findall(text)}
    return {number for number, check in found.items() if check == _check(number)}


def _colour(number: int) -> tuple[int, int, int]:
    return (4 * number, 255 - 3 * number, number * 37 % 256)


def owner_of_image(image: np.ndarray) -> int | None:
    """The item whose image it is, if it is a whole one."""
    colour = tuple(image[0, 0].tolist())
    number = colour[0] // 4
    whole = number < ITEMS and colour == _colour(number) and (image == image[0, 0]).all()
    return number if whole else None


@functools.cache
def image_of(number: int, suffix: str = "png") -> bytes:
    """An item's image in the format of a suffix, without loss."""
    file = io.BytesIO()
    Image.new("RGB", (2, 2), _colour(number)).save(file, FORMATS[suffix])
    return file.getvalue()


def damage(content: bytes, rng: random.Random) -> bytes:
    """The content with some bytes changed, inserted, removed, repeated or cut off."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place = rng.randrange(len(changed) + 1)
        how = rng.randrange(7)
        if how < 2 and place < len(changed):
            changed[place] = rng.choice((0, 1, 10, 34, 44, 127, 128, 255, rng.randrange(256)))
        elif how == 2 and place < len(changed):
            changed[place] ^= 1 << rng.randrange(8)
        elif how == 3:
            changed[place:place] = rng.randbytes(rng.choice((1, 2, 16, 512)))
        elif how == 4:
            del changed[place : place + rng.choice((1, 2, 16, 512))]
        elif how == 5:
            changed[place:place] = changed[place : place + rng.choice((1, 16, 512))]
        elif how == 6 and rng.random() < 0.3:
            del changed[place:]
    return bytes(changed)


def maybe_damaged(content: bytes, rng: random.Random, share: float = 0.5) -> bytes:
    """The content, damaged in a share of the cases."""
    return damage(content, rng) if rng.random() < share else content


def items_of(rng: random.Random) -> list[int]:
    """Some items, most of them once."""
    return [rng.randrange(ITEMS) for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 5, 8)))]


def text_file(number: int, rng: random.Random) -> bytes:
    """A `.txt` or `.caption` file of an item."""
    end = rng.choice(LINE_ENDS)
    lines = [caption_of(number, rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    lines += rng.choice(([], [], [""], ["\u200b"], [" "], ["x\u2028y"]))
    return end.join(lines).encode(rng.choice(ENCODINGS), "replace")


def json_file(number: int, rng: random.Random) -> bytes:
    """A `.json` file of an item."""
    key = rng.choice(("caption", "text", "captions", "other"))
    value = rng.choice((caption_of(number, rng), [caption_of(number, rng)], None, 3, "", [None]))
    sides = {"width": 2, "height": 2, "original_width": 4, "original_height": 2}
    record = {rng.choice(("caption", "url")): rng.choice((None, "", "u"))} | {key: value}
    record |= rng.choice(({}, {}, sides))
    return json.dumps(record, ensure_ascii=rng.random() < 0.5).encode()


def members_of(
    number: int, rng: random.Random, folder: str = "", others: bool = True
) -> list[tuple[str, bytes]]:
    """The files of an item: an image and captions, or less, or more.

    With `others`, some images are another item's, of which a reader must not think that they are
    this one's.
    """
    stem = folder + rng.choice(("", "", "v1.0_")) + name_of(number)
    files = [
        (f"{stem}.{suffix}", image_of(number, suffix))
        for suffix in rng.sample(list(FORMATS), rng.choice((0, 1, 1, 1, 1, 1, 1, 2)))
    ]
    other = rng.randrange(ITEMS)
    if files and others and rng.random() < 0.1:
        files.append((f"{stem}.seg.png", image_of(other)))
    if files and others and rng.random() < 0.1:  # Whose the captions are can't be known.
        files.append((f"{stem}.{'tif' if rng.random() < 0.5 else 'dib'}", image_of(other, "tiff")))
    for suffix in rng.sample(("txt", "caption", "json", "cls"), rng.choice((0, 1, 1, 1, 1, 2))):
        made = json_file(number, rng) if suffix == "json" else text_file(number, rng)
        files.append((f"{stem}.{suffix}", made))
    rng.shuffle(files)
    return files


def _is_image(name: str) -> bool:
    return name.rpartition(".")[2] in (*FORMATS, "tif", "dib")


def write_files(folder: Path, files: list[tuple[str, bytes]]) -> None:
    """Write files, as far as their names are free."""
    for name, content in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_dir():
            path.write_bytes(content)


def make_folder(folder: Path, rng: random.Random) -> None:
    """Images with captions beside them, links, and what systems leave."""
    for number in items_of(rng):
        files = members_of(number, rng, rng.choice(FOLDERS))
        write_files(folder, [(name, maybe_damaged(content, rng, 0.15)) for name, content in files])
    if rng.random() < 0.3:
        write_files(folder, [(rng.choice(OTHERS), rng.randbytes(3))])
    if rng.random() < 0.2:
        made = sorted(folder.rglob("*"))
        target = rng.choice([*made, folder, Path("/nowhere")])
        path = folder / rng.choice(("link.png", "link.txt", "linked", "a"))
        if not path.is_symlink() and not path.exists():
            path.symlink_to(target, target_is_directory=target.is_dir())


def _table_name(name: str, rng: random.Random) -> str:
    how = rng.randrange(20)
    changed = {0: f"./{name}", 1: name.replace("/", "\\"), 2: name.upper(), 3: f"../{name}"}
    return {**changed, 4: "", 5: "nothing.png", 6: f" {name}"}.get(how, name)


def make_table(folder: Path, rng: random.Random) -> None:
    """Images and a table of captions; of the tables many are misshapen."""
    rows, numbers = [], items_of(rng)
    for number in numbers:
        name = rng.choice(FOLDERS) + name_of(number) + ".png"
        write_files(folder, [(name, image_of(number))])
        for _ in range(rng.choice((1, 1, 1, 2))):
            caption = rng.choice((*[caption_of(number, rng)] * 5, "", None, 3, ["x"]))
            if isinstance(caption, str) and rng.random() < 0.2:  # A line as a row of another image.
                other, separator = name_of(rng.choice(numbers)), rng.choice("\t\t, ")
                caption = f"{rng.choice(('a', caption))}\n{other}.png{separator}{caption}"
            rows.append((_table_name(name, rng), caption))
    kind = rng.choice(("jsonl", "csv", "tsv", "json", "parquet"))
    file_key = rng.choice((*["file_name"] * 6, "image", "filename", "other"))
    key = rng.choice((*["caption", "text"] * 4, "captions", "other"))
    encoding, end = rng.choice(ENCODINGS), rng.choice(LINE_ENDS)
    records = [{file_key: name, key: caption, "n": 1} for name, caption in rows]
    if kind == "parquet":
        table = {file_key: [r[file_key] for r in records], key: [str(r[key]) for r in records]}
        content = parquet_bytes(pa.table(table), rng)
    elif kind == "json":
        content = json.dumps(records).encode(encoding, "replace")
    elif kind == "jsonl":
        lines = [json.dumps(record, ensure_ascii=rng.random() < 0.5) for record in records]
        content = end.join(
            rng.sample([*lines, *rng.choice(([], ["{"], ["3"], [""]))], k=len(lines))
        )
        content = content.encode(encoding, "replace")
    else:
        text = io.StringIO()
        separator = "\t" if kind == "tsv" else rng.choice(",,,;|\t")
        quoting = rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
        writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting)
        writer.writerow(
            rng.sample([file_key, key, "n"], 3) if rng.random() < 0.1 else [file_key, key]
        )
        writer.writerows(
            [name, caption, *rng.choice(((), (), (), ("x",)))] for name, caption in rows
        )
        content = text.getvalue().encode(encoding, "replace")
    stem = rng.choice(("metadata", "metadata", "captions"))
    write_files(folder, [(f"{stem}.{kind}", maybe_damaged(content, rng, 0.3))])


def _tar(files: list[tuple[str, bytes]], rng: random.Random) -> bytes:
    made = io.BytesIO()
    kind = rng.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    with tarfile.open(fileobj=made, mode="w", format=kind) as tar:
        for name, content in files:
            info = tarfile.TarInfo(rng.choice(("", "", "", "./", "/")) + name)
            info.size = len(content)
            if rng.random() < 0.03:
                info.type = rng.choice(
                    (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, b"S", b"Q")
                )
                # To a file of the same item, or to nothing: a link to another item's says so.
                stem = name.partition("-")[0]
                targets = [
                    other
                    for other, _ in files
                    if other.partition("-")[0] == stem
                    and not other.endswith((".seg.png", ".tif", ".dib"))
                ]
                info.linkname, info.size = rng.choice([*targets, "nothing.png"]), 0
            tar.addfile(info, io.BytesIO(content) if info.size else None)
    return made.getvalue()[: None if rng.random() < 0.5 else made.tell()]


def _damaged_headers(content: bytes, rng: random.Random) -> bytes:
    """A tar with damaged headers whose check sums are right."""
    changed = bytearray(content)
    for start in range(0, len(changed) - 511, 512):
        if changed[start + 257 : start + 262] == b"ustar" and rng.random() < 0.2:
            header = changed[start : start + 512]
            place = rng.choice((rng.randrange(124, 136), 156, rng.randrange(345, 512), 482))
            header[place] = rng.choice((0, 32, 48, 53, 83, 120, 128, 255, rng.randrange(256)))
            header[148:156] = b" " * 8
            header[148:156] = b"%06o\0 " % sum(header)
            changed[start : start + 512] = header
    return bytes(changed)


def make_shards(folder: Path, rng: random.Random) -> None:
    """One or two tar shards, of one or several archives each."""
    for shard in range(rng.choice((1, 1, 1, 2))):
        parts = []
        # Damage may take away whatever else there is of a name.
        forged, torn = rng.random() < 0.3, rng.random() < 0.3
        whole = not (forged or torn)
        for _ in range(rng.choice((1, 1, 1, 2))):
            files = [
                member
                for number in items_of(rng)
                for member in members_of(number, rng, rng.choice(FOLDERS), whole)
            ]
            if files and whole and rng.random() < 0.3:
                # A name that occurs twice, with another content.
                name, other = rng.choice(files)[0], rng.randrange(ITEMS)
                content = image_of(other) if _is_image(name) else text_file(other, rng)
                files.insert(rng.randrange(len(files) + 1), (name, content))
            if rng.random() < 0.2:
                files.append((rng.choice(OTHERS), b"x"))
            parts.append(_tar(files, rng))
        content = b"".join(parts)
        if forged:
            content = _damaged_headers(content, rng)
        name = rng.choice(("0", "0", "a b", "x.y"))
        write_files(folder, [(f"{name}{shard}.tar", damage(content, rng) if torn else content)])


def parquet_bytes(table: pa.Table, rng: random.Random) -> bytes:
    """A Parquet file, with check sums of its pages."""
    made = io.BytesIO()
    pq.write_table(
        table,
        made,
        row_group_size=rng.choice((1, 2, 100)),
        compression=rng.choice(("none", "snappy", "zstd")),
        use_dictionary=rng.random() < 0.5,
        write_page_checksum=True,
    )
    return made.getvalue()


def make_parquet(folder: Path, rng: random.Random) -> None:
    """One or two Parquet files with embedded images."""
    for file in range(rng.choice((1, 1, 2))):
        numbers = items_of(rng)
        images = [rng.choice((*[image_of(n)] * 6, None, b"", image_of(n, "gif"))) for n in numbers]
        texts = [rng.choice((*[caption_of(n, rng)] * 6, None, "")) for n in numbers]
        if rng.random() < 0.5:
            column = pa.array(images, pa.binary())
        else:
            rows = [
                rng.choice((None, {"bytes": b, "path": "x"}))
                if b is None
                else {"bytes": b, "path": f"{n}.png"}
                for n, b in zip(numbers, images)
            ]
            column = pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
        captions = pa.array(texts, pa.string())
        if rng.random() < 0.3:
            captions = pa.array(
                [None if t is None else [t, t] for t in texts], pa.list_(pa.string())
            )
        names = rng.choice((("image", "text"), ("image", "text"), ("jpg", "caption"), ("x", "y")))
        table = pa.table(
            {**dict(zip(names, (column, captions))), "n": pa.array(numbers, pa.int32())}
        )
        if rng.random() < 0.3:
            cells = [rng.choice(("train", "test", "Val", "holdout", "", None)) for _ in numbers]
            table = table.append_column("split", pa.array(cells, pa.string()))
        content = parquet_bytes(table, rng)
        write_files(folder, [(f"{file}.parquet", maybe_damaged(content, rng, 0.5))])


def make_coco(folder: Path, rng: random.Random) -> None:
    """A COCO annotation file, of which many rows are misshapen."""
    numbers = [*dict.fromkeys(items_of(rng) + items_of(rng))]
    images = [{"id": 1000 + n, "file_name": f"{name_of(n)}.png"} for n in numbers]
    rows = [
        {"id": place, "image_id": 1000 + n, "caption": caption_of(n, rng)}
        for place, n in enumerate(numbers * rng.choice((1, 1, 2)))
    ]
    for row in rng.sample([*images, *rows], len(images) // 3):
        row[rng.choice(list(row))] = rng.choice((None, "", 1.5, [], True, -rng.randrange(2**70)))
    document: object = {"images": images, "annotations": rows, "info": {}}
    if rng.random() < 0.1:
        document = rng.choice((rows, {}, None, {"images": 3, "annotations": rows}))
    # Digits that change would give a row another image's number: such damage is left out.
    content = json.dumps(document).encode()
    content = content if rng.random() < 0.6 else content[: rng.randrange(len(content) + 1)]
    write_files(folder, [("captions.json", content)])


def damaged_image(rng: random.Random) -> bytes:
    """An image file of any format that can be written, damaged in most cases."""
    number = rng.randrange(ITEMS)
    kind = rng.choice((*FORMATS, "jpg", "webp", "avif", "jp2", "16 bits", "float", "palette"))
    return maybe_damaged(_image(number, kind), rng, 0.9)


@functools.cache
def _image(number: int, kind: str) -> bytes:
    if kind in FORMATS:
        return image_of(number, kind)
    image, file = Image.new("RGB", (4, 4), _colour(number)), io.BytesIO()
    save = {"jpg": "JPEG", "webp": "WEBP", "avif": "AVIF", "jp2": "JPEG2000"}.get(kind)
    if kind == "16 bits":
        image, save = Image.fromarray(np.full((4, 4), 999, np.uint16)), "PNG"
    elif kind == "float":
        image, save = Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF"
    elif kind == "palette":
        image, save = image.quantize(4), "PNG"
    exif = Image.Exif()
    exif[274] = 1 + number % 8
    image.save(file, save, **({"exif": exif} if kind in ("jpg", "webp") else {}))
    return file.getvalue()


def huge_png(rng: random.Random) -> bytes:
    """The header of an image of any size, without its pixels."""
    sides = struct.pack(">II", rng.randrange(2**31), rng.randrange(2**31))
    header = b"IHDR" + sides + bytes([rng.choice((1, 8, 16)), rng.choice((0, 2, 3, 4, 6)), 0, 0, 0])
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + image_of(0)[33:]

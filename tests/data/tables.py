"""What a table of bytes gives: its good rows and the numbers of the bad ones."""

import io

from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.tables import read_table

GOOD = [("a.png", ("red",)), ("b.png", ("blue",))]


def rows(content, name="captions.csv", **columns):
    content = content if isinstance(content, bytes) else content.encode()
    return list(read_table(io.BytesIO(content), name, ReadingOptions(**columns)))


def good(read):
    return [(r.file, tuple(text for text, _ in r.captions)) for r in read if r.problem is None]


def bad(read):
    return {r.number: r.problem for r in read if r.problem is not None}

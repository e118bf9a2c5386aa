"""The words of the training captions and their neighbouring pairs, to recognize unusual prompts.

A small file beside a run's tokenizer. Pairs are left out where captions are so varied that nearly
every new one has a new pair.
"""

import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dalle_jax.files import write_atomically

MOST_WORDS, MOST_PAIRS = 100_000, 20_000
SHOWN = 5  # words and pairs that a sentence names

# Chinese, Japanese and Korean are written without spaces, or with few: each letter is a word there.
_EACH = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(f"[{_EACH}]|[^\\W{_EACH}]+")


class CaptionWords:
    """The words of captions, and which follow each other; None for what is unknown."""

    def __init__(self, words: Iterable[str] = (), pairs: Iterable[str] = ()):
        self.words: set[str] | None = set(words)
        self.pairs: set[str] | None = set(pairs)  # "large red"

    def watch(self, captions: Iterable[str]) -> Iterator[str]:
        """The captions themselves, their words and pairs added on the way."""
        for caption in captions:
            self.add(caption)
            yield caption

    def add(self, caption: str) -> None:
        """Add a caption's words and pairs, until there are more than `MOST_…`."""
        words = words_of(caption)
        if self.words is not None:
            self.words.update(words)
            if len(self.words) > MOST_WORDS:
                self.words = self.pairs = None
        if self.pairs is not None:
            self.pairs.update(pairs_of(words))
            if len(self.pairs) > MOST_PAIRS:
                self.pairs = None

    def unknown(self, prompts: Sequence[str]) -> tuple[list[str], list[str]]:
        """The words of prompts that no caption has, and pairs of known words that none has."""
        words, pairs = {}, {}
        for prompt in prompts:
            own = words_of(prompt)
            if self.words is not None:
                words |= dict.fromkeys(w for w in own if w not in self.words)
            if self.pairs is not None:
                known = (p for p in pairs_of(own) if not set(p.split(" ")) & words.keys())
                pairs |= dict.fromkeys(p for p in known if p not in self.pairs)
        return list(words), list(pairs)

    def warning(self, prompts: Sequence[str]) -> str | None:
        """One sentence on the unknown words and pairs of prompts; None if all are known."""
        words, pairs = self.unknown(prompts)
        parts = []
        if words:
            parts.append(f"no training caption has {_listed(words)}")
        if pairs:
            beginning = "none has" if words else "no training caption has the words"
            parts.append(f"{beginning} {_listed(pairs)} side by side in this order")
        if not parts:
            return None
        return f"{', and '.join(parts)}: the images may not show what the prompt says there"

    def save(self, path: Path) -> None:
        """Write them, sorted, atomically."""
        lists = {"words": self.words, "pairs": self.pairs}
        document = {k: None if v is None else sorted(v) for k, v in lists.items()}
        # As ASCII, which can hold a lone surrogate of a caption too.
        write_atomically(path, lambda file: file.write(json.dumps(document).encode("ascii")))

    @classmethod
    def load(cls, path: Path) -> "CaptionWords | None":
        """What `save` wrote; None where there is no such file or a damaged one."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            made = cls(document["words"] or (), document["pairs"] or ())
        except (OSError, ValueError, KeyError, TypeError):
            return None
        made.words = made.words if document["words"] is not None else None
        made.pairs = made.pairs if document["pairs"] is not None else None
        return made


def words_of(text: str) -> list[str]:
    """The words of a text, normalised as the tokenizer does: NFKC, lower case."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def pairs_of(words: Sequence[str]) -> list[str]:
    """Neighbours: of "a red star" these are "a red" and "red star"."""
    return [f"{one} {next_one}" for one, next_one in itertools.pairwise(words)]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")

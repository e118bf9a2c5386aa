"""Captions to token ids: a byte-level BPE of the training captions, or any `tokenizer.json`."""

import warnings
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from dalle_jax.files import write_atomically

PAD_ID = 0
END_ID = 1

# The first name of each list is ours; the others are those of tokenizers in common use.
PAD_TOKENS = ("<pad>", "<|pad|>", "[PAD]", "<|padding|>")
END_TOKENS = ("<|endoftext|>", "</s>", "<eos>", "<|end_of_text|>", "<|eot_id|>", "[EOS]", "[SEP]")

# Longer captions are cut before tokenization, so that a megabyte of text costs no second.
MAX_CHARACTERS_PER_TOKEN = 64
# What is learned from of one caption: a single word of a megabyte takes the trainer minutes.
MAX_TRAINING_CHARACTERS = 10_000


def train_tokenizer(captions: Iterable[str], vocab_size: int) -> tokenizers.Tokenizer:
    """A byte-level BPE (Sennrich et al. 2016; Radford et al. 2019) trained on `captions`.

    Text is NFKC-normalised, lower-cased and its white space collapsed. The alphabet holds all
    256 bytes, so that no text needs an unknown token. The order of the captions does not matter.
    There are fewer than `vocab_size` tokens if no pair is left to merge.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    smallest = len(alphabet) + 2
    if vocab_size < smallest:
        raise ValueError(
            f"vocab_size is {vocab_size}, but a byte-level tokenizer needs at least {smallest}: "
            "256 bytes, padding and end of text"
        )
    tok = tokenizers.Tokenizer(models.BPE())
    tok.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(tokenizers.Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    # The prefix space makes "red" the same token at the start of a caption as inside it.
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD_TOKENS[0], END_TOKENS[0]],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    texts = (_well_formed(caption[:MAX_TRAINING_CHARACTERS]) for caption in captions)
    tok.train_from_iterator(texts, trainer)
    return tok


class Tokenizer:
    """An encoder of captions as int32 [B, max_length] rows: tokens, end of text (1), padding (0).

    Of the ids of any tokenizer two are exchanged so that its padding token becomes 0 and its
    end-of-text token 1. Either token is added where there is none.
    """

    def __init__(self, tok: tokenizers.Tokenizer, max_length: int):
        if max_length < 2:
            raise ValueError(
                f"max_length is {max_length}; it must be at least 2: a token and end of text"
            )
        self.tok, self.max_length = tok, max_length
        self.num_cut = 0  # captions that were too long, of `_num_captions`
        self._num_captions = self._num_warned = 0
        end = _find_or_add(tok, END_TOKENS, taken=())
        pad = _find_or_add(tok, PAD_TOKENS, taken=(end,))
        # A caption that spells "<pad>" is text, not padding.
        tok.encode_special_tokens = True
        # Also in the saved file, from where `load` reads them again.
        tok.enable_truncation(max_length)
        tok.enable_padding(pad_id=pad, pad_token=tok.id_to_token(pad))

    @property
    def vocab_size(self) -> int:
        """One more than the largest id that `encode` can give."""
        return len(self._ids)

    @cached_property
    def _ids(self) -> np.ndarray:
        """[vocab_size]: the tokenizer's id → the id in a batch."""
        ids = np.arange(max(self.tok.get_vocab().values()) + 1, dtype=np.int32)
        own_pad = self.tok.padding["pad_id"]
        own_end = _find_or_add(self.tok, END_TOKENS, taken=())
        for own, wanted in ((own_pad, PAD_ID), (own_end, END_ID)):
            other = int(np.flatnonzero(ids == wanted)[0])
            ids[own], ids[other] = wanted, ids[own]
        return ids

    def vocabulary(self) -> dict[str, int]:
        """Each token's id in a batch; padding and end of text have the same names in all."""
        names = {PAD_ID: PAD_TOKENS[0], END_ID: END_TOKENS[0]}
        ids = ((token, int(self._ids[own])) for token, own in self.tok.get_vocab().items())
        return {names.get(number, token): number for token, number in ids}

    def encode(self, captions: Sequence[str]) -> np.ndarray:
        """Token ids int32 [B, max_length] of B captions; too long ones are cut and counted.

        A warning gives the count the first time and each time it has grown tenfold.
        """
        longest = MAX_CHARACTERS_PER_TOKEN * self.max_length
        texts = []
        for caption in captions:
            if not isinstance(caption, str):
                raise TypeError(
                    f"a caption must be a str, but this one is a {type(caption).__name__}: "
                    f"{caption!r:.80}"
                )
            texts.append(_well_formed(caption[:longest]))
        try:
            encodings = self.tok.encode_batch_fast(texts, add_special_tokens=False)
        except Exception as error:  # The library raises bare exceptions from its compiled core.
            raise ValueError(f"the tokenizer could not encode a caption: {error}") from error

        tokens = np.full((len(texts), self.max_length), PAD_ID, np.int32)  # [B, L]
        num_cut = 0
        for row, caption, encoding in zip(tokens, captions, encodings):
            length = sum(encoding.attention_mask)
            num_cut += length >= self.max_length or len(caption) > longest
            length = min(length, self.max_length - 1)
            row[:length] = self._ids[encoding.ids[:length]]
            row[length] = END_ID
        self._count(len(texts), num_cut)
        return tokens

    def decode(self, tokens: np.ndarray) -> str:
        """The text of one row of ids [L], up to its end-of-text token."""
        own = np.argsort(self._ids)
        tokens = np.asarray(tokens)
        ends = np.flatnonzero(tokens == END_ID)
        tokens = tokens[: ends[0]] if len(ends) else tokens
        return self.tok.decode(own[tokens].tolist(), skip_special_tokens=False).strip()

    def save(self, path: str | Path) -> None:
        """Write one `tokenizer.json`, max_length included, atomically."""
        content = self.tok.to_str(pretty=True).encode()
        write_atomically(Path(path), lambda file: file.write(content))

    @classmethod
    def load(cls, path: str | Path, max_length: int | None = None) -> "Tokenizer":
        """The tokenizer of any `tokenizer.json`; `max_length` defaults to the one saved in it."""
        path = Path(path).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"there is no tokenizer file {path}")
        try:
            tok = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # The library raises bare exceptions from its compiled core.
            raise ValueError(
                f"{path} is not a tokenizer.json of the tokenizers library: {error}"
            ) from error
        if max_length is None:
            if tok.truncation is None:
                raise ValueError(
                    f"{path} states no truncation length; give the tokenizer's max_length"
                )
            max_length = tok.truncation["max_length"]
        return cls(tok, max_length)

    def _count(self, num_captions: int, num_cut: int) -> None:
        self._num_captions += num_captions
        self.num_cut += num_cut
        if num_cut and self.num_cut >= 10 * self._num_warned:
            self._num_warned = self.num_cut
            warnings.warn(
                f"{self.num_cut} of {self._num_captions} captions so far were longer than "
                f"{self.max_length} tokens and were cut; a larger tokenizer max_length keeps them",
                stacklevel=3,
            )


def _well_formed(text: str) -> str:
    """`text` with surrogate pairs joined and lone surrogates, which are no text, replaced."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _find_or_add(tok: tokenizers.Tokenizer, names: Sequence[str], taken: Sequence[int]) -> int:
    for name in names:
        token_id = tok.token_to_id(name)
        if token_id is not None and token_id not in taken:
            return token_id
    tok.add_special_tokens([names[0]])
    return tok.token_to_id(names[0])

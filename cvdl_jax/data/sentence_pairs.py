"""Pairs of sentences for next-sentence prediction: half follow each other, half are of two documents.

Every sentence of a document but its last is the first of one pair. Its partner is the sentence after it, or a random
sentence of a random other document: "next" is 1 or 0. The pairs of a split are a function of its documents alone, half
of them of either kind (one more that follow where the number is odd), so that every epoch and every run sees the same.

Reference: Devlin et al. 2019, "BERT", section 3.1, task 2, with sentences in the place of spans of text.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from cvdl_jax.data import order
from cvdl_jax.data.schema import Feature
from cvdl_jax.data.sources import Source
from cvdl_jax.errors import DataError

FIRST, SECOND, NEXT = "first", "second", "next"
CLASSES = ("of another document", "next")
_END = re.compile(r"(?<=[.!?])\s+|\s*\n\s*")
_SEED, _STREAM = 0, 40  # of the draw, which is the same in every run


def sentences(text: str) -> list[str]:
    """The sentences of a text: they end with `.`, `!` or `?` before a blank, or with the line."""
    return [part.strip() for part in _END.split(text) if part.strip()]


def text_of(row: Mapping[str, Any], entry: str, source: Source, index: int) -> str:
    """A text of an example.

    Args:
        row: the example.
        entry: of the text, bytes.
        source: of the example, for the message.
        index: likewise.

    Raises:
        DataError: for one that is not UTF-8.
    """
    try:
        return row[entry].decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"example {source.identify(index)} of {source.name}: {entry!r} is not UTF-8 ({error}); convert it"
        ) from error


def partners(counts: Sequence[int], seed: int = _SEED) -> np.ndarray:
    """Which sentences stand together.

    The second sentence of a false pair stands at the same place of its document as the true one does, so that places
    tell nothing: an opening sentence, which follows nothing, would give false pairs away. Where no other document is
    as long, it is the last one of another document.

    Args:
        counts: of the sentences of each document.
        seed: of the draw.

    Returns:
        int64 [n, 5], n = sum(counts - 1): document and sentence of the first, of the second, and whether they follow
        each other, of (n + 1) // 2 pairs.
    """
    counts = np.asarray(counts, np.int64)
    document = np.repeat(np.arange(len(counts)), np.maximum(counts - 1, 0))  # [n]
    n = len(document)
    start = np.cumsum(np.maximum(counts - 1, 0)) - np.maximum(counts - 1, 0)
    sentence = np.arange(n) - start[document]
    bits = order.random_bits(seed, _STREAM, 0, 0, 2 * n).reshape(2, n)
    follows = np.zeros(n, bool)
    follows[np.argsort(bits[0], kind="stable")[: (n + 1) // 2]] = True
    by_length = np.argsort(-counts, kind="stable")
    rank, place = np.argsort(by_length, kind="stable")[document], sentence + 1
    able = np.searchsorted(-counts[by_length], -place)  # [n] documents with a sentence at that place, its own with them
    able = np.where(able > 1, able, len(counts))
    away = 1 + (bits[1] % np.maximum(able - 1, 1).astype(np.uint64)).astype(np.int64)  # 1 ... able - 1
    other = by_length[(rank + away) % np.maximum(able, 1)]
    drawn = np.minimum(place, counts[other] - 1)
    second = np.where(follows, document, other), np.where(follows, place, drawn)
    return np.stack([document, sentence, *second, follows.astype(np.int64)], 1)


class SentencePairs(Source):
    """The pairs of a source of documents: entries "first", "second" (texts) and "next" (a label).

    Args:
        base: the source.
        entry: its text.
    """

    def __init__(self, base: Source, entry: str):
        self.base, self.entry = base, entry
        self.name, self.version, self.split, self.location = base.name, base.version, base.split, base.location
        self.intervals = base.intervals
        text = Feature("text", (), "bytes")
        self.features = {FIRST: text, SECOND: text, NEXT: Feature("label", (), "int32", len(CLASSES), CLASSES)}

    @cached_property
    def documents(self) -> list[list[str]]:
        """The sentences of every document.

        Raises:
            DataError: for a document without a sentence, or texts that give no pair.
        """
        rows = self.base.read_entries(range(len(self.base)), [self.entry])
        documents = [sentences(text_of(row, self.entry, self.base, i)) for i, row in enumerate(rows)]
        empty = next((i for i, document in enumerate(documents) if not document), None)
        if empty is not None:
            raise DataError(
                f"example {self.base.identify(empty)} of {self.name} has no sentence; leave it out of the set"
            )
        if len(documents) < 2 or max(map(len, documents)) < 2:
            raise DataError(
                f"{self.split!r} of {self.name} has {len(documents)} documents, the longest of "
                f"{max(map(len, documents))} sentences; pairs need two documents, one with two sentences (which "
                "end with . ! ? or the line)"
            )
        return documents

    @cached_property
    def pairs(self) -> np.ndarray:
        """As `partners` returns them."""
        return partners([len(document) for document in self.documents])

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The pairs at the given places; see `Source`."""
        return [self._pair(*self.pairs[int(i)].tolist()) for i in indices]

    def _pair(self, document: int, sentence: int, other: int, partner: int, follows: int) -> Mapping[str, Any]:
        first, second = self.documents[document][sentence], self.documents[other][partner]
        return {FIRST: first.encode(), SECOND: second.encode(), NEXT: np.asarray(follows, np.int32)}

    def labels(self) -> np.ndarray:
        """Which pairs follow each other, int [n]."""
        return self.pairs[:, 4]

    def identify(self, index: int) -> str:
        """The document and the place of the first sentence: `train/17.2`."""
        document, sentence = self.pairs[index, :2].tolist()
        return f"{self.base.identify(document)}.{sentence}"

    def fingerprint(self) -> str:
        """A hash of the data and of how pairs are made."""
        return self._paired(self.base.fingerprint())

    def former_fingerprint(self) -> str:
        """A hash of that of the base and of how pairs are made."""
        return self._paired(self.base.former_fingerprint())

    def cache_key(self) -> str:
        """A hash of that of the base and of how pairs are made."""
        return self._paired(self.base.cache_key())

    def _paired(self, base: str) -> str:
        return hashlib.sha256(f"{base} pairs of sentences of {self.entry} 2".encode()).hexdigest()

"""Texts as rows of numbers: what `config.data.text` makes of the texts of a data set, for BERT and other encoders.

    [CLS] first text [SEP]                       segments 0
    [CLS] first text [SEP] second text [SEP]     segments 0 up to the first [SEP], then 1

Entries: "tokens" int32 [length], pieces of a vocabulary (`word_pieces.py`) and then padding; "segments" int32 [length];
"length" int32 [], how many are no padding; "cut" int32 [], with `truncate`, how many pieces were cut off. The other
entries of the set stay, such as its "label". With `pairs` the examples are pairs of sentences for next-sentence
prediction instead, with the entry "next" (`sentence_pairs.py`).

Every text is delivered, padded to `length`: an epoch has each example once, whatever the lengths, and a mask of
`length` says what is real. With `buckets`, training batches are of texts of similar length where possible
(`order.py`), and a training step computes as many columns as the shortest bucket that holds its batch; each length that
a batch may have is a branch of the one compiled step.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted, Size
from cvdl_jax.data import order, sentence_pairs, word_pieces
from cvdl_jax.data.schema import Feature
from cvdl_jax.data.sentence_pairs import text_of
from cvdl_jax.data.sources import Source
from cvdl_jax.data.word_pieces import BEGIN, END, PADDING, Vocabulary
from cvdl_jax.errors import ConfigError, DataError, nearest

PATH = "config.data.text"
TOKENS, SEGMENTS, LENGTH, CUT = "tokens", "segments", "length", "cut"


class TextSettings(NamedTuple):
    """The arguments of `config.data.text`.

    Attributes:
        length: pieces of a row, [CLS] and [SEP] included; a longer text is refused, or cut with `truncate`.
        vocabulary: a file with one piece a line; "" for one made of the training texts.
        size: the most pieces of a vocabulary that is made; 0 for 30522, as BERT's. Only without a file.
        lower_case: make words small and take their accents away, as an "uncased" vocabulary needs.
        truncate: cut what is too long, the longer of two texts first, from its end, and say how much.
        entries: the text of an example, or its two texts, such as ("question", "answer").
        pairs: make pairs of sentences: half of them follow each other, half are of two documents.
        buckets: lengths below `length`, in ascending order, such as (32, 64); () computes all columns always.
    """

    length: Size = 128
    vocabulary: str = ""
    size: Counted = 0
    lower_case: bool = True
    truncate: bool = False
    entries: tuple[str, ...] = ("text",)
    pairs: bool = False
    buckets: tuple[Size, ...] = ()


def asked_for(sources: dict[str, Source], section: Mapping[str, Any], caption_length: int) -> dict[str, Source]:
    """The sources with their texts as numbers, where that is asked for and captions are not.

    Args:
        sources: of each split.
        section: `config.data.text`.
        caption_length: `config.data.caption_length`.

    Raises:
        ConfigError: if both are on, or as `encoded`.
    """
    if section and caption_length:
        raise ConfigError(
            "config.data.text and config.data.caption_length both make numbers of texts; set "
            "config.data.caption_length=0 for texts, or config.data.text={} for captions of images"
        )
    return encoded(sources, section) if section else sources


def encoded(sources: Mapping[str, Source], section: Mapping[str, Any]) -> dict[str, Source]:
    """The splits of a data set with their texts as numbers, by the vocabulary of a file or of the training split.

    Args:
        sources: {"train", "validation", "test": Source}.
        section: `config.data.text`.

    Raises:
        ConfigError: for a setting that is unknown, impossible or without effect.
        DataError: for a vocabulary or a text that cannot be used.
    """
    settings = configs.call(TextSettings, section, PATH)
    for source in sources.values():
        _check(settings, source)
    if settings.vocabulary:
        vocabulary = word_pieces.read(settings.vocabulary, settings.lower_case)
    elif "train" in sources:
        texts = (text for row in _texts(sources["train"], settings.entries) for text in row)
        vocabulary = word_pieces.made_of(texts, settings.size or 30522, settings.lower_case)
    else:
        raise ConfigError(f"{PATH}.vocabulary is empty, and there is no training split to make one of; name a file")
    if settings.pairs:
        sources = {name: sentence_pairs.SentencePairs(source, settings.entries[0]) for name, source in sources.items()}
        settings = settings._replace(entries=(sentence_pairs.FIRST, sentence_pairs.SECOND))
    return {name: Encoded(source, settings, vocabulary) for name, source in sources.items()}


def _check(settings: TextSettings, source: Source) -> None:
    entries, texts = settings.entries, [name for name, f in source.features.items() if f.kind == "text" and not f.shape]
    for entry in entries:
        if entry not in texts:
            raise ConfigError(f"{PATH}.entries={entries}: {source.name} has no text {entry!r}; {nearest(entry, texts)}")
    if len(set(entries)) < len(entries) or len(entries) not in ((1,) if settings.pairs else (1, 2)):
        raise ConfigError(
            f"{PATH}.entries={entries} must be {'the text that is cut into sentences' if settings.pairs else 'one'}"
            f"{'' if settings.pairs else ' text or two different ones'}"
        )
    if settings.length < 2 * len(entries) + 1 + 2 * settings.pairs:
        raise ConfigError(f"{PATH}.length={settings.length} has no place for a piece of each text; set it larger")
    ladder = [*settings.buckets, settings.length]
    if ladder != sorted(set(ladder)):
        raise ConfigError(
            f"{PATH}.buckets={settings.buckets} must be different lengths below {PATH}.length={settings.length}, in "
            f"ascending order, such as ({max(settings.length // 2, 1)},)"
        )
    if settings.vocabulary and settings.size:
        raise ConfigError(f"{PATH}.size={settings.size} is of a vocabulary that is made; leave it, or the file, out")
    if TOKENS in source.features:
        raise ConfigError(f"{PATH}: {source.name} has an entry {TOKENS!r} already; leave {PATH} out")


def _texts(source: Source, entries: Sequence[str]) -> list[list[str]]:
    rows = source.read_entries(range(len(source)), list(entries))
    return [[text_of(row, entry, source, i) for entry in entries] for i, row in enumerate(rows)]


class Encoded(Source):
    """A source whose texts are numbers; see the module.

    Args:
        base: the source.
        settings: of `config.data.text`, checked.
        vocabulary: of all splits.
    """

    def __init__(self, base: Source, settings: TextSettings, vocabulary: Vocabulary):
        self.base, self.settings, self.vocabulary = base, settings, vocabulary
        self.name, self.version, self.split, self.location = base.name, base.version, base.split, base.location
        self.intervals = base.intervals
        row, pieces = (settings.length,), vocabulary.pieces
        own = {
            TOKENS: Feature("tokens", row, "int32", len(pieces), pieces),
            SEGMENTS: Feature("tensor", row, "int32"),
            LENGTH: Feature("tensor", (), "int32"),
        }
        own |= {CUT: Feature("tensor", (), "int32")} if settings.truncate else {}
        self.features = {**base.features, **own}
        self._own = own

    def __len__(self) -> int:
        return len(self.base)

    def read(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Examples at the given places, with their texts; see `Source`."""
        return self.read_entries(indices, list(self.features))

    def read_entries(self, indices: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        """Some entries of them; see `Source`."""
        indices = [int(i) for i in indices]
        wanted = [name for name in names if name not in self._own]
        texts = list(self.settings.entries) if len(wanted) < len(names) else []
        rows = self.base.read_entries(indices, [*wanted, *(name for name in texts if name not in wanted)])
        return [self._row(row, names, texts, i) for row, i in zip(rows, indices, strict=True)]

    def _row(self, row: Mapping[str, Any], names: Sequence[str], texts: Sequence[str], index: int) -> dict[str, Any]:
        own = self._encode([text_of(row, entry, self, index) for entry in texts], index) if texts else {}
        return {name: own[name] if name in own else row[name] for name in names}

    def _encode(self, texts: Sequence[str], index: int) -> dict[str, np.ndarray]:
        settings, pieces = self.settings, [self.vocabulary.encode(text) for text in texts]
        for entry, text, numbers in zip(settings.entries, texts, pieces, strict=True):
            if not numbers:
                raise DataError(
                    f"example {self.identify(index)} of {self.name}: {entry!r} is {text!r}, which has no piece of a "
                    "word; leave such examples out of the set"
                )
        room, total = settings.length - 1 - len(pieces), sum(map(len, pieces))
        if total > room and not settings.truncate:
            raise DataError(
                f"example {self.identify(index)} of {self.name} has {total} pieces, and {PATH}.length="
                f"{settings.length} has place for {room}; set it to {total + 1 + len(pieces)} or more, or cut such "
                f"texts: --{PATH}.truncate=True"
            )
        for _ in range(total - room):
            max(reversed(pieces), key=len).pop()  # of the longer text; of the second where both are equal
        numbers, segments = [self.vocabulary.special(BEGIN)], [0]
        for segment, text in enumerate(pieces):
            numbers += [*text, self.vocabulary.special(END)]
            segments += [segment] * (len(text) + 1)
        padding = settings.length - len(numbers)
        row = {
            TOKENS: [*numbers, *[self.vocabulary.special(PADDING)] * padding],
            SEGMENTS: [*segments, *[0] * padding],
            LENGTH: len(numbers),
            CUT: max(total - room, 0),
        }
        return {name: np.asarray(row[name], np.int32) for name in self._own}

    def labels(self) -> np.ndarray | None:
        """The classes of all examples, where the base knows them."""
        return self.base.labels()

    def identify(self, index: int) -> str:
        """The name of the example in the source."""
        return self.base.identify(index)

    def fingerprint(self) -> str:
        """A hash of the data, the settings and the vocabulary."""
        return self._with(self.base.fingerprint())

    def former_fingerprint(self) -> str:
        """A hash of that of the base, the settings and the vocabulary."""
        return self._with(self.base.former_fingerprint())

    def cache_key(self) -> str:
        """A hash of that of the base, the settings and the vocabulary."""
        return self._with(self.base.cache_key())

    def _with(self, base: str) -> str:
        of = self.settings._replace(vocabulary="")._asdict()  # its place may change, its pieces may not
        del of["buckets"]  # they change the order and not the examples
        of = f"TextSettings({', '.join(f'{name}={value!r}' for name, value in of.items())})"
        return hashlib.sha256(f"{base} {of} {self.vocabulary.digest()}".encode()).hexdigest()


def pieces(features: Mapping[str, Feature]) -> tuple[str, ...]:
    """The vocabulary of a data set's tokens; () where it has none."""
    return features[TOKENS].class_names if TOKENS in features else ()


def count_cut(split: Any) -> str:
    """How much was cut off the texts of a split, as a sentence; "" where nothing may be."""
    if CUT not in split.features:
        return ""
    where = f"{split.source.name}, {split.source.split}"
    if split.arrays is None:
        return f"{where}: texts are cut to {PATH}.length={split.source.settings.length}; {CUT!r} counts what they lose"
    cut = np.asarray(split.arrays[CUT])
    return f"{where}: {(cut > 0).sum()} of {len(cut)} texts are cut and lose {cut.sum()} pieces"


def groups(source: Source) -> order.Groups | None:
    """The bucket of each text, for training batches of similar lengths; None without buckets."""
    if not isinstance(source, Encoded) or not source.settings.buckets:
        return None
    lengths = [row[LENGTH] for row in source.read_entries(range(len(source)), [LENGTH])]
    return order.Groups(np.searchsorted(source.settings.buckets, lengths))

"""WordPiece: texts as numbers of pieces of words, the vocabulary's longest first, as BERT reads them.

    "The acting was unwatchable."  ->  the acting was un ##watch ##able .

A text is cut into words (controls removed, Chinese characters and punctuation words of their own, lower case without
accents unless the vocabulary is cased), and a word from left to right into the longest pieces that the vocabulary has;
those that do not begin a word carry "##". A word that cannot be cut is [UNK]. Marks such as "[MASK]" inside a text are
punctuation and letters like others: only the program sets special pieces.

Reference: Devlin et al. 2019, "BERT", section 3; Wu et al. 2016, "Google's Neural Machine Translation System",
section 4.1; the reference code's `tokenization.py`.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cvdl_jax.errors import ConfigError, DataError

PADDING, BEGIN, END, UNKNOWN, MASK = "[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"
SPECIAL = (PADDING, BEGIN, END, UNKNOWN, MASK)  # in this order in vocabularies of ours: 0, 1, 2, 3, 4
INNER = "##"  # before a piece that does not begin a word
LONGEST_WORD = 100  # characters; longer ones are [UNK]
# First and last code point of the blocks of Chinese characters
_CHINESE = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


def is_punctuation(character: str) -> bool:
    """Whether a character is a word of its own: ASCII that is no letter, digit or blank, and Unicode's category P."""
    code = ord(character)
    ascii_mark = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_mark or unicodedata.category(character).startswith("P")


def _cleaned(character: str) -> str:
    """The character; a blank for every kind of blank, blanks around Chinese, nothing for controls."""
    if character in "\t\n\r":
        return " "
    category = unicodedata.category(character)
    if character == "\N{REPLACEMENT CHARACTER}" or category in ("Cc", "Cf", "Co", "Cs"):
        return ""
    if category == "Zs":
        return " "
    return f" {character} " if any(low <= ord(character) <= high for low, high in _CHINESE) else character


def words(text: str, lower_case: bool = True) -> list[str]:
    """The words and marks of a text, before they are cut into pieces.

    Args:
        text: any.
        lower_case: make letters small and take their accents away.
    """
    text = "".join(map(_cleaned, text))
    if lower_case:
        decomposed = unicodedata.normalize("NFD", text.lower())
        text = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
    return "".join(f" {c} " if is_punctuation(c) else c for c in text).split()


class Vocabulary(NamedTuple):
    """The pieces of a vocabulary.

    Attributes:
        pieces: by their number, SPECIAL among them.
        numbers: {piece: its number}.
        lower_case: whether words are made small before they are looked up.
    """

    pieces: tuple[str, ...]
    numbers: Mapping[str, int]
    lower_case: bool = True

    def special(self, piece: str) -> int:
        """The number of a special piece."""
        return self.numbers[piece]

    def cut(self, word: str) -> list[int]:
        """The pieces of one word, the longest first; [UNK] if it cannot be cut."""
        numbers, start = [], 0
        while start < len(word) <= LONGEST_WORD:
            lead = INNER if start else ""
            ends = (end for end in range(len(word), start, -1) if f"{lead}{word[start:end]}" in self.numbers)
            end = next(ends, None)
            if end is None:
                break
            numbers.append(self.numbers[f"{lead}{word[start:end]}"])
            start = end
        return numbers if start == len(word) else [self.numbers[UNKNOWN]]

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's pieces, without [CLS] and [SEP]."""
        return [number for word in words(text, self.lower_case) for number in self.cut(word)]

    def decode(self, numbers: Iterable[int], blank: str = " ") -> str:
        """The text of pieces, joined to words; padding is left out."""
        text = ""
        for number in numbers:
            piece = self.pieces[number]
            if piece != PADDING:
                text += piece.removeprefix(INNER) if piece.startswith(INNER) and text else f"{blank}{piece}"
        return text.removeprefix(blank)

    def digest(self) -> str:
        """A hash of the pieces."""
        return hashlib.sha256("\n".join((str(self.lower_case), *self.pieces)).encode()).hexdigest()


def vocabulary(pieces: Sequence[str], what: str, lower_case: bool = True) -> Vocabulary:
    """A vocabulary of pieces in their order.

    Args:
        pieces: all of them.
        what: where they come from, for messages.
        lower_case: see `Vocabulary`.

    Raises:
        DataError: naming the special pieces that are missing, or a piece that is there twice.
    """
    missing = [piece for piece in SPECIAL if piece not in pieces]
    if missing:
        raise DataError(
            f"{what} lacks the special pieces {', '.join(missing)}; a vocabulary has one piece a line, among them "
            f"{', '.join(SPECIAL)}"
        )
    numbers = {piece: i for i, piece in enumerate(pieces)}
    if len(numbers) < len(pieces):
        twice = next(piece for piece, count in Counter(pieces).items() if count > 1)
        raise DataError(f"{what} has the piece {twice!r} more than once; each line is one piece")
    return Vocabulary(tuple(pieces), numbers, lower_case)


def read(path: str | Path, lower_case: bool = True) -> Vocabulary:
    """A vocabulary from a file with one piece a line, such as the `vocab.txt` of a published BERT.

    Args:
        path: of the file, UTF-8.
        lower_case: see `Vocabulary`.

    Raises:
        DataError: for a file that is not there or cannot be read, and see `vocabulary`.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"the vocabulary {str(path)!r} cannot be read ({reason}); name a file with one piece a line, or leave "
            "config.data.text.vocabulary empty for one made of the training texts"
        ) from error
    lines = text.split("\n")
    return vocabulary([line.rstrip("\r") for line in (lines[:-1] if lines[-1] == "" else lines)], str(path), lower_case)


def made_of(texts: Iterable[str], size: int, lower_case: bool = True) -> Vocabulary:
    """A vocabulary of texts: the special pieces, every character (as first and as inner piece), the commonest words.

    So every word of the texts can be cut, and a rare one is spelt. Words that are equally frequent are in the order of
    their letters, so that the vocabulary depends on the texts alone.

    Args:
        texts: of the training split.
        size: the most pieces that it may have.
        lower_case: see `Vocabulary`.

    Raises:
        ConfigError: if not even the characters fit.
    """
    counts = Counter(word for text in texts for word in words(text, lower_case))
    characters = sorted({c for word in counts for c in word})
    inner = sorted({c for word in counts for c in word[1:]})
    pieces = [*SPECIAL, *characters, *(INNER + c for c in inner)]
    if len(pieces) > size:
        raise ConfigError(
            f"config.data.text.size={size} is too small: the special pieces and the characters of the training texts "
            f"are {len(pieces)}; use at least that"
        )
    common = sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))
    return vocabulary([*pieces, *common[: size - len(pieces)]], "the training split", lower_case)

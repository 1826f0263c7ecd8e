"""Byte-pair encoding of texts as CLIP was trained with, from the file of its merges, which is not part of this package.

A text in lower case is cut into words, numbers of one digit, signs and endings such as 's; each is a sequence of bytes,
the last of which carries the end of the word; the pair of neighbours that stands first in the file is merged until no
pair does. OpenAI's file is `bpe_simple_vocab_16e6.txt.gz`, of which CLIP uses the first 48,894 merges.

Reference: Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units", algorithm 1; Radford et
al. 2021, section 2.4.
"""

import gzip
import html
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cvdl_jax.config import paths
from cvdl_jax.errors import DataError

MERGES = 48_894  # of CLIP: 49,408 ids are 256 bytes, 256 bytes that end a word, the merges, begin and end
END_OF_WORD = "</w>"
_ENDINGS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")


class BytePairs:
    """Texts as ids between a begin and an end.

    Args:
        file: of the merges, a pair a line behind a first line with a version; it may be gzipped.

    Raises:
        DataError: if the file is missing, or a line is no pair of what stands before it.
    """

    def __init__(self, file: str | Path):
        path = paths.local(file, "the file of merges")
        try:
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            lines = content.decode("utf-8").splitlines()[1 : MERGES + 1]
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path} cannot be read ({error}); name the file of CLIP's merges, bpe_simple_vocab_16e6.txt.gz of "
                "github.com/openai/CLIP"
            ) from error
        letters = list(_letters().values())
        self.ids = {piece: i for i, piece in enumerate([*letters, *(letter + END_OF_WORD for letter in letters)])}
        self.ranks: dict[tuple[str, str], int] = {}
        for number, line in enumerate(lines):
            pair = tuple(line.split())
            if len(pair) != 2 or not all(piece in self.ids for piece in pair):
                raise DataError(f"{path}, line {number + 2}: {line!r} is no pair of pieces that stand before it")
            self.ranks[pair] = number
            self.ids["".join(pair)] = len(self.ids)
        self.begin, self.end = len(self.ids), len(self.ids) + 1

    @property
    def size(self) -> int:
        """The number of ids; 49,408 with CLIP's file."""
        return self.end + 1

    def pieces(self, text: str) -> list[str]:
        """The pieces of a text."""
        letters = _letters()
        spoken = " ".join(html.unescape(html.unescape(text)).split()).lower()
        words = ("".join(letters[byte] for byte in word.encode("utf-8")) for word in _words(spoken))
        return [piece for word in words for piece in self._merged([*word[:-1], word[-1] + END_OF_WORD])]

    def encode(self, text: str, length: int = 77) -> np.ndarray:
        """The ids of a text between begin and end, and zeros behind them: int32 [length].

        Args:
            text: any; letters that were encoded wrongly (mojibake) are not mended, as OpenAI's code does.
            length: t.

        Raises:
            DataError: for a text that is empty or too long.
        """
        pieces = self.pieces(text)
        if not 0 < len(pieces) <= length - 2:
            raise DataError(
                f"the text {text!r} has {len(pieces)} pieces, and {length} ids hold 1 to {length - 2} and two"
            )
        ids = np.zeros(length, np.int32)
        ids[: len(pieces) + 2] = [self.begin, *(self.ids[piece] for piece in pieces), self.end]
        return ids

    def _merged(self, word: list[str]) -> list[str]:
        """A word as pieces, the earliest merge of the file first."""
        while len(word) > 1:
            pairs = list(zip(word[:-1], word[1:], strict=True))
            best = min(pairs, key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if best not in self.ranks:
                break
            merged, i = [], 0
            while i < len(word):
                together = i + 1 < len(word) and (word[i], word[i + 1]) == best
                merged.append(word[i] + word[i + 1] if together else word[i])
                i += 2 if together else 1
            word = merged
        return word


def _letters() -> dict[int, str]:
    """A letter that can be printed for each byte, those that can be printed first: GPT-2's table."""
    printed = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printed]
    return {byte: chr(byte) for byte in printed} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def _kind(letter: str) -> str:
    """L of letters, N of numbers, " " of spaces, and S of signs, by the Unicode category."""
    return " " if letter.isspace() else {"L": "L", "N": "N"}.get(unicodedata.category(letter)[0], "S")


def _words(text: str) -> Iterator[str]:
    """An ending such as 's, a run of letters, one digit, or a run of signs; spaces part them."""
    i = 0
    while i < len(text):
        ending = next((e for e in _ENDINGS if text.startswith(e, i)), "")
        kind, j = _kind(text[i]), i + 1
        if ending:
            j = i + len(ending)
        elif kind in "LS":
            while j < len(text) and _kind(text[j]) == kind:
                j += 1
        if kind != " ":
            yield text[i:j]
        i = j

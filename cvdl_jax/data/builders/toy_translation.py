"""Sentences of a small language and their translations into another one, drawn by a grammar.

The name is `toy_translation`, or with other settings `toy_translation(phrases=2, digits=1)`. The first language has no
inflection; its order is subject, verb, object. In the second one a word's form and place depend on words far away.

    the old cat not see 3 4 2 red house with a dog tomorrow
    cras kata veta la kun huno domus rubus 2 4 3 ne vider pa

Time comes first and the verb last, behind subject, companion and object. A noun comes before its adjectives, the last
of them first, and before its number, whose digits are reversed; the article comes last. Nouns have a gender (-o, -a or
-u), in which adjectives, articles and "many" agree with them, and in being many (-s). The verb has the subject's number
(-en) and the tense of the time. "not" is two words around the verb, and "a" is none, so lengths differ.

Ids are places in VOCABULARY, which both languages share: 0 padding, 1 begin, 2 end, 3 unknown. `source` and `target`
are words, the end, then padding. The splits share no sentence, whatever their sizes: a checksum of it says to which one
it may belong. Example i of a split is a function of (split, i) and the settings alone.
"""

import dataclasses
import zlib
from collections.abc import Collection
from typing import NamedTuple

import tensorflow_datasets as tfds

from cvdl_jax.data.builders._settings import SPLIT_LIMITS, Drawn, named
from cvdl_jax.data.scenes import Words
from cvdl_jax.errors import ConfigError

STREAMS = {"train": 30, "validation": 31, "test": 32}
PARTS = {"train": range(8), "validation": range(8, 9), "test": range(9, 10)}  # of ten, by checksum
NOUNS = {
    "cat": ("kat", "a"), "dog": ("hun", "o"), "house": ("dom", "u"), "tree": ("arb", "o"), "bird": ("fug", "a"),
    "child": ("nin", "u"), "river": ("flum", "o"), "book": ("lib", "u"), "stone": ("pet", "a"), "horse": ("kav", "o"),
    "star": ("ast", "a"), "ship": ("nav", "u"),
}  # fmt: skip
ADJECTIVES = {
    "red": "rub", "old": "vet", "small": "par", "big": "mag", "black": "nig", "new": "nov", "young": "jun",
    "white": "alb",
}  # fmt: skip
VERBS = {
    "see": "vid", "find": "trov", "carry": "port", "love": "am", "fear": "tim", "hear": "aud", "call": "voc",
    "follow": "seg",
}  # fmt: skip
TIMES = {"yesterday": ("heri", "ev"), "today": ("hodi", "e"), "tomorrow": ("cras", "er")}  # the word, the verb's tense
PRESENT = "e"
SPECIAL = ("<pad>", "<begin>", "<end>", "<unknown>")
_DIGITS = tuple("0123456789")
_VOWELS = ("o", "a", "u")


def _vocabulary() -> tuple[str, ...]:
    source = ["the", "a", "many", "not", "with", *NOUNS, *ADJECTIVES, *VERBS, *TIMES]
    endings = [vowel + number for vowel in _VOWELS for number in ("", "s")]
    target = [stem + vowel + number for stem, vowel in NOUNS.values() for number in ("", "s")]
    target += [stem + ending for stem in ADJECTIVES.values() for ending in endings]
    target += [f"l{ending}" for ending in endings] + [f"mult{vowel}s" for vowel in _VOWELS]
    tenses = [tense for _, tense in TIMES.values()]
    target += [stem + tense + number for stem in VERBS.values() for tense in tenses for number in ("", "en")]
    return (*SPECIAL, *_DIGITS, *source, *target, *(word for word, _ in TIMES.values()), "ne", "pa", "kun")


VOCABULARY = _vocabulary()


@dataclasses.dataclass(eq=False, kw_only=True)
class ToyTranslationConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes."""

    phrases: int
    adjectives: int
    digits: int
    length: int
    train: int
    validation: int
    test: int


def longest(phrases: int, adjectives: int, digits: int) -> int:
    """The tokens of the longest sentence of either language, with its end."""
    phrase = digits + adjectives + 1
    return phrases * phrase + (phrases == 3) + max(len(("not", "verb", "time")), len(("time", "ne", "verb", "pa"))) + 1


def configure(
    phrases: int = 3,
    adjectives: int = 2,
    digits: int = 3,
    length: int = 24,
    train: int = 20_000,
    validation: int = 1000,
    test: int = 2000,
) -> ToyTranslationConfig:
    """The arguments of the data set's name.

    Args:
        phrases: most noun phrases of a sentence; 2, or 3 with a companion.
        adjectives: most of a noun.
        digits: most of a number.
        length: tokens of an example, padding included.
        train: sentences of this split.
        validation: likewise.
        test: likewise.

    Returns:
        A builder config, named by the settings that differ from the defaults.

    Raises:
        ConfigError: for a number out of its range, or sentences that can be longer than `length`: none is cut.
    """
    values = dict(locals())
    limits = {"phrases": (2, 3), "adjectives": (0, 8), "digits": (1, 9), "length": (1, 1000)}
    limits |= dict.fromkeys(STREAMS, SPLIT_LIMITS)
    name = named("toy_translation", configure, values, limits)
    most = longest(phrases, adjectives, digits)
    if length < most:
        raise ConfigError(
            f"config.data.name: toy_translation(length={length}) is too short for its sentences, of which some have "
            f"{most} tokens with their end; write length={most}"
        )
    return ToyTranslationConfig(name=name, description=f"Translations with {values}.", **values)


class Phrase(NamedTuple):
    """A noun phrase in words of the first language: "the", "a", "many" or the digits of a number, adjectives, noun."""

    first: tuple[str, ...]
    adjectives: tuple[str, ...]
    noun: str

    @property
    def plural(self) -> bool:
        """Whether it is of several things; the article does not say so, and means one."""
        return self.first not in (("the",), ("a",))

    def source(self) -> list[str]:
        """In the first language."""
        return [*self.first, *self.adjectives, self.noun]

    def target(self) -> list[str]:
        """In the second language."""
        stem, vowel = NOUNS[self.noun]
        ending = vowel + ("s" if self.plural else "")
        agreeing = [ADJECTIVES[word] + ending for word in reversed(self.adjectives)]
        last = {("the",): [f"l{ending}"], ("a",): [], ("many",): [f"mult{ending}"]}
        return [stem + ending, *agreeing, *last.get(self.first, list(reversed(self.first)))]


class Sentence(NamedTuple):
    """A sentence; its companion may be None and its time empty."""

    subject: Phrase
    negated: bool
    verb: str
    object: Phrase
    companion: Phrase | None
    time: str

    def source(self) -> list[str]:
        """In the first language."""
        middle = ["not"] * self.negated + [self.verb]
        companion = ["with", *self.companion.source()] if self.companion else []
        return [*self.subject.source(), *middle, *self.object.source(), *companion, *[self.time] * bool(self.time)]

    def target(self) -> list[str]:
        """In the second language."""
        time, tense = TIMES.get(self.time, ("", PRESENT))
        verb = [VERBS[self.verb] + tense + ("en" if self.subject.plural else "")]
        companion = ["kun", *self.companion.target()] if self.companion else []
        middle = ["ne", *verb, "pa"] if self.negated else verb
        return [*[time] * bool(time), *self.subject.target(), *companion, *self.object.target(), *middle]


def draw(words: Words, split: str, phrases: int, adjectives: int, digits: int) -> Sentence:
    """One sentence, drawn until it is one of those that may belong to the split.

    Args:
        words: of the example.
        split: a key of PARTS.
        phrases: see `configure`, as the next two.
        adjectives: most of a noun.
        digits: most of a number.
    """
    while True:
        sentence = Sentence(
            subject=_phrase(words, adjectives, digits),
            negated=words.below(4) == 0,
            verb=_choose(words, VERBS),
            object=_phrase(words, adjectives, digits),
            companion=_phrase(words, adjectives, digits) if phrases == 3 and words.below(2) else None,
            time=_choose(words, ("", *TIMES)),
        )
        if zlib.crc32(" ".join(sentence.source()).encode()) % 10 in PARTS[split]:
            return sentence


def _choose(words: Words, among: Collection[str]) -> str:
    return tuple(among)[words.below(len(among))]


def _phrase(words: Words, adjectives: int, digits: int) -> Phrase:
    first = _choose(words, ("the", "a", "many", ""))
    if not first:  # a number of several things, without a leading zero
        count = words.between(1, digits)
        first = str(words.between(2 if count == 1 else 10 ** (count - 1), 10**count - 1))
    left = list(ADJECTIVES)
    chosen = [left.pop(words.below(len(left))) for _ in range(words.below(adjectives + 1))]
    return Phrase(tuple(first) if first.isdigit() else (first,), tuple(chosen), _choose(words, NOUNS))


def ids(sentence: list[str], length: int) -> list[int]:
    """The ids of words, the end, and padding up to a length.

    Raises:
        ValueError: for a sentence that is longer, or a word that is not of the vocabulary.
    """
    if len(sentence) >= length:
        raise ValueError(f"a sentence of {len(sentence)} words and its end do not fit into {length} tokens")
    places = [VOCABULARY.index(word) for word in sentence]
    return [*places, SPECIAL.index("<end>"), *[0] * (length - len(sentence) - 1)]


class ToyTranslation(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `toy_translation` data set: `source` and `target`."""

    VERSION = tfds.core.Version("1.0.0")
    splits = STREAMS

    def _info(self) -> tfds.core.DatasetInfo:
        token = tfds.features.ClassLabel(names=VOCABULARY)
        sentence = tfds.features.Sequence(token, length=self.builder_config.length)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Sentences of a small language and their translations into another one.",
            features=tfds.features.FeaturesDict({"source": sentence, "target": sentence}),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        config = self.builder_config
        for i in range(getattr(config, split)):
            words = Words(STREAMS[split], i)
            sentence = draw(words, split, config.phrases, config.adjectives, config.digits)
            yield i, {"source": ids(sentence.source(), config.length), "target": ids(sentence.target(), config.length)}

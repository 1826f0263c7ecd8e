"""The drawn translations: some by hand, what the rules reach, ids, and splits without common sentences."""

import itertools
import zlib

import numpy as np
import pytest

from cvdl_jax.data.builders import toy_translation
from cvdl_jax.data.builders.toy_translation import Phrase, Sentence
from cvdl_jax.data.load import load
from cvdl_jax.data.scenes import Words
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops import tokens

CAT, DOG = Phrase(("the",), ("old",), "cat"), Phrase(("a",), (), "dog")
HOUSES, STARS = Phrase(("3", "4", "2"), ("red", "big"), "house"), Phrase(("many",), ("white",), "star")


@pytest.mark.parametrize(
    ("sentence", "source", "target"),
    [
        (
            Sentence(CAT, True, "see", HOUSES, DOG, "tomorrow"),
            "the old cat not see 3 4 2 red big house with a dog tomorrow",
            "cras kata veta la kun huno domus magus rubus 2 4 3 ne vider pa",
        ),
        (  # many subjects: the verb, far from them, says so; the time is the past
            Sentence(HOUSES, False, "find", CAT, None, "yesterday"),
            "3 4 2 red big house find the old cat yesterday",
            "heri domus magus rubus 2 4 3 kata veta la troveven",
        ),
        (  # no time is the present, in the same form as today
            Sentence(DOG, False, "love", STARS, None, ""),
            "a dog love many white star",
            "huno astas albas multas ame",
        ),
        (
            Sentence(STARS, True, "fear", DOG, None, "today"),
            "many white star not fear a dog today",
            "hodi astas albas multas huno ne timeen pa",
        ),
    ],
)
def test_sentences_translated_by_hand(sentence, source, target):
    assert " ".join(sentence.source()) == source and " ".join(sentence.target()) == target


def test_ids_are_those_of_the_vocabulary_and_no_sentence_is_cut():
    vocabulary = toy_translation.VOCABULARY
    assert len(set(vocabulary)) == len(vocabulary) == 185
    assert vocabulary[:4] == ("<pad>", "<begin>", "<end>", "<unknown>")
    assert (tokens.PADDING, tokens.BEGIN, tokens.END, tokens.UNKNOWN) == (0, 1, 2, 3)
    row = toy_translation.ids(["the", "cat", "7"], 6)
    assert [vocabulary[i] for i in row] == ["the", "cat", "7", "<end>", "<pad>", "<pad>"]
    assert toy_translation.ids(["the", "cat", "7"], 4)[-1] == tokens.END
    with pytest.raises(ValueError, match="a sentence of 3 words and its end do not fit into 3 tokens"):
        toy_translation.ids(["the", "cat", "7"], 3)


@pytest.mark.parametrize(("phrases", "adjectives", "digits"), [(3, 2, 3), (2, 0, 1), (2, 1, 1), (3, 0, 2)])
def test_the_longest_sentence_has_the_length_that_is_asked_for(phrases, adjectives, digits):
    """With a number of all digits and all adjectives in every phrase: the longer of both languages, and its end."""
    words = tuple(itertools.islice(toy_translation.ADJECTIVES, adjectives))
    long = Phrase(("9",) * digits, words, "cat")
    sentences = [
        Sentence(long, negated, "see", long, long if phrases == 3 else None, time)
        for negated in (False, True)
        for time in ("", "today")
    ]
    longest = max(len(way) + 1 for s in sentences for way in (s.source(), s.target()))
    assert longest == toy_translation.longest(phrases, adjectives, digits)
    for i in range(40):
        drawn = toy_translation.draw(Words(30, i), "train", phrases, adjectives, digits)
        assert max(len(drawn.source()), len(drawn.target())) < longest
        assert phrases == 3 or drawn.companion is None


def test_settings_that_would_cut_sentences_are_refused():
    with pytest.raises(ConfigError, match=r"toy_translation\(length=23\) is too short .* have 24 tokens .* length=24"):
        toy_translation.configure(length=23)
    with pytest.raises(ConfigError, match=r"toy_translation\(phrases=4\) must be between 2 and 3"):
        toy_translation.configure(phrases=4)
    assert toy_translation.configure(length=30, digits=1).name == "digits1_length30"


def test_splits_have_no_common_sentence():
    drawn = {
        split: {" ".join(toy_translation.draw(Words(stream, i), split, 2, 0, 1).source()) for i in range(400)}
        for split, stream in toy_translation.STREAMS.items()
    }
    assert all(len(sentences) > 250 for sentences in drawn.values())
    for one, other in itertools.combinations(drawn.values(), 2):
        assert not one & other
    parts = [part for split in toy_translation.STREAMS for part in toy_translation.PARTS[split]]
    assert sorted(parts) == list(range(10))


def test_numbers_have_no_leading_zero_and_are_of_several_things():
    first = [p.first for i in range(300) for p in toy_translation.draw(Words(30, i), "train", 2, 2, 3)[:4:3]]
    numbers = {int("".join(f)): f for f in first if f[0].isdigit()}
    assert min(numbers) >= 2 and max(numbers) > 99 and all(f[0] != "0" for f in numbers.values())
    assert {len(f) for f in numbers.values()} == {1, 2, 3}
    assert not CAT.plural and not DOG.plural and HOUSES.plural and STARS.plural


def test_the_data_set_holds_what_was_drawn():
    data = load("toy_translation(train=6, validation=4, test=5)", train="train", validation="validation", test="test")
    assert data.num_classes == 185 and data.class_names == toy_translation.VOCABULARY
    rows = b""
    for split, stream in toy_translation.STREAMS.items():
        batch = data.splits[split].batch(np.arange(4))
        assert batch["source"].shape == batch["target"].shape == (4, 24) and batch["source"].dtype == np.int32
        for i in range(4):
            sentence = toy_translation.draw(Words(stream, i), split, 3, 2, 3)
            assert batch["source"][i].tolist() == toy_translation.ids(sentence.source(), 24)
            assert batch["target"][i].tolist() == toy_translation.ids(sentence.target(), 24)
        rows += batch["source"].tobytes() + batch["target"].tobytes()
    assert zlib.crc32(rows) == 3751773934  # the same on every machine

"""BLEU by the worked examples of its paper, against one by lists and loops; CIDEr-D by hand; exact sentences."""

import math

import numpy as np
import pytest

from cvdl_jax.errors import DataError
from cvdl_jax.metrics.captions import bleu, cider_d, exact, ngrams

# Papineni et al. 2002, section 2.1, example 1, and example 2 of too many "the"
REFERENCES = [
    "it is a guide to action that ensures that the military will forever heed party commands",
    "it is the guiding principle which guarantees the military forces always being under the command of the party",
    "it is the practical guide for the army always to heed the directions of the party",
]
FIRST = "it is a guide to action which ensures that the military always obeys the commands of the party"
SECOND = "it is to insure the troops forever hearing the activity guidebook that party direct"


def words(*texts):
    return [text.split() for text in texts]


def slow_bleu(references, written, order):
    """By lists and loops, one n at a time."""
    precisions = []
    for n in range(1, order + 1):
        right = total = 0
        for several, sentence in zip(references, written, strict=True):
            grams = [sentence[i : i + n] for i in range(len(sentence) - n + 1)]
            total += len(grams)
            for gram in [g for i, g in enumerate(grams) if g not in grams[:i]]:
                most = max(sum(r[i : i + n] == gram for i in range(len(r))) for r in several)
                right += min(most, grams.count(gram))
        precisions.append(right / total if total else 0)
    c = sum(len(s) for s in written)
    r = sum(
        sorted((abs(len(x) - len(s)), len(x)) for x in several)[0][1]
        for several, s in zip(references, written, strict=True)
    )
    penalty = 1 if c > r else math.exp(1 - r / c) if c else 0
    return [penalty * np.prod(precisions[:n]) ** (1 / n) for n in range(1, order + 1)]


@pytest.mark.curriculum("K12")
def test_precisions_of_the_paper():
    """17 of 18 words of the first and 8 of 14 of the second are right; 10 of 17 pairs of the first, 1 of 13 of the
    second; "the the the the the the the" has 2 of 7."""
    assert len(FIRST.split()) == 18 and len(SECOND.split()) == 14
    references = [words(*REFERENCES)]
    one, two = bleu(references, words(FIRST), 2)
    assert one == pytest.approx(17 / 18) and two == pytest.approx((17 / 18 * 10 / 17) ** 0.5)
    one, two = bleu(references, words(SECOND), 2)
    penalty = math.exp(1 - 16 / 14)
    assert one == pytest.approx(penalty * 8 / 14) and two == pytest.approx(penalty * (8 / 14 * 1 / 13) ** 0.5)
    the = [words("the cat is on the mat", "there is a cat on the mat")]
    assert bleu(the, words("the the the the the the the"), 2) == (pytest.approx(2 / 7), 0.0)


@pytest.mark.curriculum("K12")
def test_brevity_by_the_nearest_length():
    """Of lengths 4 and 8 the nearest to 6 is the shorter: no penalty. Of 2 and 8 words, one of 7 is compared with 8."""
    four, eight = "a b c d", "a b c d e f g h"
    assert bleu([words(four, eight)], words("a b c d e f"), 1)[0] == 1
    assert bleu([words(eight)], words("a b c d e f"), 1)[0] == pytest.approx(math.exp(1 - 8 / 6))
    assert bleu([words("a b", eight)], words("a b c d e f g"), 1)[0] == pytest.approx(math.exp(1 - 8 / 7))


@pytest.mark.curriculum("K12")
def test_bleu_is_of_the_corpus_and_equals_a_slow_one():
    rng = np.random.default_rng(0)
    references = [[rng.integers(0, 3, rng.integers(4, 9)).tolist() for _ in range(3)] for _ in range(20)]
    written = [rng.integers(0, 3, rng.integers(1, 12)).tolist() for _ in range(20)]
    scores = bleu(references, written)
    np.testing.assert_allclose(scores, slow_bleu(references, written, 4), rtol=1e-12)
    assert len(set(scores)) == 4 and min(scores) > 0
    mean = np.mean([bleu([r], [s], 1)[0] for r, s in zip(references, written, strict=True)])
    assert abs(mean - scores[0]) > 1e-3  # sums before the ratio, not a mean of ratios
    assert bleu(references, [several[1] for several in references]) == (pytest.approx(1.0),) * 4
    assert bleu([[[1, 2]]], [[]]) == (0.0,) * 4


@pytest.mark.curriculum("K12")
def test_cider_by_hand():
    """Two images. "red" is in the references of one: weight log 2; "a" is in both: weight 0."""
    references = [words("a red", "a red red"), words("a blue")]
    assert cider_d(references, words("a red", "a blue"), 1) == pytest.approx(
        10 * np.mean([(1 + math.exp(-1 / 72) * 1) / 2, 1])
    )
    # "red red" against "red": the clipped product 1 * 1 over the norms 2 and 1
    twice = cider_d([words("red"), words("blue")], words("red red", "green"), 1)
    assert twice == pytest.approx(10 * np.mean([math.exp(-1 / 72) / 2, 0]))
    both = cider_d([words("x y"), words("z z")], words("x y", "x y"), 2)
    assert both == pytest.approx(10 * np.mean([1, 0]))
    assert cider_d([words("red")], words("red")) == 0


@pytest.mark.curriculum("K12")
def test_a_sentence_is_exact_if_it_is_one_of_its_references():
    references = [words("a b", "b a"), words("c"), words("d")]
    assert exact(references, words("b a", "c c", "d")) == pytest.approx(2 / 3)
    assert ngrams("a b a b".split(), 2) == {("a", "b"): 2, ("b", "a"): 1}


def test_sentences_without_references_are_refused():
    with pytest.raises(DataError, match="1 sentences are to be compared with the references of 2 images"):
        bleu([words("a"), words("b")], words("a"))
    with pytest.raises(DataError, match="image 1 has no reference sentence"):
        cider_d([words("a"), []], words("a", "b"))
    with pytest.raises(DataError, match="0 sentences"):
        exact([], [])

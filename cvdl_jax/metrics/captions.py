"""How near written sentences are to reference sentences: BLEU, CIDEr-D, and the share that is one of them exactly.

A sentence is a sequence of words, or of their numbers; an image has several references, of which a written sentence
need be like one.

Reference: Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation"; Vedantam et al. 2015,
"CIDEr: Consensus-based Image Description Evaluation".
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from cvdl_jax.errors import DataError

Sentence = Sequence[Hashable]
References = Sequence[Sequence[Sentence]]
ORDER = 4  # words of the longest n-gram
_WIDTH = 6.0  # words by which lengths may differ, a standard deviation (section 7.2 of the paper of CIDEr)


def ngrams(sentence: Sentence, n: int) -> Counter:
    """How often each run of n words occurs."""
    words = tuple(sentence)
    return Counter(words[i : i + n] for i in range(len(words) - n + 1))


def bleu(references: References, written: Sequence[Sentence], order: int = ORDER) -> tuple[float, ...]:
    """BLEU-1 ... BLEU-order of all sentences together.

        p_n = sum of min(count in the sentence, most often in one of its references) / number of n-grams written
        BLEU-n = min(1, exp(1 - r / c)) (p_1 ... p_n)^(1 / n)

    c is the number of words written, r the sum over sentences of the reference length that is nearest to the
    sentence's, of two as near the shorter. Nothing is smoothed: without any n-gram that is right BLEU-n is 0.

    Args:
        references: of each image, one or more.
        written: one sentence of each image.
        order: longest n-gram.

    Returns:
        Numbers in 0..1.

    Raises:
        DataError: for other numbers of images, none, or an image without a reference.
    """
    _check(references, written)
    right, total = np.zeros(order), np.zeros(order)
    for several, sentence in zip(references, written, strict=True):
        for n in range(1, order + 1):
            counts, most = ngrams(sentence, n), Counter()
            for reference in several:
                most |= ngrams(reference, n)  # the larger count of each
            right[n - 1] += (counts & most).total()
            total[n - 1] += counts.total()
    c = sum(map(len, written))
    r = sum(
        min((abs(len(reference) - len(sentence)), len(reference)) for reference in several)[1]
        for several, sentence in zip(references, written, strict=True)
    )
    brevity = 0.0 if c == 0 else min(1.0, math.exp(1 - r / c))
    scores = []
    for n in range(1, order + 1):
        if not right[:n].all():
            scores.append(0.0)
        else:
            scores.append(brevity * math.exp(np.log(right[:n] / total[:n]).mean()))
    return tuple(scores)


def cider_d(references: References, written: Sequence[Sentence], order: int = ORDER) -> float:
    """CIDEr-D: the cosine of n-grams weighted by how rare they are, mean over references and n, times 10.

        g(w) = count of w  log(images / images with w in a reference)
        score_n(s, r) = exp(-(|s| - |r|)^2 / (2 6^2))  sum_w min(g_s(w), g_r(w)) g_r(w) / (|g_s| |g_r|)

    How rare an n-gram is comes from the references of these images, so a number belongs to its set; of a single image
    every weight is 0, and so is the score.

    Args:
        references: see `bleu`.
        written: see `bleu`.
        order: longest n-gram.

    Returns:
        From 0 to 10.

    Raises:
        DataError: see `bleu`.

    Reference: Vedantam et al. 2015, section 7.2.
    """
    _check(references, written)
    scores = np.zeros((len(written), order))
    for n in range(1, order + 1):
        images = Counter(w for several in references for w in set().union(*(ngrams(r, n) for r in several)))
        rarity = {w: math.log(len(references) / count) for w, count in images.items()}
        common = math.log(len(references))  # of what no reference says

        def vector(sentence: Sentence, n: int = n, rarity: dict = rarity, common: float = common) -> dict[Any, float]:
            return {w: count * rarity.get(w, common) for w, count in ngrams(sentence, n).items()}

        for i, (several, sentence) in enumerate(zip(references, written, strict=True)):
            g = vector(sentence)
            scores[i, n - 1] = np.mean([_alike(g, vector(r), len(sentence) - len(r)) for r in several])
    return float(10 * scores.mean())


def _alike(g: dict[Any, float], r: dict[Any, float], longer: int) -> float:
    norms = math.sqrt(sum(x * x for x in g.values()) * sum(x * x for x in r.values()))
    shared = sum(min(x, r[w]) * r[w] for w, x in g.items() if w in r)
    return math.exp(-(longer**2) / (2 * _WIDTH**2)) * shared / norms if norms else 0.0


def exact(references: References, written: Sequence[Sentence]) -> float:
    """The share of sentences that are one of their references, word by word. Raises DataError as `bleu` does."""
    _check(references, written)
    same = [tuple(s) in {tuple(r) for r in several} for several, s in zip(references, written, strict=True)]
    return float(np.mean(same))


def measured(references: References, written: Sequence[Sentence], prefix: str = "") -> dict[str, float]:
    """All measures by their names: {"bleu1" ... "bleu4", "cider_d", "exact"}, with a prefix."""
    scores = {f"bleu{n}": score for n, score in enumerate(bleu(references, written), 1)}
    scores |= {"cider_d": cider_d(references, written), "exact": exact(references, written)}
    return {f"{prefix}{name}": score for name, score in scores.items()}


def _check(references: References, written: Sequence[Sentence]) -> None:
    if len(references) != len(written) or not written:
        raise DataError(f"{len(written)} sentences are to be compared with the references of {len(references)} images")
    lacking = [i for i, several in enumerate(references) if not len(several)]
    if lacking:
        raise DataError(f"image {lacking[0]} has no reference sentence")

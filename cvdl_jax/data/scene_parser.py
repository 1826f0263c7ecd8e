"""Do a caption and an image of a drawn scene say the same? By rules alone: a grammar, and shapes fitted to pixels.

A caption of `builders/captioned_scenes.py` is read by `said`, an image by `seen`, which knows how scenes are drawn: a
background that is a plane in every channel, and shapes of one colour on it. `agree` compares them. The parser makes
mistakes on real scenes, too; how many is to stand beside every number that it measures.
"""

import re
from collections.abc import Sequence
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.data.scenes import CLASSES, COLOURS, PLACES, RELATIONS, ROTATIONS, SIZES, inside
from cvdl_jax.errors import DataError

LEAST = 20  # pixels of an object, of 64x64; specks of generated images are no objects
CONTRAST = 36  # of a channel, in 0..255, between a shape and the background
_AREAS = {  # of a shape whose circle has the radius 1
    "circle": np.pi, "square": (17 / 12) ** 2, "triangle": 0.75 * 3**0.5, "cross": 20 / 9, "ring": 0.75 * np.pi,
    "bar": 4 / 3,
}  # fmt: skip
_PLACES = tuple(sorted((place for row in PLACES for place in row), key=len, reverse=True))
_NOUN = re.compile(
    rf"a(?: (?P<size>{'|'.join(SIZES)}))?(?: (?P<colour>{'|'.join(COLOURS)}))? (?P<form>{'|'.join(CLASSES)})"
    rf"(?: that is (?P<which>{'|'.join(COLOURS)}))?(?: (?P<place>{'|'.join(_PLACES)}))?"
)


class Noun(NamedTuple):
    """What is said, or seen, of one shape; "" for what is not said."""

    size: str
    colour: str
    form: str
    place: str


class Said(NamedTuple):
    """What a caption says: one or two shapes, and how the first stands to the second ("" where that is not said)."""

    nouns: tuple[Noun, ...]
    relation: str


class Seen(NamedTuple):
    """A shape in an image: what may be said of it, and its centre in pixels from the left and from above."""

    noun: Noun
    x: float
    y: float


def said(caption: str) -> Said:
    """Reads a caption.

    Args:
        caption: such as "a small red circle above a large blue ring".

    Raises:
        DataError: for a caption that is not of the grammar, saying what is.
    """
    text = " ".join(caption.lower().split())
    for relation in (*RELATIONS[1:], "and", ""):
        first, joint, second = text.partition(f" {relation} ") if relation else (text, "", "")
        matches = [_NOUN.fullmatch(part) for part in ((first, second) if joint else (first,))]
        if (joint or not relation) and all(matches):
            nouns = tuple(_noun(match) for match in matches if match)
            if all(noun is not None for noun in nouns):
                return Said(nouns, "" if relation == "and" else relation)  # type: ignore[arg-type]
    raise DataError(
        f"the caption {caption!r} is not of the grammar: 'a [{'|'.join(SIZES)}] [COLOUR] FORM [that is COLOUR] "
        f"[PLACE]', or two of them with one of {', '.join(map(repr, (*RELATIONS[1:], 'and')))} between; colours: "
        f"{', '.join(COLOURS)}; forms: {', '.join(CLASSES)}; a place is such as {PLACES[0][0]!r}"
    )


def _noun(match: re.Match) -> Noun | None:
    """What a part of a caption says; None where it names two colours."""
    size, colour, form, which, place = (match[name] or "" for name in ("size", "colour", "form", "which", "place"))
    return None if colour and which else Noun(size, colour or which, form, place)


def seen(image: Any) -> tuple[Seen, ...]:
    """The shapes in an image, the largest first.

    Args:
        image: [h, w, 3], uint8, or float in 0..1; square.
    """
    from scipy import ndimage

    image = np.asarray(image)
    pixels = image.astype(np.float64) * (1 if image.dtype == np.uint8 else 255)
    size = len(pixels)
    stands_out = np.abs(pixels - _background(pixels)).max(-1) > CONTRAST
    parts, count = ndimage.label(stands_out, np.ones((3, 3)))
    areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    least = LEAST * size * size / 64**2
    order = [i for i in np.argsort(-areas, kind="stable").tolist() if areas[i] >= least]
    return tuple(_fitted(pixels, parts == i + 1, size) for i in order)


def _background(pixels: np.ndarray) -> np.ndarray:
    """A plane for each channel [h, w, 3], fitted to the pixels that are near to it."""
    h, w, channels = pixels.shape
    y, x = np.mgrid[:h, :w]
    design = np.stack([np.ones(h * w), x.ravel(), y.ravel()], 1)
    flat, kept = pixels.reshape(-1, channels), np.ones(h * w, bool)
    # first the value that most pixels of the border are near to, then planes through ever fewer pixels
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    kept = np.abs(flat - np.median(border, 0)).max(1) < 60
    kept = kept if kept.sum() > 10 else np.ones(h * w, bool)
    plane = flat
    for _ in range(6):
        plane = design @ np.linalg.lstsq(design[kept], flat[kept], rcond=None)[0]
        far = np.abs(flat - plane).max(1)
        kept = far <= max(np.median(far), CONTRAST / 2)
    return plane.reshape(h, w, channels)


def _fitted(pixels: np.ndarray, mask: np.ndarray, size: int) -> Seen:
    """The colour that is nearest to a part's, and the form, of all rotations, that covers the same pixels."""
    ys, xs = np.nonzero(mask)
    median = np.median(pixels[mask], 0)
    colour = min(COLOURS, key=lambda name: np.abs(median - COLOURS[name]).sum())
    centre = 2 * xs.mean() + 1, 2 * ys.mean() + 1  # in half pixels
    y, x = np.mgrid[:size, :size]
    dx, dy = (np.round(2 * at + 1 - c).astype(np.int64) for at, c in zip((x, y), centre, strict=True))
    best, form, radius = -1.0, "", 0.0
    for name in CLASSES:
        r = max(2.0, 2 * (len(xs) / _AREAS[name]) ** 0.5)
        for rotation in ROTATIONS[:1] if name in ("circle", "ring") else _turns(name):
            shape = inside(name, dx, dy, round(r), rotation)
            overlap = (shape & mask).sum() / max((shape | mask).sum(), 1)
            if overlap > best:
                best, form, radius = float(overlap), name, r
    place = PLACES[min(int(3 * centre[1] / (2 * size)), 2)][min(int(3 * centre[0] / (2 * size)), 2)]
    return Seen(Noun(SIZES[radius > size / 4], colour, form, place), centre[0] / 2, centre[1] / 2)


def _turns(name: str) -> list[tuple[int, int, int]]:
    """Rotations that look different: by quarter turns, too, where a shape is not the same after one."""
    turns = list(ROTATIONS)
    if name in ("triangle", "bar"):
        for _ in range(3):
            turns += [(-s, c, n) for c, s, n in turns[-len(ROTATIONS) :]]
    return turns


def agree(caption: Said, shapes: tuple[Seen, ...]) -> bool:
    """Whether an image shows what its caption says: as many shapes, and of each what is said of it.

    Args:
        caption: of `said`.
        shapes: of `seen`.
    """
    if len(shapes) != len(caption.nouns):
        return False
    for order in permutations(shapes):
        right = all(_fits(noun, shape.noun) for noun, shape in zip(caption.nouns, order, strict=True))
        if right and (not caption.relation or _stands(caption.relation, *order)):
            return True
    return False


def _fits(noun: Noun, shape: Noun) -> bool:
    return all(word in ("", real) for word, real in zip(noun, shape, strict=True))


def _stands(relation: str, first: Seen, second: Seen) -> bool:
    """Whether two shapes stand in a relation: along the axis on which their centres are further apart."""
    dx, dy = second.x - first.x, second.y - first.y
    along = dx if relation.startswith("to the") else dy
    forward = relation in ("to the left of", "above")
    return abs(along) >= max(abs(dx), abs(dy)) and (along > 0) == forward


def check_words(words: Sequence[str]) -> None:
    """Refuses a vocabulary with words that no caption of the grammar has. Raises DataError: naming one."""
    known = {"a", "and", "that", "is", *SIZES, *COLOURS, *CLASSES}
    known |= {word for phrase in (*RELATIONS[1:], *_PLACES) for word in phrase.split()}
    strange = sorted(set(words) - known)
    if strange:
        raise DataError(
            f"config.grammar='scenes' reads captions of captioned_scenes, and {strange[0]!r} of these captions is no "
            "word of them; set config.grammar='' for other captions"
        )


def scores(captions: Sequence[str], made: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """How many generated images show exactly what their captions say, beside what chance and real scenes reach.

    Args:
        captions: n of them.
        made: [n, h, w, 3], an image for each caption.
        real: [n, h, w, 3], the scenes that the captions were written for.

    Returns:
        `exact`: of the generated images; `chance`: of the generated images with the captions of all other rows;
        `parser`: of the real scenes.

    Raises:
        DataError: see `said`.
    """
    read = [said(caption) for caption in captions]
    shown, there = ([seen(image) for image in images] for images in (made, real))
    table = np.asarray([[agree(caption, shapes) for caption in read] for shapes in shown])
    own, n = np.diag(table), len(read)
    return {
        "exact": float(own.mean()),
        "chance": float((table.sum() - own.sum()) / max(n * (n - 1), 1)),
        "parser": float(np.mean([agree(*pair) for pair in zip(read, there, strict=True)])),
    }

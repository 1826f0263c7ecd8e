"""The parser of drawn scenes: its grammar, what it sees in real scenes, what agrees, what chance gives."""

import numpy as np
import pytest

from cvdl_jax.data import scene_parser
from cvdl_jax.data.builders import captioned_scenes
from cvdl_jax.data.scene_parser import Noun, Said, Seen
from cvdl_jax.errors import DataError


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a small red circle", Said((Noun("small", "red", "circle", ""),), "")),
        ("A blue ring at the top left", Said((Noun("", "blue", "ring", "at the top left"),), "")),
        ("a blue ring at the top", Said((Noun("", "blue", "ring", "at the top"),), "")),
        ("a large bar that is cyan", Said((Noun("large", "cyan", "bar", ""),), "")),
        (
            "a small red circle to the left of a large blue ring",
            Said((Noun("small", "red", "circle", ""), Noun("large", "blue", "ring", "")), "to the left of"),
        ),
        ("a red bar and a cyan cross", Said((Noun("", "red", "bar", ""), Noun("", "cyan", "cross", "")), "")),
    ],
)
def test_captions_are_read(caption, expected):
    assert scene_parser.said(caption) == expected


@pytest.mark.parametrize(
    "caption", ["", "a red", "red circle", "a red circle that is blue", "a red circle under a bar", "two red circles"]
)
def test_captions_outside_the_grammar_are_refused(caption):
    with pytest.raises(DataError, match=r"is not of the grammar: 'a \[small\|large\] \[COLOUR\] FORM"):
        scene_parser.said(caption)


@pytest.mark.curriculum("S7", "S9")
def test_real_scenes_show_what_all_their_captions_say():
    scenes = [captioned_scenes.draw(split, i) for split in ("test", "unseen") for i in range(25)]
    seen = [scene_parser.seen(scene.image) for scene in scenes]
    for scene, shapes in zip(scenes, seen, strict=True):
        assert all(scene_parser.agree(scene_parser.said(caption), shapes) for caption in scene.captions())
    assert {len(shapes) for shapes in seen} == {1, 2}
    floats = scene_parser.seen(scenes[0].image / np.float32(255))
    assert [s.noun for s in floats] == [s.noun for s in seen[0]]
    shown = {(s.noun.colour, s.noun.form) for shapes in seen[25:] for s in shapes}
    assert {f"{colour} {form}" for colour, form in shown} <= set(captioned_scenes.HELD_OUT)


def test_each_word_of_a_caption_counts():
    shape = Seen(Noun("small", "red", "circle", "at the top"), 30, 10)
    other = Seen(Noun("large", "blue", "bar", "on the left"), 10, 34)
    for caption, shapes, right in (
        ("a small red circle at the top", (shape,), True),
        ("a large red circle", (shape,), False),
        ("a small blue circle", (shape,), False),
        ("a small red ring", (shape,), False),
        ("a red circle on the left", (shape,), False),
        ("a red circle", (shape, other), False),  # one too many
        ("a red circle and a blue bar", (shape,), False),
        ("a red circle and a blue bar", (other, shape), True),
        ("a small red circle above a large blue bar", (other, shape), True),
        ("a large blue bar below a small red circle", (shape, other), True),
        ("a small red circle below a large blue bar", (shape, other), False),
        ("a small red circle to the right of a large blue bar", (shape, other), False),  # further apart in height
    ):
        assert scene_parser.agree(scene_parser.said(caption), shapes) == right, caption


def test_scores_stand_beside_chance_and_real_scenes():
    scenes = [captioned_scenes.draw("unseen", i) for i in range(6)]
    captions = [scene.captions()[0] for scene in scenes]
    images = np.stack([scene.image for scene in scenes])
    made = np.concatenate([images[:3], np.full_like(images[:3], 90)])  # the last three show nothing
    result = scene_parser.scores(captions, made, images)
    assert (result["exact"], result["parser"]) == (0.5, 1.0)
    same = sum(captions[i] == captions[j] for i in range(3) for j in range(6) if i != j)
    assert result["chance"] == pytest.approx(same / 30)
    with pytest.raises(DataError, match="'dog' of these captions is no word of them"):
        scene_parser.check_words(("a", "red", "dog"))
    scene_parser.check_words(("a", "red", "circle", "at", "the", "top", "to", "left", "of", "that", "is", "and"))

"""Captioned scenes: the same bytes everywhere, what captions say is what is drawn, combinations that are held out."""

import zlib

import numpy as np
import pytest

from cvdl_jax.data.builders import captioned_scenes as scenes
from cvdl_jax.data.load import load
from cvdl_jax.data.scenes import CLASSES, COLOURS
from cvdl_jax.errors import ConfigError

GOLDEN = 2838785128
NAME = "captioned_scenes(size=24, train=40, validation=12, test=12, unseen=12)"


def test_images_are_the_same_bytes_everywhere():
    scene = scenes.draw("train", 3)
    assert zlib.crc32(scene.image.tobytes() + "".join(scene.captions()).encode()) == GOLDEN


def test_captions_worked_by_hand():
    red, blue = scenes.Shape("red circle", 1, 10, 70, 9), scenes.Shape("blue square", 0, 100, 64, 5)
    image = np.zeros((64, 64, 3), np.uint8)
    assert scenes.CaptionedScene(image, (red,), scenes.ALONE).captions() == [
        "a large red circle", "a red circle on the left", "a large circle that is red"]  # fmt: skip
    assert scenes.CaptionedScene(image, (red, blue), "to the left of").captions() == [
        "a large red circle to the left of a small blue square",
        "a small blue square to the right of a large red circle",
        "a red circle and a blue square", "a blue square and a red circle"]  # fmt: skip
    places = [scenes.CaptionedScene(image, (red._replace(x=x, y=y),), scenes.ALONE).captions()[1] for x, y in
              ((64, 64), (64, 10), (120, 120), (10, 10), (42, 86))]  # fmt: skip
    assert [text.removeprefix("a red circle ") for text in places] == [
        "in the middle", "at the top", "at the bottom right", "at the top left", "at the bottom left"]  # fmt: skip


def test_what_is_said_is_what_is_drawn():
    """The colour at a place is that of the shape there, shapes do not touch, and the relation holds by a margin."""
    values = np.asarray(list(COLOURS.values()))
    relations = set()
    for i in range(60):
        scene = scenes.draw("train", i)
        relations.add(scene.relation)
        for shape in scene.shapes:
            assert shape.radius <= min(shape.x, shape.y) and max(shape.x, shape.y) <= 128 - shape.radius
            if "ring" not in shape.combination:
                pixel = scene.image[shape.y // 2, shape.x // 2].astype(int)
                assert list(COLOURS)[abs(values - pixel).sum(1).argmin()] == shape.combination.split()[0]
        if len(scene.shapes) == 2:
            (_, _, x0, y0, r0), (_, _, x1, y1, r1) = scene.shapes
            distance = {"to the left of": x1 - x0, "to the right of": x0 - x1, "above": y1 - y0, "below": y0 - y1}
            aside = abs(y1 - y0) if scene.relation.startswith("to") else abs(x1 - x0)
            assert distance[scene.relation] >= r0 + r1 and distance[scene.relation] > aside
            assert scene.shapes[0].combination != scene.shapes[1].combination
    assert relations == set(scenes.RELATIONS)


def test_combinations_that_are_held_out_are_in_the_split_unseen_alone():
    """Each shape lacks one colour; each of these colours is seen with the other five shapes."""
    assert len(scenes.COMBINATIONS) == 42 and len(set(scenes.HELD_OUT)) == 6
    assert sorted(name.split()[1] for name in scenes.HELD_OUT) == sorted(CLASSES)
    assert len({name.split()[0] for name in scenes.HELD_OUT}) == 6
    seen = {shape.combination for i in range(400) for shape in scenes.draw("train", i).shapes}
    assert not seen & set(scenes.HELD_OUT) and len(seen) == 36
    unseen = [scenes.draw("unseen", i).shapes for i in range(60)]
    assert {shape.combination for (shape,) in unseen} == set(scenes.HELD_OUT)


def test_the_data_set_holds_what_was_drawn():
    data = load(NAME, train="train", test="unseen", caption_length=14)
    assert data.class_names == scenes.COMBINATIONS and data.num_classes == 42
    assert len(data.vocabulary) == 4 + 7 + 6 + 2 + 17  # colours, shapes, sizes, and other words
    for split, name in (("train", "train"), ("test", "unseen")):
        batch = data.splits[split].batch(np.arange(12))
        for i in range(12):
            scene = scenes.draw(name, i, 24)
            np.testing.assert_array_equal(batch["image"][i], scene.image)
            assert scenes.COMBINATIONS[batch["label"][i]] == scene.shapes[0].combination
            assert (
                batch["size"][i] == scene.shapes[0].large and scenes.RELATIONS[batch["relation"][i]] == scene.relation
            )
    with pytest.raises(ConfigError, match=r"captioned_scenes\(objects=3\) must be between 1 and 2"):
        load("captioned_scenes(objects=3)", train="train")

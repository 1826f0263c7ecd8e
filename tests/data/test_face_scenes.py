"""Faces in scenes: boxes around what was pasted, nothing over a face, and nobody in two splits."""

import zlib

import numpy as np
import pytest

from cvdl_jax.data import scenes
from cvdl_jax.data.builders import face_scenes
from cvdl_jax.data.load import load
from cvdl_jax.errors import ConfigError, DataError

GOLDEN = 417995102
PICTURES = np.broadcast_to(np.uint8([[[0]], [[255]]]), (2, 112, 92))


def test_images_are_the_same_bytes_everywhere():
    face = (np.arange(112 * 92).reshape(1, 112, 92) // 41 % 256).astype(np.uint8)
    crc = 0
    for i in range(3):
        image, boxes, _ = face_scenes.compose(40, i, face, 64, 3, 4)
        crc = zlib.crc32(image.tobytes() + boxes.tobytes(), crc)
    assert crc == GOLDEN


@pytest.mark.curriculum("L29")
def test_a_box_is_where_a_face_was_pasted():
    """Black and white faces: a pixel is the scene's outside of all boxes, and the face's in the ellipse of each."""
    counts = []
    for i in range(40):
        image, boxes, shown = face_scenes.compose(40, i, PICTURES, 80, 3, 4)
        scene = scenes.draw(40, i, 80, 4).image.astype(int) @ np.array([299, 587, 114]) // 1000
        counts.append(len(boxes))
        outside = np.ones((80, 80), bool)
        for (top, left, bottom, right), which in zip(boxes, shown, strict=True):
            assert outside[top:bottom, left:right].all()  # no two overlap
            outside[top:bottom, left:right] = False
            part, (h, w) = image[top:bottom, left:right].astype(int), (bottom - top, right - left)
            y, x = np.mgrid[:h, :w]
            inner = ((2 * y + 1 - h) / h) ** 2 + ((2 * x + 1 - w) / w) ** 2 < 0.999
            assert abs(part[inner] - 255 * which).max() <= 30 + 6 and 16 <= h <= 40 and w == h * 92 // 112
            assert inner.any(0).all() and inner.any(1).all()  # the box is tight
        assert abs(image.astype(int) - scene)[outside].max() <= 6
    assert set(counts) == {0, 1, 2, 3}


def test_a_face_becomes_smaller_by_means():
    picture = np.random.default_rng(0).integers(0, 256, (12, 9)).astype(np.uint8)
    small = face_scenes.smaller(picture, 4, 3)
    assert small.tolist() == [
        [picture[3 * i : 3 * i + 3, 3 * j : 3 * j + 3].sum() // 9 for j in range(3)] for i in range(4)
    ]
    np.testing.assert_array_equal(face_scenes.smaller(picture, 12, 9), picture)
    np.testing.assert_array_equal(face_scenes.smaller(picture, 24, 18), picture.repeat(2, 0).repeat(2, 1))


def test_what_cannot_be_composed_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"data set 'orl_faces' is not "):
        load("face_scenes(train=3)", str(tmp_path), train="train")
    with pytest.raises(ConfigError, match=r"face_scenes\(size=31\) must be between 32 and 1024"):
        load("face_scenes(size=31)", train="train")


@pytest.mark.long
@pytest.mark.curriculum("L29")
def test_nobody_is_in_two_splits(real_data):
    faces = {name: load("orl_faces", str(real_data), train=name).splits["train"].arrays for name in ("train", "test")}
    people = {}
    for split, (_, part, first, last) in face_scenes.SPLITS.items():
        labels = np.asarray(faces[part]["label"])
        people[split] = set(labels[(labels >= first) & (labels <= last)].tolist())
    assert [len(people[s]) for s in ("train", "validation", "test")] == [28, 4, 8]
    assert len(set.union(*people.values())) == 40
    name = "face_scenes(train=6, validation=4, test=4)"
    data = load(name, str(real_data), train="train", validation="validation", test="test", max_boxes=3)
    assert data.class_names == ("face",) and data.splits["train"].spec["image"].shape == (96, 96, 1)
    test = np.asarray(faces["test"]["image"])[..., 0]
    for i in range(4):
        expected = face_scenes.compose(44, i, test, 96, 3, 5)
        np.testing.assert_array_equal(data.splits["test"].example(i)["image"][..., 0], expected[0])

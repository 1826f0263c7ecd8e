"""Drawn faces: the same bytes everywhere, one person in every view, points and regions where the image shows them."""

import zlib

import numpy as np
import pytest

from cvdl_jax.data import portraits
from cvdl_jax.data.builders import face_domains, faces
from cvdl_jax.data.load import load
from cvdl_jax.data.scenes import Words
from cvdl_jax.errors import ConfigError

WHO, SEEN = portraits.person(Words(70, 0)), portraits.view(Words(71, 0))
GOLDEN = 4059112243


def test_images_are_the_same_bytes_everywhere():
    drawings = [portraits.draw(WHO, SEEN, 32, style) for style in ("photo", "avatar", "emoji")]
    assert zlib.crc32(b"".join(x.tobytes() for drawing in drawings for x in drawing)) == GOLDEN


def test_a_rotation_turns_about_the_axes_in_their_order():
    from scipy.spatial.transform import Rotation

    r = portraits.rotation(SEEN._replace(pitch=11, yaw=-30, roll=7))
    np.testing.assert_allclose(r, Rotation.from_euler("xyz", [11, -30, 7], degrees=True).as_matrix(), atol=1e-5)
    # a head with a positive yaw looks to the right of the image
    assert portraits.rotation(portraits.FRONT._replace(yaw=30))[0, 2] > 0


@pytest.mark.curriculum("R17")
def test_landmarks_are_where_the_image_shows_them():
    """The irises have their colour, the jaw's points are at the edge of the head, in any pose; y goes down."""
    for i in range(8):
        who = portraits.person(Words(70, i))
        seen = portraits.view(Words(71, i), 20)._replace(light=0, noise=-1, hat=0, glasses=0)
        points, image = portraits.landmarks(who, seen, 160), portraits.draw(who, seen, 160).image.astype(float)
        assert points.shape == (portraits.LANDMARKS, 3)
        for x, y, _ in points[68:]:
            assert image[int(y), int(x)].max() <= 20  # a pupil
        assert points[8, 1] == points[:, 1].max() and points[0, 0] < points[16, 0]
        assert points[30, 2] > points[33, 2] > points[0, 2]  # the tip of the nose is nearest
        assert points[19, 1] < points[37, 1] < points[30, 1] < points[51, 1] < points[57, 1] < points[8, 1]
    front = portraits.FRONT
    points = portraits.landmarks(who, front, 100)
    np.testing.assert_allclose(points[0, 0] + points[16, 0], 100, atol=1e-3)  # symmetric about the middle
    np.testing.assert_allclose(points[36, :2] + points[45, :2], [100, 2 * points[36, 1]], atol=1e-3)


def test_a_person_is_the_same_in_every_view_but_for_what_is_worn():
    """Brought back to the head's own pose and size, the stiff landmarks of all views of a person are the same."""
    own = []
    for i in range(3):
        seen = portraits.view(Words(71, i))._replace(expression=0)
        points, r = portraits.landmarks(WHO, seen, 64), portraits.rotation(seen)
        own.append((points - np.asarray([seen.x, seen.y, 0]) * 0.064) @ r / (seen.scale * 0.064))
    np.testing.assert_allclose(own[0], own[1], atol=1e-5)
    np.testing.assert_allclose(own[0], own[2], atol=1e-5)
    assert portraits.attributes(WHO, SEEN)[4:] == portraits.attributes(WHO, portraits.view(Words(71, 5)))[4:]


def test_expressions_and_what_is_worn_change_the_image_where_they_should():
    front = portraits.FRONT
    plain = portraits.draw(WHO, front, 64).image.astype(int)
    points = portraits.landmarks(WHO, front, 64)
    for change, rows in (
        ({"glasses": 1}, (points[17:27, 1].min() - 4, points[33, 1])),
        ({"hat": 1}, (0, points[37, 1])),
        ({"expression": 1}, (points[17:27, 1].min() - 4, points[8, 1])),
    ):
        y = np.nonzero(abs(portraits.draw(WHO, front._replace(**change), 64).image - plain).max((1, 2)))[0]
        assert len(y) and rows[0] <= y.min() and y.max() <= rows[1], change
    smile, sad = (portraits.face_points(WHO, portraits.EXPRESSIONS.index(e)) for e in ("smile", "sad"))
    assert smile[48, 1] < smile[62, 1] and sad[48, 1] > sad[62, 1]  # corners of the mouth against its middle


def test_regions_are_face_and_hair():
    bald_part = portraits.draw(WHO, portraits.FRONT, 64)
    image, regions = bald_part.image.astype(float), bald_part.regions
    assert set(np.unique(regions)) == {0, 1, 2}
    assert abs(image[regions == 1].mean(0) - np.asarray(portraits.SKINS[WHO.skin]) * 0.9).max() < 45
    ratio = image[regions == 2].mean(0) / np.asarray(portraits.HAIRS[WHO.hair])
    assert ratio.min() > 0.45 and ratio.max() < 1.15
    assert (image[(regions == 0)][:64] == 255).all()  # the background above


def test_the_data_set_holds_what_was_drawn_and_nobody_is_in_two_splits():
    name = "faces(size=32, views=2, train=5, validation=2, test=3)"
    data = load(name, train="train", validation="validation", test="test", label_set="attributes")
    assert data.class_names == portraits.ATTRIBUTES
    people = {
        split: set(np.asarray(s.batch(np.arange(s.size))["identity"]).tolist()) for split, s in data.splits.items()
    }
    assert people == {"train": {0, 1, 2}, "validation": {3}, "test": {4, 5}}
    batch = data.splits["test"].batch(np.arange(3))
    for i in range(3):
        who, seen = faces.someone("test", i // 2), portraits.view(Words(75, i))
        drawing = portraits.draw(who, seen, 32)
        np.testing.assert_array_equal(batch["image"][i], drawing.image)
        np.testing.assert_array_equal(batch["segmentation_mask"][i, ..., 0], drawing.regions)
        np.testing.assert_array_equal(batch["image_emoji"][i], portraits.draw(who, seen, 32, "emoji").image)
        np.testing.assert_allclose(batch["landmarks"][i], portraits.landmarks(who, seen, 32), rtol=1e-6)
        assert np.asarray(batch["angles"][i]).tolist() == [seen.pitch, seen.yaw, seen.roll]
        assert np.asarray(batch["label"][i]).astype(int).tolist() == list(portraits.attributes(who, seen))
        assert int(batch["expression"][i]) == seen.expression
    with pytest.raises(ConfigError, match=r"faces\(turn=61\) must be between 0 and 60"):
        load("faces(turn=61)", train="train")


@pytest.mark.curriculum("R15")
def test_domains_are_unpaired_to_train_and_paired_to_measure():
    """No face to train on is in both domains; to measure, the pixels of one say those of the other."""
    name = "face_domains(size=32, train=3, validation=2, test=2)"
    splits = load(name, train="train", test="test").splits
    test, train = (splits[part].batch(np.arange(2)) for part in ("test", "train"))
    for i in range(2):
        here = face_domains.face(84, i, 35)
        np.testing.assert_array_equal(test["image"][i], portraits.draw(*here, 32).image)
        np.testing.assert_array_equal(test["image_after"][i], portraits.draw(*here, 32, "avatar").image)
        there = face_domains.face(81, i, 35)
        np.testing.assert_array_equal(train["image_after"][i], portraits.draw(*there, 32, "avatar").image)
    a, b = np.int64(test["image"]), np.int64(test["image_after"])
    assert abs(255 - a[..., 1] - b[..., 0]).max() <= 2 * portraits.NOISE + 1
    paired = load("face_domains(size=32, paired=1, train=2, validation=1, test=1)", train="train").splits["train"]
    both = {name: np.int64(x) for name, x in paired.batch(np.arange(2)).items()}
    assert abs(both["image"][..., 2] - both["image_after"][..., 1]).max() <= 2 * portraits.NOISE + 1

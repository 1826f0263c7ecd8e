"""Label images, their pictures and their masks: worked numbers, there and back, what is refused."""

import numpy as np
import pytest

from cvdl_jax.errors import DataError
from cvdl_jax.ops.images import palettes

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("M5")
def test_the_worked_label_image():
    """OR60."""
    labels = np.array([[2, 1], [1, 0]])
    masks = palettes.masks_of(labels, 3)
    for k, expected in enumerate([[[0, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 0], [0, 0]]]):
        np.testing.assert_array_equal(masks[..., k], expected)
    assert [masks[at].tolist() for at in [(0, 0), (0, 1), (1, 1)]] == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    np.testing.assert_array_equal(palettes.labels_of_masks(masks), labels)


@pytest.mark.curriculum("M5")
@pytest.mark.parametrize("palette", [palettes.CAMVID, palettes.voc(21)], ids=["camvid", "voc"])
def test_there_and_back(palette):
    n = len(palette)
    labels = RNG.choice([*range(n), 255], size=(3, 6, 7))
    pink = (255, 105, 180)
    picture = palettes.colours_of(labels, palette, pink)
    for at in np.ndindex(labels.shape):
        assert tuple(picture[at]) == (pink if labels[at] == 255 else tuple(palette[labels[at]]))
    np.testing.assert_array_equal(palettes.labels_of(picture, palette, pink), labels)
    masks = palettes.masks_of(labels, n)
    assert masks.shape == (*labels.shape, n) and (masks.sum(-1) == (labels != 255)).all()
    np.testing.assert_array_equal(palettes.labels_of_masks(masks), labels)


def test_the_colours_of_voc_are_the_known_ones():
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    colours = palettes.voc(256)
    assert {k: tuple(colours[k].tolist()) for k in known} == known and tuple(colours[255]) == (224, 224, 192)
    assert len(np.unique(colours, axis=0)) == 256 and len(np.unique(palettes.CAMVID, axis=0)) == 11
    black = np.zeros((1, 3), np.uint8)
    assert palettes.labels_of(black, colours[:21]).tolist() == [0]  # the ignored colour is that of a class


def test_what_is_refused():
    colours = palettes.voc(3)
    with pytest.raises(
        DataError, match=r"the colour \(1, 2, 3\) at \(1, 0\) is not in the palette of 3 classes; store"
    ):
        palettes.labels_of(np.uint8([[[0, 0, 0]], [[1, 2, 3]]]), colours)
    with pytest.raises(DataError, match=r"not in the palette"):
        palettes.labels_of(np.uint8([[0, 0, 1]]), colours, None)
    with pytest.raises(DataError, match="a picture must be uint8"):
        palettes.labels_of(np.zeros((2, 2, 4), np.uint8), colours)
    with pytest.raises(DataError, match="label 3 has no colour in a palette of 3"):
        palettes.colours_of([0, 3], colours)
    with pytest.raises(DataError, match="label -1 is none of 3 classes, and not 255"):
        palettes.masks_of([0, -1], 3)
    with pytest.raises(DataError, match=r"the pixel at \(1,\) is in the masks of several classes"):
        palettes.labels_of_masks([[0, 1], [1, 1]])
    with pytest.raises(DataError, match="other values than 0 and 1"):
        palettes.labels_of_masks([[0.5, 0.5]])

"""Selective search: segments, merges by similarity, and how many objects of drawn scenes its boxes contain."""

import numpy as np
import pytest

from cvdl_jax.data import scenes
from cvdl_jax.ops.selective_search import grouped, reduced, segment, selective_search


def overlaps(a, b):
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(-1)
    area = lambda x: (x[:, 2:] - x[:, :2]).prod(-1)  # noqa: E731
    return shared / (area(a)[:, None] + area(b)[None] - shared)


@pytest.mark.curriculum("L8")
def test_objects_of_drawn_scenes_are_among_the_regions():
    """Of at most 60 boxes an image, at least nine of ten objects have one with an IoU of a half."""
    hit, n = 0, 0
    for i in range(8):
        scene = scenes.draw(3, i)
        boxes = selective_search(scene.image, count=60)
        assert len(boxes) <= 60 and len(np.unique(boxes, axis=0)) == len(boxes) and boxes.dtype == np.float32
        assert (boxes[:, 2:] > boxes[:, :2]).all() and boxes.min() >= 0 and boxes.max() <= 1
        best = overlaps(scene.boxes() / 64, boxes).max(1)
        hit, n = hit + (best >= 0.5).sum(), n + len(best)
    assert n > 15 and hit / n >= 0.9


@pytest.mark.curriculum("L8")
def test_the_list_is_a_function_of_image_and_seed():
    image = scenes.draw(3, 0).image
    first = selective_search(image)
    np.testing.assert_array_equal(first, selective_search(image))
    other = selective_search(image, seed=1)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(np.unique(first, axis=0), np.unique(other, axis=0))  # another order of the same
    np.testing.assert_array_equal(first[:5], selective_search(image, count=5))
    np.testing.assert_array_equal(first, selective_search((image / 255).astype(np.float64)))
    wide = selective_search(np.repeat(np.repeat(image, 3, 0), 3, 1), side=64)  # reduced by 3, it is the image
    np.testing.assert_allclose(wide, first, atol=1e-6)


@pytest.mark.curriculum("L8")
def test_parts_end_where_colours_change():
    """Three flat areas are three parts at any scale below their difference; a speck joins its neighbour."""
    image = np.zeros((12, 10, 3))
    image[:6, :5] = (200, 0, 0)
    image[6:, :5] = (0, 200, 0)
    image[3, 8] = 90
    parts = segment(image, 50.0, 4)
    assert len(np.unique(parts)) == 3
    for area in (np.s_[:6, :5], np.s_[6:, :5], np.s_[:, 5:]):
        assert len(np.unique(parts[area])) == 1
    assert len(np.unique(segment(image, 50.0, 1))) == 4
    assert len(np.unique(segment(image, 1e6, 1))) == 1


@pytest.mark.curriculum("L8")
def test_like_neighbours_are_merged_first():
    image = np.zeros((8, 12, 3))
    image[:, :4], image[:, 4:8], image[:, 8:] = (200, 10, 10), (202, 10, 10), (10, 200, 200)
    parts = np.repeat(np.repeat(np.arange(3), 4)[None], 8, 0)
    boxes = grouped(parts, image)
    assert boxes.tolist() == [[0, 0, 8, 4], [0, 4, 8, 8], [0, 8, 8, 12], [0, 0, 8, 8], [0, 0, 8, 12]]
    assert grouped(np.zeros((3, 4), int), np.zeros((3, 4, 1))).tolist() == [[0, 0, 3, 4]]


def test_images_of_any_form_have_regions():
    assert selective_search(np.zeros((1, 1, 3), np.uint8)).tolist() == [[0, 0, 1, 1]]
    assert len(selective_search(np.zeros((5, 40, 1), np.uint8))) == 1
    np.testing.assert_allclose(reduced(np.arange(5.0).reshape(5, 1, 1), 2).ravel(), [0.5, 2.5, 4])


@pytest.mark.curriculum("L8")
def test_boxes_are_exact_where_the_reduced_image_does_not_fit():
    image = np.full((133, 133, 3), 40, np.uint8)
    image[80:130, 80:130] = 220
    boxes = selective_search(image, side=32, smallest=4, sigma=0.0) * 133
    assert np.abs(boxes - [80, 80, 130, 130]).max(1).min() < 1e-3

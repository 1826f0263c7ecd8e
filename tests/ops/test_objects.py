"""Objects from maps: components, the watershed, mean shift, the discriminative loss, and the merge of instances."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from cvdl_jax.ops import mean_shift, panoptic
from cvdl_jax.ops.images import watershed
from cvdl_jax.ops.losses import embedding

RNG = np.random.default_rng(0)
TERMS = ("variance", "distance", "regularisation")


@pytest.mark.curriculum("M18")
def test_components_are_those_of_scipy():
    run = jax.jit(partial(watershed.components, most=200))
    for density in (0.3, 0.55, 0.7):
        mask = RNG.random((20, 31)) < density
        ours, left = run(mask)
        theirs, n = ndimage.label(mask)
        pairs = set(zip(np.asarray(ours).reshape(-1).tolist(), theirs.reshape(-1).tolist(), strict=True))
        assert len(pairs) == n + 1 and (0, 0) in pairs and left == 0  # one number of ours for one of theirs
    spiral = np.array([[1, 1, 1, 1, 1], [0, 0, 0, 0, 1], [1, 1, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]], bool)
    assert np.array_equal(run(np.pad(spiral, ((9, 6), (13, 13))))[0][9:14, 13:18], spiral)
    parts = np.array([[1, 0, 1, 1, 0, 1, 1, 1]], bool)
    ids, left = watershed.components(parts, most=1, least=2)
    assert ids.tolist() == [[0, 0, 1, 1, 0, 0, 0, 0]] and left == 1  # the single pixel is no object, the third too many


@pytest.mark.curriculum("M18")
def test_the_watershed_reaches_every_pixel_on_the_lowest_way():
    """Oracle: the height of the lowest way from every marker, by relaxation; a pixel's marker is one of the lowest."""
    flood = jax.jit(partial(watershed.watershed, levels=8))
    for _ in range(4):
        relief, inside = RNG.random((12, 15)), RNG.random((12, 15)) < 0.9
        markers = np.zeros((12, 15), int)
        for k, (y, x) in enumerate(((1, 2), (9, 12), (6, 5)), 1):
            markers[y, x], inside[y, x] = k, True
        ours, height = np.asarray(flood(markers, relief, inside)), np.floor(relief * 8)
        ways = []
        for k in (1, 2, 3):
            way = np.where(markers == k, -1.0, np.inf)
            for _ in range(200):
                p = np.pad(way, 1, constant_values=np.inf)
                best = np.minimum.reduce([p[:-2, 1:-1], p[2:, 1:-1], p[1:-1, :-2], p[1:-1, 2:]])
                way = np.minimum(way, np.where(inside & (markers == 0), np.maximum(best, height), np.inf))
            ways.append(way)
        lowest = np.min(ways, 0)
        assert np.array_equal(ours > 0, np.isfinite(lowest))
        for k in (1, 2, 3):
            assert (np.array(ways[k - 1])[ours == k] == lowest[ours == k]).all()
    ridge = np.array([[0.0, 0.1, 0.2, 0.9, 0.3, 0.1]])
    marked = np.array([[1, 0, 0, 0, 0, 2]])
    assert np.asarray(flood(marked, ridge, ridge < 2)).tolist() == [[1, 1, 1, 2, 2, 2]]


def test_borders_are_pixels_beside_others_and_not_the_image_s_own():
    ids = np.array([[1, 1, 2, 2, 2, 2, 0, 0], [1, 1, 2, 2, 2, 2, 0, 0]])[None]
    assert watershed.borders(jnp.asarray(ids)).tolist() == [[[0, 1, 1, 0, 0, 1, 0, 0]] * 2]


@pytest.mark.curriculum("M18")
def test_mean_shift_finds_separate_clusters_and_says_what_is_left():
    centres = np.array([[0, 0], [4, 0], [0, 4], [5, 5]])
    label = np.repeat(np.arange(4), [12, 8, 6, 2])
    points = (centres[label] + RNG.uniform(-0.5, 0.5, (28, 2))).astype(np.float32)
    inside, scores = np.ones(28, bool), np.linspace(1, 0, 28).astype(np.float32)
    inside[0] = False
    cluster = jax.jit(mean_shift.mean_shift, static_argnames=("most", "steps", "least"))
    numbers, left = cluster(points, scores, inside, 1.5, most=6, steps=4, least=3)
    assert left == 0 and numbers.tolist() == [0] + [1] * 11 + [2] * 8 + [3] * 6 + [0] * 2  # two points are too few
    numbers, left = cluster(points, scores, inside, 1.5, most=2, steps=4, least=3)
    assert left == 8 and numbers.tolist()[20:] == [0] * 8
    ways = np.array([[0.0], [1.0], [2.0], [3.0], [9.0]], np.float32)  # a seed at the rim moves inwards
    numbers, _ = cluster(ways, np.array([1.0, 0, 0, 0, 0], np.float32), np.ones(5, bool), 1.6, most=3, steps=4, least=1)
    assert numbers.tolist() == [1, 1, 1, 2, 3]  # from 0 over 0.5 to 1
    nothing, left = cluster(points, scores, np.zeros(28, bool), 1.5, most=2, steps=4, least=3)
    assert not nothing.any() and left == 0


def by_loops(x, ids, pull, push, gamma):
    """The three terms of one image, as the paper writes them."""
    there = [k for k in np.unique(ids) if k]
    mean = {k: x[ids == k].mean(0) for k in there}
    c = max(len(there), 1)
    variance = sum(np.mean([max(np.linalg.norm(mean[k] - v) - pull, 0) ** 2 for v in x[ids == k]]) for k in there) / c
    pairs = [max(2 * push - np.linalg.norm(mean[a] - mean[b]), 0) ** 2 for a in there for b in there if a != b]
    return variance, sum(pairs) / max(c * (c - 1), 1), gamma * sum(np.linalg.norm(m) for m in mean.values()) / c


@pytest.mark.curriculum("M18")
def test_the_discriminative_loss_is_that_of_loops():
    x = RNG.normal(0, 1.5, (3, 5, 6, 4)).astype(np.float32)
    ids = RNG.integers(0, 5, (3, 5, 6))
    ids[1] = np.where(ids[1] == 3, 0, ids[1])  # a number that the image has not
    ids[2] = np.where(ids[2] > 0, 2, 0)  # a single object
    loss = jax.jit(partial(embedding.discriminative, most=6, pull=0.7, push=1.2, regularisation=0.01))
    parts = loss(x, ids)
    for i in range(3):
        expected = by_loops(x[i], ids[i], 0.7, 1.2, 0.01)
        np.testing.assert_allclose([float(parts[name][i]) for name in TERMS], expected, rtol=1e-5, atol=1e-6)
    gradient = jax.grad(lambda v: sum(p.sum() for p in loss(v, ids).values()))
    assert np.isfinite(gradient(jnp.zeros((3, 5, 6, 4)))).all()  # where all means are the same
    assert not any(p.any() for p in loss(x, np.zeros_like(ids)).values())


@pytest.mark.curriculum("M19")
def test_instances_are_merged_by_score_and_stuff_fills_the_rest():
    masks = np.zeros((4, 3, 8), bool)
    masks[0, :, :4] = masks[1, :, 1:5] = masks[2, :, 3:8] = masks[3, :, 6:8] = True
    scores, real = np.array([0.5, 0.9, 0.6, 0.95]), np.array([1, 1, 1, 0])
    ids, kept = jax.jit(partial(panoptic.merge_instances, least_share=0.5))(masks, scores, real)
    # 1 takes columns 1 to 4; 2 keeps 5, 6, 7 of its five columns; 0 has one of its four left, and is dropped
    assert kept.tolist() == [False, True, True, False]
    assert ids[0].tolist() == [0, 2, 2, 2, 2, 3, 3, 3]
    low = panoptic.merge_instances(masks, scores, real, 0.2, least_score=0.6)
    assert low[1].tolist() == [False, True, True, False]
    again = panoptic.merge_instances(masks, scores, real, 0.2)
    assert again[0][0].tolist() == [1, 2, 2, 2, 2, 3, 3, 3]
    semantic = np.array([[0, 0, 0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]])
    stuff = jnp.asarray([True, False, True])
    segments, classes = panoptic.with_stuff(ids, jnp.asarray([1, 1, 1, 1]), semantic, stuff)
    assert segments[:, 0].tolist() == [5, 7, 0] and segments[0, 1:].tolist() == ids[0, 1:].tolist()
    assert classes.tolist() == [1, 1, 1, 1, 0, 1, 2]
    few, _ = panoptic.with_stuff(ids, jnp.asarray([1, 1, 1, 1]), semantic, stuff, least_pixels=2)
    assert few[:, 0].tolist() == [0, 0, 0]

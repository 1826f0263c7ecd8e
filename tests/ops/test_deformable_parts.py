"""Distance transforms against every pair of places, and parts that are found where they moved to."""

import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.data import scenes
from cvdl_jax.ops.images.hog import hog
from cvdl_jax.ops.textbook.deformable_parts import Part, detect, distance_transform, lower_envelope, response

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("X11")
def test_the_lower_envelope_is_the_minimum_over_all_places():
    p, q = np.mgrid[:23, :23]
    for trial in range(60):
        f, a, b = RNG.normal(size=23) * 10.0 ** RNG.integers(-2, 3), 10 ** RNG.uniform(-3, 1), RNG.normal()
        f[RNG.random(23) < 0.3 * (trial % 3)] = np.inf
        costs = f[None] + a * (q - p) ** 2 + b * (q - p)
        values, where = lower_envelope(f, a, b)
        np.testing.assert_allclose(values, costs.min(1), atol=1e-9)
        np.testing.assert_allclose(costs[np.arange(23), where], values, atol=1e-9)
    assert np.isinf(lower_envelope(np.full(4, np.inf), 1.0)[0]).all()
    assert lower_envelope([3.0], 1.0)[0].tolist() == [3.0] and lower_envelope([0, 0, 0], 1.0)[1].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="must be above 0, got 0"):
        lower_envelope([0.0], 0)


@pytest.mark.curriculum("X11")
def test_a_map_is_transformed_by_both_axes():
    f, a, b = RNG.normal(size=(5, 7)), (0.3, 0.05), (0.2, -0.4)
    values, where = distance_transform(f, a, b)
    y, x = np.mgrid[:5, :7]
    for place in np.ndindex(5, 7):
        dy, dx = y - place[0], x - place[1]
        costs = f + a[0] * dy**2 + a[1] * dx**2 + b[0] * dy + b[1] * dx
        np.testing.assert_allclose(values[place], costs.min(), atol=1e-9)
        assert tuple(where[place]) == np.unravel_index(costs.argmin(), costs.shape)


@pytest.mark.curriculum("X11")
def test_scores_are_the_best_of_all_placements():
    features, root = RNG.normal(size=(6, 7, 2)), RNG.normal(size=(2, 3, 2))
    parts = [
        Part(RNG.normal(size=(1, 2, 2)), (1, 1), (0.2, 0.4), (0.1, -0.1)),
        Part(RNG.normal(size=(2, 2, 2)), (0, 4)),
        Part(RNG.normal(size=(2, 2, 2)), (1, -1)),  # whose anchor lies beyond the map of some roots, but no part
    ]
    got = detect(features, root, parts)
    base, maps = response(features, root), [response(features, part.weights) for part in parts]
    np.testing.assert_allclose(base[1, 2], (features[1:3, 2:5] * root).sum())
    for place in np.ndindex(base.shape):
        best = base[place]
        for i, (part, m) in enumerate(zip(parts, maps, strict=True)):
            home = np.add(place, part.anchor)
            y, x = np.mgrid[: m.shape[0], : m.shape[1]]
            d = y - home[0], x - home[1]
            values = m - sum(part.quadratic[k] * d[k] ** 2 + part.linear[k] * d[k] for k in (0, 1))
            best += values.max()
            assert tuple(got.places[(i, *place)]) == np.unravel_index(values.argmax(), values.shape)
        np.testing.assert_allclose(got.scores[place], best)
    np.testing.assert_array_equal(detect(features, root).scores, base)


def figure_of(move):
    """Blocks of an image with a ring, and below it a bar that moved: [rows, columns, 36] of cells of four pixels."""
    y, x = np.mgrid[:64, :64]
    image = np.full((64, 64), 0.3)
    image[scenes.inside("ring", 2 * x - 64, 2 * y - 48, 20, (1, 0, 1))] = 0.9
    image[scenes.inside("bar", 2 * x - 64 - 2 * move[1], 2 * y - 88 - 2 * move[0], 20, (1, 0, 1))] = 0.9
    return np.asarray(hog(jnp.asarray(image[None, ..., None], jnp.float32), 4)[0], np.float64)


@pytest.mark.curriculum("X11", "L28")
def test_a_part_that_moved_is_found_at_its_price():
    """A bar four pixels down and eight to the right is one and two cells away from its anchor."""
    still, moved = figure_of((0, 0)), figure_of((4, 8))
    root, bar = still[3:9, 5:11], still[9:13, 5:11]
    root, bar = root - root.mean(), bar - bar.mean()
    part = Part(bar, (6, 0), (0.1, 0.2))
    rigid = Part(bar, (6, 0), (1e6, 1e6))
    before, after, stiff = detect(still, root, [part]), detect(moved, root, [part]), detect(moved, root, [rigid])
    assert np.unravel_index(before.scores.argmax(), before.scores.shape) == (3, 5)
    assert np.unravel_index(after.scores.argmax(), after.scores.shape) == (3, 5)
    assert before.places[0, 3, 5].tolist() == [9, 5] and after.places[0, 3, 5].tolist() == [10, 7]
    paid = after.root[3, 5] + response(moved, bar)[10, 7] - 0.1 * 1 - 0.2 * 4
    np.testing.assert_allclose(after.scores[3, 5], paid)
    assert after.scores[3, 5] > stiff.scores[3, 5] + 1

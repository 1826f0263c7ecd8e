"""Landmarks of faces: heat by the formula, rotations as SciPy's, ways between poses; blending as a sparse solver's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from scipy.spatial.transform import Rotation

from cvdl_jax.data import portraits
from cvdl_jax.data.scenes import Words
from cvdl_jax.ops import blending, landmarks

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("R17")
def test_heat_is_a_gaussian_about_each_point():
    points = jnp.asarray([[[2.5, 1.5], [0.0, 3.0]], [[4.5, 0.5], [20.0, 2.0]]])
    maps = landmarks.heat_maps(points, 4, 6, sigma=1.5)
    assert maps.shape == (2, 4, 6, 2)
    for b, k, i, j in np.ndindex(2, 2, 4, 6):
        far = (j + 0.5 - points[b, k, 0]) ** 2 + (i + 0.5 - points[b, k, 1]) ** 2
        assert maps[b, i, j, k] == pytest.approx(float(np.exp(-far / 4.5)), rel=1e-5, abs=1e-12)
    assert np.unravel_index(int(maps[0, ..., 0].argmax()), (4, 6)) == (1, 2)  # row y, column x


@pytest.mark.curriculum("R17")
def test_landmarks_turn_and_move_to_the_pose_of_the_target():
    """One person in two views of one size and expression: at the end of the way are the target's own landmarks."""
    who = portraits.person(Words(70, 1))
    views = [portraits.view(Words(71, i))._replace(expression=0, scale=370) for i in (3, 4)]
    source, target = (jnp.asarray(portraits.landmarks(who, seen, 64), jnp.float32) for seen in views)
    angles = [jnp.asarray([seen.pitch, seen.yaw, seen.roll], jnp.float32) for seen in views]
    np.testing.assert_allclose(
        landmarks.rotation(angles[0]), Rotation.from_euler("xyz", angles[0], degrees=True).as_matrix(), atol=1e-6
    )
    way = landmarks.between(source, angles[0], target, angles[1], 4)
    assert way.shape == (4, 70, 3)
    np.testing.assert_allclose(way[-1], target, atol=0.02)
    np.testing.assert_allclose(way.mean(1)[1], (source.mean(0) + target.mean(0)) / 2, atol=1e-4)  # half way
    half = Rotation.from_euler("xyz", (angles[0] + angles[1]) / 2, degrees=True).as_matrix()
    own = np.asarray(source - source.mean(0, keepdims=True)) @ portraits.rotation(views[0])
    np.testing.assert_allclose(way[1] - way[1].mean(0, keepdims=True), own @ half.T, atol=0.02)
    pairs = (source, target), angles, (target, source), angles[::-1]
    both = landmarks.between(*(jnp.stack(pair) for pair in pairs), 2)
    np.testing.assert_allclose(both[1, -1], source, atol=0.02)
    np.testing.assert_array_equal(landmarks.project(source), source[:, :2])


@pytest.mark.curriculum("R18")
def test_blending_equals_a_sparse_solver():
    """Two images with masks of any form, one at the edge of the image; float64 oracles, channel by channel."""
    h, w = 7, 9
    source, target = RNG.uniform(size=(2, 2, h, w, 3)).astype(np.float32)
    mask = np.zeros((2, h, w, 1), bool)
    mask[0, 2:5, 1:6], mask[0, 4, 6], mask[1, :4, 3:] = True, True, True
    blended = jax.jit(blending.poisson)(source, target, mask)
    for b in range(2):
        inside = np.argwhere(mask[b, ..., 0])
        number = {tuple(p): i for i, p in enumerate(inside)}
        matrix, right = scipy.sparse.lil_matrix((len(inside), len(inside))), np.zeros((len(inside), 3))
        for (y, x), i in number.items():
            for q in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if not (0 <= q[0] < h and 0 <= q[1] < w):
                    continue
                matrix[i, i] += 1
                right[i] += np.float64(source[b, y, x]) - source[b, q[0], q[1]]
                if q in number:
                    matrix[i, number[q]] -= 1
                else:
                    right[i] += target[b, q[0], q[1]]
        expected = np.float64(target[b])
        expected[mask[b, ..., 0]] = scipy.sparse.linalg.spsolve(matrix.tocsc(), right)
        np.testing.assert_allclose(blended[b], expected, atol=2e-5)


@pytest.mark.curriculum("R18")
def test_blending_takes_over_the_light_and_keeps_what_is_drawn():
    """A source that is darker by a constant leaves no trace of it; one that is the target, and no mask, none at all."""
    target = RNG.uniform(size=(1, 8, 8, 3)).astype(np.float32)
    mask = np.zeros((1, 8, 8, 1), np.float32)
    mask[0, 2:6, 3:7] = 1
    solve = jax.jit(blending.poisson)
    np.testing.assert_allclose(solve(target - 0.3, target, mask), target, atol=1e-5)
    np.testing.assert_array_equal(solve(target - 0.3, target, 0 * mask), target)
    np.testing.assert_array_equal(solve(target - 0.3, target, 0 * mask + 1), target - np.float32(0.3))  # no border

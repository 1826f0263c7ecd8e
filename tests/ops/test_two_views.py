"""Two views: exact without noise, by hand, worse with noise, and right although a third of the pairs are wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops import two_views

K = np.asarray([[400.0, 0, 160], [0, 420, 120], [0, 0, 1]], np.float32)


def scene(n=40, seed=0):
    """(points, R, t, both cameras, where they see the points)."""
    rng = np.random.default_rng(seed)
    points = rng.uniform((-2, -2, 4), (2, 2, 8), (n, 3))
    r = Rotation.from_euler("xyz", [0.05, -0.2, 0.1]).as_matrix()
    t = np.asarray([-0.8, 0.1, 0.2]) / np.linalg.norm([-0.8, 0.1, 0.2])
    cameras = [K @ np.eye(3, 4), K @ np.concatenate([r, t[:, None]], 1)]
    seen = [(x := np.concatenate([points, np.ones((n, 1))], 1) @ p.T)[:, :2] / x[:, 2:] for p in cameras]
    return points, r, t, [jnp.asarray(p, jnp.float32) for p in cameras], [jnp.asarray(x, jnp.float32) for x in seen]


@pytest.mark.curriculum("X3")
def test_triangulation_by_hand():
    """Cameras at x = 0 and x = 1 with f = 1 see (1, 2, 4) at (1/4, 1/2) and (0, 1/2)."""
    first, second = jnp.eye(3, 4), jnp.eye(3, 4).at[0, 3].set(-1.0)
    got = two_views.triangulate(first, second, jnp.asarray([[0.25, 0.5]]), jnp.asarray([[0.0, 0.5]]))
    np.testing.assert_allclose(got, [[1, 2, 4]], rtol=1e-5)
    np.testing.assert_allclose(two_views.project(second, got), [[0, 0.5]], atol=1e-6)


@pytest.mark.curriculum("X3")
def test_without_noise_everything_comes_back():
    points, r, t, (p1, p2), (x1, x2) = scene()
    np.testing.assert_allclose(two_views.triangulate(p1, p2, x1, x2), points, rtol=2e-3)
    f = two_views.fundamental(x1, x2)
    assert jnp.linalg.svd(f)[1][2] < 1e-6 * jnp.linalg.svd(f)[1][0]
    assert jnp.sqrt(two_views.sampson_distances(f, x1, x2)).max() < 0.02
    e = two_views.essential(f, K, K)
    cross = np.cross(np.eye(3), t)  # rows e_i x t; [t]_x is its transpose, up to sign
    truth = -cross @ r if np.allclose(-cross @ [1, 0, 0], np.cross(t, [1, 0, 0])) else cross @ r
    truth = truth / np.linalg.norm(truth) * 2**0.5
    assert min(abs(np.asarray(e) - truth).max(), abs(np.asarray(e) + truth).max()) < 5e-3
    inverse = np.linalg.inv(K)
    y1, y2 = (two_views.homogeneous(x) @ inverse.T for x in (x1, x2))
    got_r, got_t = two_views.relative_pose(e, y1[:, :2], y2[:, :2])
    np.testing.assert_allclose(got_r, r, atol=5e-3)
    np.testing.assert_allclose(got_t, t, atol=2e-2)
    assert float(jnp.linalg.det(got_r)) == pytest.approx(1, abs=1e-4)
    lost = two_views.relative_pose(e, y1[:, :2], y2[:, :2], jnp.zeros(40))  # nothing that tells the four apart
    assert jnp.isnan(lost[0]).all() and jnp.isnan(lost[1]).all()


@pytest.mark.curriculum("X3")
@pytest.mark.parametrize("n", [8, 9, 60])
def test_the_null_vector_keeps_the_digits_of_the_points(n):
    """Of flat scenes the equations are nearly of rank 7, whose squares float32 does not hold: no degree is lost."""
    rng = np.random.default_rng(n)
    points = rng.uniform((-2, -2, 5), (2, 2, 5.1 if n > 9 else 8), (n, 3))
    r, t = Rotation.from_euler("xyz", [0.15, 0, 0]).as_matrix(), np.asarray([-0.9, 0.1, 0.4])
    k = np.diag([500.0, 500, 1])
    x1, x2 = ((y := p @ k.T)[:, :2] / y[:, 2:] for p in (points, points @ r.T + t))
    f = np.asarray(two_views.fundamental(jnp.asarray(x1, jnp.float32), jnp.asarray(x2, jnp.float32)), np.float64)
    u = np.linalg.svd(k.T @ f @ k)[0]
    angle = np.degrees(np.arccos(min(abs(u[:, 2] @ t) / np.linalg.norm(t), 1.0)))
    assert angle < 0.3


def test_a_camera_sees_nothing_behind_it():
    seen = two_views.project(jnp.eye(3, 4), jnp.asarray([[1.0, 1, 2], [1, 1, -2], [1, 1, 0]]))
    np.testing.assert_array_equal(seen, [[0.5, 0.5], [np.nan] * 2, [np.nan] * 2])


@pytest.mark.curriculum("X3")
def test_normalised_points_have_the_mean_0_and_the_distance_of_the_square_root_of_2():
    x = scene()[4][0]
    moved = (two_views.homogeneous(x) @ two_views.normaliser(x).T)[:, :2]
    np.testing.assert_allclose(moved.mean(0), [0, 0], atol=1e-5)
    assert float(jnp.linalg.norm(moved, axis=1).mean()) == pytest.approx(2**0.5, rel=1e-5)
    some = jnp.arange(40) < 10
    np.testing.assert_allclose(two_views.normaliser(x, some), two_views.normaliser(x[:10]), rtol=1e-4, atol=1e-5)


@pytest.mark.curriculum("X3")
def test_weights_leave_pairs_out():
    _, _, _, _, (x1, x2) = scene()
    wrong = x2.at[30:].add(50.0)
    some = two_views.fundamental(x1, wrong, (jnp.arange(40) < 30).astype(jnp.float32))
    want = two_views.fundamental(x1[:30], x2[:30])
    np.testing.assert_allclose(some * jnp.sign(some[2, 2]), want * jnp.sign(want[2, 2]), atol=1e-4)


@pytest.mark.curriculum("X3")
def test_the_pose_is_that_of_four_with_points_before_both_cameras():
    """Wherever the second camera stands and however the essential matrix is signed."""
    pose = jax.jit(two_views.relative_pose)
    rng = np.random.default_rng(2)
    for i in range(8):
        r, t = Rotation.from_euler("xyz", rng.uniform(-0.2, 0.2, 3)).as_matrix(), rng.normal(size=3)
        t = t / np.linalg.norm(t)
        points = rng.uniform((-2, -2, 4), (2, 2, 8), (20, 3))
        other = points @ r.T + t
        e = (-1) ** i * np.cross(np.eye(3), t).T @ r  # [t]_x R up to its sign
        np.testing.assert_allclose([x2 @ e @ x1 for x1, x2 in zip(points, other, strict=True)], 0, atol=1e-9)
        x1, x2 = (jnp.asarray(x[:, :2] / x[:, 2:], jnp.float32) for x in (points, other))
        got_r, got_t = pose(jnp.asarray(e, jnp.float32), x1, x2)
        np.testing.assert_allclose(got_r, r, atol=1e-3)
        np.testing.assert_allclose(got_t, t, atol=1e-3)


@pytest.mark.curriculum("X3")
def test_sampson_by_hand_and_the_threshold_in_pixels(monkeypatch):
    """A camera beside the first sees points in the same row: y1 - y2 = 0, of gradient 1 in both views."""
    f = jnp.asarray([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    got = two_views.sampson_distances(f, jnp.asarray([[5.0, 1], [0, 2]]), jnp.asarray([[3.0, 3], [7, 2]]))
    np.testing.assert_allclose(got, [2**2 / 2, 0])
    f = f.at[1, 2].set(-2.0)  # y1 = 2 y2
    np.testing.assert_allclose(two_views.sampson_distances(f, jnp.ones((1, 2)), jnp.ones((1, 2))), [1 / 5])
    rows = 0.5 * jnp.arange(12.0)
    pairs = jnp.zeros((12, 2)), jnp.stack([jnp.zeros(12), rows], 1)  # rows / sqrt(2) pixels away from the first model
    monkeypatch.setattr(two_views, "fundamental", lambda *args: f.at[1, 2].set(-1.0))
    agree = two_views.ransac(jax.random.key(0), *pairs, threshold=3.0, samples=1)[1]
    np.testing.assert_array_equal(agree, rows < 3 * 2**0.5)


@pytest.mark.curriculum("X3")
def test_ransac_finds_the_pairs_that_are_right():
    _, _, _, _, (x1, x2) = scene(60)
    rng = np.random.default_rng(1)
    wrong = np.arange(60) < 20
    x2 = jnp.where(wrong[:, None], jnp.asarray(rng.uniform(0, 300, (60, 2)), jnp.float32), x2)
    run = jax.jit(lambda key: two_views.ransac(key, x1, x2))
    f, agree = run(jax.random.key(0))
    assert agree[20:].all() and agree[:20].sum() <= 3
    assert jnp.sqrt(two_views.sampson_distances(f, x1, x2))[20:].max() < 1
    np.testing.assert_array_equal(run(jax.random.key(0))[0], f)
    f, agree = jax.jit(lambda key: two_views.ransac(key, x1, 0 * x2, samples=2))(jax.random.key(0))
    assert agree.sum() < 8 and jnp.isnan(f).all()  # of points that are all one nothing follows
    plain = two_views.fundamental(x1, x2)
    assert jnp.sqrt(two_views.sampson_distances(plain, x1, x2))[20:].mean() > 3


def test_eight_pairs_are_needed():
    with pytest.raises(ConfigError, match="n >= 8"):
        two_views.fundamental(jnp.zeros((7, 2)), jnp.zeros((7, 2)))

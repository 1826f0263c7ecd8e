"""Depth scenes: the same bytes everywhere, distances by hand, two cameras that agree, maps that move with images."""

import zlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.core.task import State
from cvdl_jax.data.augment import policy
from cvdl_jax.data.builders import depth_scenes as drawn
from cvdl_jax.data.load import load
from cvdl_jax.data.scenes import Words
from cvdl_jax.errors import ConfigError

GOLDEN = 2626364847
LEVEL = drawn.Scene(1.5, (1, 0, 1), drawn.LIGHTS[0], (100, 100, 100), ())


def test_images_are_the_same_bytes_everywhere():
    image, depth = drawn.draw(Words(140, 3), 32, 5)
    assert image.shape == (32, 32, 3) and depth.shape == (32, 32) and depth.dtype == np.uint16
    assert zlib.crc32(image.tobytes() + depth.tobytes()) == GOLDEN


@pytest.mark.curriculum("X1")
def test_level_ground_is_as_far_as_the_height_over_the_slope():
    """Row v of a level camera sees the ground at Z = f h / (v - c); above the middle there is sky."""
    depth = drawn.render(LEVEL, 20)[1]
    assert np.isinf(depth[:10]).all()
    want = 0.9 * 20 * 1.5 / (np.arange(10, 20) + 0.5 - 10)
    np.testing.assert_allclose(depth[10:], np.repeat(want[:, None], 20, 1), rtol=1e-12)
    np.testing.assert_array_equal(drawn.stored(np.asarray([[0.5, 29.9996, 30.001, np.inf]])), [[500, 30000, 0, 0]])


@pytest.mark.curriculum("X1")
def test_depth_is_along_the_optical_axis():
    """A wall across has one depth, whatever the length of the ray; a ball's nearest point is a radius before it."""
    wall = drawn.Thing((0.0, 0.0, 5.0), (9.0, 9.0, 1.0), (1, 0, 1), (90, 90, 90))
    np.testing.assert_allclose(drawn.render(LEVEL._replace(things=(wall,)), 8)[1][:4], 4.0, rtol=1e-12)
    ball = drawn.Thing((0.0, 0.0, 3.0), (1.0,) * 3, None, (90, 90, 90))
    depth = drawn.render(LEVEL._replace(things=(ball, wall)), 9)[1]
    assert depth[4, 4] == pytest.approx(2.0, rel=1e-12) and depth[0, 0] == pytest.approx(4.0)
    x = 1 / (0.9 * 9)  # beside the middle: |t (x, 0, 1) - (0, 0, 3)| = 1
    assert depth[4, 5] == pytest.approx((3 - np.sqrt(9 - (1 + x * x) * 8)) / (1 + x * x), rel=1e-12)


@pytest.mark.curriculum("X1")
def test_a_turned_box_and_a_camera_that_looks_down():
    """Every seen point, put back into the world, lies on the ground or on a face of the box."""
    box = drawn.Thing((0.5, 1.2, 4.0), (0.6, 0.4, 0.3), (4, 3, 5), (90, 90, 90))
    scene = LEVEL._replace(height=1.6, pitch=(12, 5, 13), things=(box,))
    size, depth = 24, drawn.render(scene, 24)[1]
    seen = np.isfinite(depth)
    sky, depth = not seen[0].all(), np.where(seen, depth, 0)
    v, u = np.meshgrid(*[(np.arange(size) + 0.5 - size / 2) / (0.9 * size)] * 2, indexing="ij")
    x, y, z = depth * u, depth * (12 * v + 5) / 13, depth * (12 - 5 * v) / 13
    dx, dz = x - 0.5, z - 4.0
    local = np.stack([abs(0.8 * dx + 0.6 * dz) / 0.6, abs(y - 1.2) / 0.4, abs(0.8 * dz - 0.6 * dx) / 0.3]).max(0)
    on_box, on_ground = abs(local - 1) < 1e-9, abs(y - 1.6) < 1e-9
    assert (on_box | on_ground)[seen].all() and on_box[seen].sum() > 5 and sky


@pytest.mark.curriculum("X1", "X2")
def test_a_camera_to_the_right_sees_surfaces_moved_to_the_left():
    """A wall at 4 m, seen from 4 / (f size) further to the right, moves by exactly one pixel."""
    wall = drawn.Thing((0.0, 0.0, 5.0), (9.0, 9.0, 1.0), (1, 0, 1), (200, 90, 90))
    scene = LEVEL._replace(things=(wall,), height=50.0)
    left = drawn.render(scene, 30)[0]
    right = drawn.render(scene, 30, right=4 / (0.9 * 30))[0]
    np.testing.assert_allclose(right[:, :-1], left[:, 1:], atol=1e-9)
    assert left.std() > 10


def test_the_data_set_holds_what_was_drawn():
    data = load("depth_scenes(size=16, train=3, validation=2, test=2)", train="train", validation="validation",
                test="test")  # fmt: skip
    batch = data.splits["test"].batch(np.arange(2))
    assert batch["depth"].dtype == np.int32 and batch["depth"].shape == (2, 16, 16, 1)
    for i in range(2):
        image, depth = drawn.draw(Words(142, i), 16, 5)
        np.testing.assert_array_equal(batch["image"][i], image)
        np.testing.assert_array_equal(batch["depth"][i, ..., 0], depth)  # beyond 255, and in thousandths
    with pytest.raises(ConfigError, match=r"depth_scenes\(objects=0\) must be between 1 and 50"):
        load("depth_scenes(objects=0)", train="train")


@pytest.mark.curriculum("X1")
@pytest.mark.parametrize("operation", ["flip(probability=1.0)", "vertical_flip(probability=1.0)", "translate(0.3)"])
def test_depth_moves_with_its_image_and_is_unknown_outside(operation):
    depth = 1000 + jnp.arange(4 * 6 * 6).reshape(4, 6, 6, 1)
    batch = {"image": depth / 2000.0, "depth": depth}
    transform = policy.build(operation)
    update = jax.jit(partial(transform.update if hasattr(transform, "update") else transform, State(jnp.int32(0), {})))
    new = update(batch, jax.random.key(1))[1]
    inside = new["image"] > 0
    np.testing.assert_allclose(new["image"][inside] * 2000, new["depth"][inside], rtol=1e-6)
    assert (new["depth"][~inside] == 0).all() and (new["depth"] != depth).any()
    assert operation.endswith("(probability=1.0)") == bool(inside.all())
    if operation.startswith("flip"):
        np.testing.assert_array_equal(new["depth"], depth[:, :, ::-1])

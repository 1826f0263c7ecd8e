"""Inpainting in two stages: holes and discounts by hand, the losses, what each stage and critic sees, refusals."""

from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import distance_transform_cdt

from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import inpainting
from cvdl_jax.models.inpainting import Hole, Method, complete, cut
from cvdl_jax.ops.images import holes
from cvdl_jax.ops.losses import adversarial
from experiments import inpaint

RNG = np.random.default_rng(2)
X = RNG.uniform(size=(3, 8, 10, 3)).astype(np.float32)


class Fills(nn.Module):
    """Half of what it sees, plus a number where the mask is: what it does not see it cannot return."""

    number: float

    @nn.compact
    def __call__(self, x, train):
        scale = self.param("scale", nn.initializers.constant(0.5), ())
        return scale * x[..., :-1] + self.number * x[..., -1:], {}


class Mean(nn.Module):
    """The mean pixel, times w."""

    factor: float

    @nn.compact
    def __call__(self, x, train):
        return self.param("w", nn.initializers.constant(self.factor), ()) * x.mean((1, 2, 3))[:, None], {}


METHOD = Method(
    {"coarse": Fills(0.3), "refined": Fills(-0.2)},
    {"global": Mean(0.5), "local": Mean(2.0)},
    adversarial.wasserstein(penalty=10.0),
    Hole(4, 0.9, 2.0, 3.0, 0.5),
)
STATE = State(
    jnp.int32(0),
    {
        "generators": {name: {"scale": jnp.float32(0.5)} for name in ("coarse", "refined")},
        "critics": {"global": {"w": jnp.float32(0.5)}, "local": {"w": jnp.float32(2.0)}},
    },
)


def mean(pair):
    return float(pair[0] / pair[1])


@pytest.mark.curriculum("R27")
def test_gamma_falls_with_the_distance_to_known_pixels():
    """Against SciPy's distances, also where a side of the hole is an edge of the image; windows are the holes."""
    corners = jnp.asarray([[2, 3], [0, 0], [4, 6]])
    mask = np.asarray(holes.hole_mask(corners, 4, 8, 10))
    gamma = holes.discounts(corners, 4, 8, 10, 0.9)
    for i, (y, x) in enumerate(np.asarray(corners)):
        inside = np.zeros((8, 10))
        inside[y : y + 4, x : x + 4] = 1
        np.testing.assert_array_equal(mask[i, ..., 0], inside)
        far = distance_transform_cdt(inside, "taxicab")  # of a rectangle the nearest known pixel is straight ahead
        np.testing.assert_allclose(gamma[i, ..., 0], 0.9**far, rtol=1e-5)
        np.testing.assert_array_equal(holes.window(X, corners, 4)[i], X[i, y : y + 4, x : x + 4])
    assert gamma[0, 3, 4, 0] == pytest.approx(0.9**2) and gamma[0, 2, 3, 0] == pytest.approx(0.9)


def test_holes_are_drawn_for_each_row_everywhere_in_the_image():
    where = jax.jit(lambda x, key: cut(METHOD, x, key).corners)
    corners = np.asarray(where(np.zeros((400, 8, 10, 1), np.float32), jax.random.key(0)))
    assert {*corners[:, 0]} == set(range(5)) and {*corners[:, 1]} == set(range(7))
    np.testing.assert_array_equal(where(np.zeros((400, 8, 10, 1), np.float32), jax.random.key(0)), corners)


@pytest.mark.curriculum("R27")
def test_the_second_stage_sees_the_hole_as_the_first_filled_it():
    x, key = 2 * X - 1, jax.random.key(5)
    mask = np.asarray(cut(METHOD, x, key).mask)
    coarse, refined = complete(METHOD, STATE.params, x, mask, True)
    first = 0.5 * (1 - mask) * x + 0.3 * mask
    np.testing.assert_allclose(coarse, first, atol=1e-6)
    np.testing.assert_allclose(refined, 0.5 * ((1 - mask) * x + mask * first) - 0.2 * mask, atol=1e-6)


@pytest.mark.curriculum("R27")
def test_the_losses_are_those_of_both_stages_and_both_critics():
    x, key = 2 * np.float64(X) - 1, jax.random.key(5)
    batch = {"image": X}
    _, sums = inpaint.generator_loss(METHOD, 1, STATE, batch, key)
    hole = cut(METHOD, 2 * X - 1, key)
    mask, gamma = np.float64(hole.mask), np.float64(hole.gamma)
    coarse = 0.5 * (1 - mask) * x + 0.3 * mask
    refined = 0.5 * ((1 - mask) * x + mask * coarse) - 0.2 * mask
    assert mean(sums["coarse"]) == pytest.approx(2 * abs(gamma * (coarse - x)).mean(), rel=1e-5)
    assert mean(sums["refined"]) == pytest.approx(3 * abs(gamma * (refined - x)).mean(), rel=1e-5)
    whole = mask * refined + (1 - mask) * x
    windows = [w[r : r + 4, c : c + 4] for w, (r, c) in zip(whole, np.asarray(hole.corners), strict=True)]
    assert mean(sums["global"]) == pytest.approx(-0.5 * 0.5 * whole.mean(), rel=1e-4)
    assert mean(sums["local"]) == pytest.approx(-0.5 * 2 * np.mean(windows), rel=1e-4)
    # the critics: their own hole; a linear critic has the slope w / n at each number, of which those of the hole count
    _, sums = inpaint.critic_loss(METHOD, STATE, batch, key)
    hole = cut(METHOD, 2 * X - 1, jax.random.split(key)[0])
    mask = np.float64(hole.mask)
    coarse = 0.5 * (1 - mask) * x + 0.3 * mask
    made = mask * (0.5 * coarse - 0.2) + (1 - mask) * x
    assert mean(sums["global"]) == pytest.approx(0.5 * (made.mean() - x.mean()), rel=1e-4)
    inside = [
        (m - t)[r : r + 4, c : c + 4].mean() for m, t, (r, c) in zip(made, x, np.asarray(hole.corners), strict=True)
    ]
    assert mean(sums["local"]) == pytest.approx(2 * np.mean(inside), rel=1e-4)
    for name, w, n in (("global", 0.5, 240), ("local", 2.0, 48)):
        slope = w / n * np.sqrt(4 * 4 * 3)  # Yu et al. 2018, equation 5
        assert mean(sums[f"{name}_penalty"]) == pytest.approx(10 * (slope - 1) ** 2, rel=1e-4)


def test_the_stages_descend_on_the_first_part_of_the_batch():
    """As many images as the critics see at each of their steps: b / n rows, whose holes are drawn for them alone."""
    key = jax.random.key(5)
    _, sums = inpaint.generator_loss(METHOD, 3, STATE, {"image": X}, key)
    _, alone = inpaint.generator_loss(METHOD, 1, STATE, {"image": X[:1]}, key)
    assert sums["loss"][1] == 1 and float(sums["loss"][0]) == pytest.approx(float(alone["loss"][0]), rel=1e-6)


def test_the_loss_of_critics_does_not_reach_the_stages():
    def value(generators):
        state = STATE._replace(params={**STATE.params, "generators": generators})
        return inpaint.critic_loss(METHOD, state, {"image": X}, jax.random.key(0))[1]["loss"][0]

    assert all(float(g) == 0 for g in jax.tree.leaves(jax.grad(value)(STATE.params["generators"])))


@pytest.mark.curriculum("R27")
def test_errors_are_counted_inside_of_holes_of_real_rows():
    key = jax.random.key(1)
    values = inpaint.evaluation_step(METHOD, STATE, {"image": X, "mask": jnp.asarray([1.0, 1, 0])}, key)
    mask = np.asarray(cut(METHOD, 2 * X - 1, key).mask)[..., 0] > 0
    expected = [abs((0.3 + 1) / 2 - X[i][mask[i]]).mean() for i in range(2)]
    assert mean(values["coarse_l1"]) == pytest.approx(np.mean(expected), rel=1e-5)
    colours = [abs(X[i][~mask[i]].mean(0) - X[i][mask[i]]).mean() for i in range(2)]
    assert mean(values["mean_colour_l1"]) == pytest.approx(np.mean(colours), rel=1e-5)
    # the averaged stages are those that count
    present = {**STATE.params, "generators": jax.tree.map(lambda p: p + 1, STATE.params["generators"])}
    averaged = STATE._replace(params=present, extra={"ema": STATE.params["generators"]})
    again = inpaint.evaluation_step(METHOD, averaged, {"image": X, "mask": jnp.asarray([1.0, 1, 0])}, key)
    assert mean(again["refined_l1"]) == mean(values["refined_l1"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hole": {"side": 16}}, "config.hole.side=16 leaves nothing of images of 16x16"),
        ({"hole": {"decay": 1.5}}, "config.hole.decay=1.5"),
        ({"model": {"coarse": {}}}, "expected the sections coarse, refined, global, local"),
        ({"loss": {"name": "non_saturating", "r1": 1.0}}, "has no clipping and no r1"),
    ],
)
def test_mistakes_are_named(change, words):
    config = configs.load("configs/generate/inpainting.py:smoke")
    for name, value in change.items():
        config[name] = value
    with pytest.raises(ConfigError, match=words):
        inpainting.make_method(config, SimpleNamespace(spec={"image": np.zeros((4, 16, 16, 3))}))

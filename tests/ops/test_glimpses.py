"""Glimpses against crops in NumPy; REINFORCE against the exact gradient of an expected reward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.ops.images.glimpses import corners, glimpses
from cvdl_jax.ops.losses.reinforce import baseline_error, normal_log_p, reinforce


def numpy_glimpses(image, place, size, scales):
    """Pixel by pixel: windows about the centre, black beyond the image, means of squares."""
    h, w, c = image.shape
    out = np.zeros((scales, size, size, c))
    for i in range(scales):
        side = size * 2**i
        top, left = (int(np.round((p + 1) / 2 * extent - side / 2)) for p, extent in zip(place, (h, w), strict=True))
        for y in range(side):
            for x in range(side):
                if 0 <= top + y < h and 0 <= left + x < w:
                    out[i, y // 2**i, x // 2**i] += image[top + y, left + x] / 4**i
    return out


@pytest.mark.curriculum("J29")
def test_glimpses_are_crops_that_become_coarser():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(5, 11, 14, 2)).astype(np.float32)
    places = np.asarray([[0.03, 0.02], [-1, -1], [1, 1], [0.51, -0.73], [-0.2, 0.9]], np.float32)
    ours = jax.jit(glimpses, static_argnums=(2, 3))(images, places, 3, 3)
    assert ours.shape == (5, 3, 3, 3, 2)
    for row in range(5):
        np.testing.assert_allclose(ours[row], numpy_glimpses(images[row], places[row], 3, 3), atol=1e-6)
    beyond = jax.jit(glimpses, static_argnums=(2, 3))(images, 3 * jnp.sign(places), 3, 1)
    edge = jax.jit(glimpses, static_argnums=(2, 3))(images, jnp.sign(places), 3, 1)
    np.testing.assert_array_equal(beyond, edge)


@pytest.mark.curriculum("J29")
def test_a_window_by_hand():
    """A window of 2 about the centre of 4x4 pixels begins at (1, 1); the next one is the whole image in means of 4."""
    image = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(corners(jnp.zeros((1, 2)), (4, 4), 2), [[1, 1]])
    seen = glimpses(image, jnp.zeros((1, 2)), 2, 2)[0, ..., 0]
    np.testing.assert_array_equal(seen, [[[5, 6], [9, 10]], [[2.5, 4.5], [10.5, 12.5]]])
    with jax.enable_x64(True):
        wide = glimpses(jnp.arange(16.0).reshape(1, 4, 4, 1), jnp.zeros((1, 2)), 2, 2)
    assert wide.dtype == jnp.float64 and np.array_equal(wide[0, ..., 0], seen)
    with pytest.raises(ConfigError, match="size=0 at scales=2 must be at least 1"):
        glimpses(image, jnp.zeros((1, 2)), 0, 2)


@pytest.mark.curriculum("J29")
def test_the_mean_of_reinforce_is_the_gradient_of_the_expected_reward():
    """Two choices of three options each: the sum over all nine outcomes by their chances, whatever the baseline."""
    rng = np.random.default_rng(1)
    theta, rewards = jnp.asarray(rng.normal(size=(2, 3))), jnp.asarray(rng.normal(size=(3, 3)))
    outcomes = jnp.asarray([(a, b) for a in range(3) for b in range(3)])  # [9, 2]

    def log_p(theta):
        table = jax.nn.log_softmax(theta)
        return jnp.stack([table[0, outcomes[:, 0]], table[1, outcomes[:, 1]]], 1)  # [9, 2]

    expected = jax.grad(lambda theta: -(jnp.exp(log_p(theta).sum(1)) * rewards.reshape(-1)).sum())(theta)
    chances = jnp.exp(log_p(theta).sum(1))
    for b in (0.0, 0.7):
        baseline = b * jnp.ones((9, 2))
        mean = jax.grad(lambda theta, v=baseline: (chances * reinforce(log_p(theta), rewards.reshape(-1), v)).sum())
        np.testing.assert_allclose(mean(theta), expected, atol=1e-6)
    assert not np.allclose(expected, 0)


@pytest.mark.curriculum("J29")
def test_places_that_are_drawn_estimate_the_gradient_of_hitting():
    """R = 1 right of 0, l ~ N(m, s): d E[R] / dm is the density at 0. The mean reward as baseline lessens the noise."""
    m, s, n = 0.3, 0.5, 40_000
    x = m + s * jax.random.normal(jax.random.key(0), (n, 1))
    reward = (x[:, 0] > 0).astype(jnp.float32)
    exact = np.exp(-((m / s) ** 2) / 2) / (s * np.sqrt(2 * np.pi))
    spread = {}

    def estimates(b):
        def one(mean):
            return -reinforce(normal_log_p(x, mean.reshape(1, 1), s)[:, None], reward, jnp.full((n, 1), b))

        return jax.jacfwd(one)(jnp.asarray(m))

    for b in (0.0, float(reward.mean())):
        drawn = estimates(b)
        spread[b] = float(drawn.std())
        assert abs(float(drawn.mean()) - exact) < 5 * spread[b] / n**0.5
    assert spread[float(reward.mean())] < 0.8 * spread[0.0]


@pytest.mark.curriculum("J29")
def test_the_baseline_learns_the_reward_and_nothing_else_does():
    reward, baseline = jnp.asarray([1.0, 0.0]), jnp.asarray([[0.5, 0.25], [0.5, 1.0]])
    np.testing.assert_allclose(baseline_error(reward, baseline), [0.25 + 0.5625, 0.25 + 1])
    of_reward, of_baseline = jax.grad(lambda *a: baseline_error(*a).sum(), (0, 1))(reward, baseline)
    np.testing.assert_allclose(of_baseline, [[-1, -1.5], [1, 2]])
    log_p = jnp.asarray([[-1.0, -2.0], [-3.0, -4.0]])
    np.testing.assert_allclose(reinforce(log_p, reward, baseline), [0.5 * 1 + 0.75 * 2, -0.5 * 3 - 4])
    grads = jax.grad(lambda *a: reinforce(*a).sum(), (0, 1, 2))(log_p, reward, baseline)
    np.testing.assert_allclose(grads[0], [[-0.5, -0.75], [0.5, 1]])
    assert not np.any(grads[1]) and not np.any(grads[2]) and not np.any(of_reward)
    assert float(normal_log_p(jnp.asarray([[0.5, 0.0]]), jnp.zeros((1, 2)), 0.5)[0]) == pytest.approx(
        -0.5 - 2 * np.log(0.5 * np.sqrt(2 * np.pi))
    )


@pytest.fixture(scope="module")
def ram():
    model = registry.create({"name": "ram_tiny"}, "config.model", kinds=("multimodal",), num_classes=4)
    x = jax.random.uniform(jax.random.key(0), (3, 16, 16, 1))
    params = jax.jit(model.init, static_argnums=2)(jax.random.key(1), x, False)
    params = jax.tree.map(lambda p: p + 0.3 * jax.random.normal(jax.random.key(p.size), p.shape), params)
    run = jax.jit(lambda x, key: model.apply(params, x, True, rngs={"dropout": key}))
    return model, params, x, run, jax.jit(lambda x: model.apply(params, x, False))


@pytest.mark.curriculum("J29")
def test_places_are_drawn_in_training_and_means_in_evaluation(ram):
    """A row draws from its own key; the first place is the centre; what was drawn has the density that is said."""
    model, _, x, run, still = ram
    logits, out = run(x, jax.random.key(2))
    assert logits.shape == (3, 4) and out["places"].shape == (3, 3, 2) and out["log_p"].shape == (3, 2)
    assert not np.any(out["places"][:, 0])
    np.testing.assert_allclose(run(x[:1], jax.random.key(2))[1]["places"], out["places"][:1], atol=1e-6)
    assert np.abs(run(x, jax.random.key(3))[1]["places"] - out["places"])[:, 1:].min() > 1e-4
    quiet = still(x)[1]["places"]
    np.testing.assert_array_equal(still(x)[1]["places"], quiet)
    mean = quiet[:, 1]  # after the first glimpse both have the same state
    z = (out["places"][:, 1] - mean) / model.deviation
    density = -(z**2).sum(1) / 2 - 2 * np.log(model.deviation * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(out["log_p"][:, 0], density, rtol=1e-4, atol=1e-4)
    assert 0.1 < np.abs(z).mean() < 3


@pytest.mark.curriculum("J29")
def test_gradients_go_where_the_paper_sends_them(ram):
    """The class trains all but the place and the baseline; the choice trains the place alone; the baseline itself."""
    model, params, x, _, _ = ram
    losses = {
        "class": lambda logits, out: logits[:, 0].sum(),
        "choice": lambda logits, out: out["log_p"].sum(),
        "baseline": lambda logits, out: out["baseline"].sum(),
    }

    @jax.jit
    def grads(params):
        def run(of):
            return jax.grad(lambda p: of(*model.apply(p, x, True, rngs={"dropout": jax.random.key(0)})))(params)

        return {name: run(of)["params"] for name, of in losses.items()}

    reached = {
        name: {layer for layer, g in tree.items() if any(np.any(v) for v in jax.tree.leaves(g))}
        for name, tree in grads(params).items()
    }
    assert reached["choice"] == {"place"} and reached["baseline"] == {"baseline"}
    assert reached["class"] == set(params["params"]) - {"place", "baseline"}

"""Dropout in both conventions, of channels and of connections, and as an ensemble of sub-networks."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.monte_carlo_dropout import all_masks, monte_carlo_dropout
from cvdl_jax.core.parallel import PMAP_AXIS
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.dropout import ChannelDropout, DropConnect, Dropout, dense, dropout, rate_of

KEY = jax.random.key(0)
CLASSIC = partial(Dropout, convention="classic")


@partial(jax.jit, static_argnums=(0, 3))
def drop(layer, x, key=KEY, train=True):
    return layer.apply({}, x, train, rngs={"dropout": key})


# Conventions ------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("F4", "F5", "F6")
@pytest.mark.parametrize("keep_prob", [0.8, 0.5])
def test_both_conventions_step_by_step(keep_prob):
    """D = rand < keep_prob; A = A * D; the inverted convention divides by keep_prob, in training and only there."""
    a = np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)
    rate = rate_of(keep_prob)
    classic, inverted = drop(CLASSIC(rate), a), drop(Dropout(rate), a)
    d = np.asarray(classic != 0)
    assert abs(d.mean() - keep_prob) < 5 * np.sqrt(rate * keep_prob / d.size)
    np.testing.assert_array_equal(classic, a * d)
    np.testing.assert_allclose(inverted, a * d / keep_prob, rtol=1e-6)  # of the same mask
    np.testing.assert_allclose(drop(CLASSIC(rate), a, train=False), a * np.float32(keep_prob), rtol=1e-6)
    np.testing.assert_array_equal(drop(Dropout(rate), a, train=False), a)
    for convention, y in (("inverted", inverted), ("classic", classic)):  # ER42: one argument for either probability
        np.testing.assert_array_equal(drop(Dropout(keep_prob=keep_prob, convention=convention), a), y)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "got rate=None and keep_prob=None"),
        ({"rate": 0.2, "keep_prob": 0.8}, "a rate, the probability of dropping, or a keep_prob, that of keeping"),
        ({"keep_prob": 0.0}, r"keep_prob=0.0 is the probability of keeping .* \(0, 1\]"),
    ],
)
def test_a_layer_takes_one_of_both_probabilities(given, message):
    with pytest.raises(ConfigError, match=message):
        drop(Dropout(**given), jnp.ones((2, 3)))


@pytest.mark.curriculum("F6")
@pytest.mark.parametrize("make", [Dropout, CLASSIC, ChannelDropout])
def test_the_mean_in_training_is_the_output_in_evaluation(make):
    x = np.float32([[1.0, -2.0, 0.5, 3.0]])
    layer, rows = make(0.3), np.repeat(x, 20_000, 0)
    outputs = np.asarray(drop(layer, rows))
    error = outputs.std(0) / np.sqrt(len(outputs))
    assert (abs(outputs.mean(0) - np.asarray(drop(layer, x, train=False))[0]) < 5 * error).all()


@pytest.mark.curriculum("F6")
def test_the_conventions_are_one_network_whose_next_weights_are_scaled():
    """Classic dropout before weights W computes what inverted dropout before (1 - rate) W does."""
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(6, 5)).astype(np.float32), rng.normal(size=(5, 3)).astype(np.float32)
    for train in (True, False):
        classic, inverted = (drop(make(0.4), x, train=train) for make in (CLASSIC, Dropout))
        np.testing.assert_allclose(classic @ w, inverted @ (0.6 * w), rtol=1e-5, atol=1e-6)


@pytest.mark.curriculum("F4")
@pytest.mark.parametrize("make", [Dropout, CLASSIC, ChannelDropout, partial(DropConnect, 2)])
def test_a_rate_is_a_probability_of_dropping_below_one(make):
    x = jnp.ones((2, 3))
    for rate in (1.0, -0.1):
        with pytest.raises(ConfigError, match=rf"dropout={rate} is the probability of dropping .* \[0, 1\)"):
            make(rate=rate).init(KEY, x, False)
    with pytest.raises(ConfigError, match=r"keep_prob=0.0 is the probability of keeping .* \(0, 1\]"):
        rate_of(0.0)
    with pytest.raises(ConfigError, match="convention='clasic' is not known; did you mean 'classic'"):
        Dropout(0.5, "clasic").apply({}, x, False)


# Channels and connections -----------------------------------------------------------------------------------------


@pytest.mark.curriculum("F7")
def test_channel_dropout_drops_whole_maps_each_by_itself():
    x = np.random.default_rng(0).uniform(1, 2, size=(200, 3, 4, 30)).astype(np.float32)
    y = np.asarray(drop(ChannelDropout(0.3), x))
    kept = (y != 0).any((1, 2))  # [b, c]
    np.testing.assert_allclose(y, x * kept[:, None, None] / 0.7, rtol=1e-5)
    for axis, n in ((0, 200), (1, 30)):  # channels of an example, and examples of a channel, are independent
        np.testing.assert_allclose(kept.mean(axis).std(), np.sqrt(0.3 * 0.7 / n), rtol=0.3)
    assert abs(kept.mean() - 0.7) < 5 * np.sqrt(0.3 * 0.7 / kept.size)
    np.testing.assert_array_equal(drop(ChannelDropout(0.3), x, train=False), x)


@partial(jax.jit, static_argnums=(0, 3))
def connect(layer, variables, x, train, key=KEY):
    return layer.apply(variables, x, train, rngs={"dropout": key})


@pytest.mark.curriculum("F7")
def test_drop_connect_drops_weights_of_each_example_by_itself():
    """Weights and inputs of one show each mask; the layer in evaluation is the dense one."""
    layer = DropConnect(6, rate=0.25)
    ones = {"params": {"kernel": jnp.ones((4, 6)), "bias": jnp.full(6, 0.5)}}
    single = jnp.eye(4)[jnp.arange(4000) % 4]  # row i sees the weights of input i % 4
    kept = (np.asarray(connect(layer, ones, single, True)) - 0.5) * 0.75  # the bias is never dropped
    np.testing.assert_allclose(kept, np.round(kept), atol=1e-5)
    assert set(np.round(kept).ravel()) == {0, 1}
    assert abs(kept.mean() - 0.75) < 5 * np.sqrt(0.25 * 0.75 / kept.size)
    assert len(np.unique(np.round(kept[::4]), axis=0)) > 30  # of 64 masks of six weights
    variables = layer.init(KEY, single[:1], False)
    dense = nn.Dense(6)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, dense.init(KEY, single[:1]))
    np.testing.assert_allclose(
        connect(layer, variables, single[:4], False), dense.apply(variables, single[:4]), rtol=1e-6
    )


@pytest.mark.curriculum("F7", "F6")
def test_drop_connect_has_the_dense_layer_as_its_mean():
    variables = {"params": {"kernel": jnp.float32([[1.0, -1], [2, 0.5], [-0.5, 3]]), "bias": jnp.float32([1.0, -1])}}
    x, layer = jnp.float32([[1.0, -2, 0.5]]), DropConnect(2, rate=0.5)
    outputs = np.asarray(connect(layer, variables, jnp.repeat(x, 20_000, 0), True))
    error = outputs.std(0) / np.sqrt(len(outputs))
    assert (abs(outputs.mean(0) - np.asarray(connect(layer, variables, x, False))[0]) < 5 * error).all()
    assert len(np.unique(outputs[:, 0].round(3))) == 2**3  # every subset of the three weights


@pytest.mark.curriculum("F7")
@pytest.mark.parametrize("layer", [ChannelDropout(0.4), DropConnect(5, rate=0.4)])
def test_masks_of_a_row_depend_on_its_global_index_only(layer):
    x, key = jnp.asarray(np.random.default_rng(0).normal(size=(8, 6)), jnp.float32), jax.random.key(3)
    variables = layer.init(KEY, x, False)
    whole = connect(layer, variables, x, True, key)
    mapped = jax.jit(jax.vmap(lambda part: connect(layer, variables, part, True, key), axis_name=PMAP_AXIS))
    np.testing.assert_allclose(mapped(x.reshape(4, 2, 6)).reshape(8, -1), whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(connect(layer, variables, x[:3], True, key), whole[:3], rtol=1e-5, atol=1e-6)
    half = layer.clone(**({"dtype": jnp.bfloat16} if isinstance(layer, DropConnect) else {}))
    shape = jax.eval_shape(lambda: connect(half, variables, x.astype(jnp.bfloat16), True, key))
    assert shape.dtype == jnp.bfloat16


# The ensemble -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    """One hidden layer of eight ReLU units with dropout on it, for x [2, 3] and three classes, in float64."""
    rng = np.random.default_rng(2)
    x, w1, b1 = rng.normal(size=(2, 3)), rng.normal(size=(3, 8)), rng.normal(size=8)
    w2, b2 = rng.normal(size=(8, 3)), rng.normal(size=3)
    return np.maximum(x @ w1 + b1, 0), w2, b2


@pytest.mark.curriculum("F38")
@pytest.mark.parametrize("rate", [0.5, 0.2])
def test_the_mean_over_all_masks_of_a_linear_layer_is_its_rescaled_output(network, rate):
    """Exactly, for either convention: 256 sub-networks, each as likely as its mask."""
    h, w, b = network
    masks, probabilities = all_masks(8, rate)
    assert masks.shape == (256, 8) and len(np.unique(masks, axis=0)) == 256
    np.testing.assert_allclose(probabilities.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(probabilities @ masks, np.full(8, 1 - rate), rtol=1e-12)
    logits = (h[None] * masks[:, None]) @ w + b  # [masks, rows, classes]
    mean = np.einsum("m,mbc->bc", probabilities, logits)
    np.testing.assert_allclose(mean, (1 - rate) * h @ w + b, rtol=1e-12)
    inverted = np.einsum("m,mbc->bc", probabilities, logits - b) / (1 - rate) + b
    np.testing.assert_allclose(inverted, h @ w + b, rtol=1e-12)


def softmax(s):
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.curriculum("F38")
def test_of_softmax_outputs_the_geometric_mean_is_the_rescaled_network(network):
    """Exactly the geometric mean over sub-networks, normalised, and the arithmetic one only nearly."""
    h, w, b = network
    masks, probabilities = all_masks(8, 0.5)
    probs = softmax((h[None] * masks[:, None] / 0.5) @ w + b)
    rescaled = softmax(h @ w + b)
    geometric = np.exp(np.einsum("m,mbc->bc", probabilities, np.log(probs)))
    np.testing.assert_allclose(geometric / geometric.sum(1, keepdims=True), rescaled, rtol=1e-10)
    arithmetic = np.einsum("m,mbc->bc", probabilities, probs)
    assert 0.01 < abs(arithmetic - rescaled).max() < 0.4


@pytest.mark.curriculum("F38")
def test_random_masks_approach_the_mean_over_all_of_them(network):
    """The mean over n drawn masks is off by its standard error, which falls as 1 / sqrt(n); so for the variance."""
    h, w, b = (jnp.asarray(a, jnp.float32) for a in network)
    layer = Dropout(0.5)

    def predict(key):
        return jax.nn.softmax(layer.apply({}, h, True, rngs={"dropout": key}) @ w + b[None])

    masks, probabilities = all_masks(8, 0.5)
    probs = softmax((np.asarray(h)[None] * masks[:, None] / 0.5) @ np.asarray(w) + np.asarray(b))
    exact = np.einsum("m,mbc->bc", probabilities, probs)
    variance = np.einsum("m,mbc->bc", probabilities, (probs - exact) ** 2)
    estimate = jax.jit(monte_carlo_dropout, static_argnums=(0, 2))
    errors = {}
    for n in (16, 4096):
        mean, spread = estimate(predict, KEY, n)
        assert (abs(mean - exact) < 5 * np.sqrt(variance / n)).all()
        errors[n] = float(np.sqrt(np.mean((mean - exact) ** 2)))
    assert errors[4096] < errors[16] / 4
    np.testing.assert_allclose(spread, variance, rtol=0.15)


@pytest.mark.curriculum("F38")
def test_mean_and_variance_of_a_few_masks_by_numpy():
    draw = lambda key: 1000 + jax.random.normal(key, (3,))  # noqa: E731
    values = np.stack([draw(k) for k in jax.random.split(KEY, 5)]).astype(np.float64)
    mean, variance = monte_carlo_dropout(draw, KEY, 5)
    np.testing.assert_allclose(mean, values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(variance, values.var(0), rtol=1e-2)
    np.testing.assert_array_equal(monte_carlo_dropout(draw, KEY, 1)[1], np.zeros(3))


def test_impossible_ensembles_are_refused():
    for call, words in (
        (lambda: monte_carlo_dropout(lambda key: jnp.ones(2), KEY, 0), "n=0 must be at least 1"),
        (lambda: all_masks(17, 0.5), r"units=17 must be in \[1, 16\]"),
        (lambda: all_masks(3, 1.0), r"rate=1.0 is the probability of dropping and must lie in \[0, 1\)"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.curriculum("F7")
@pytest.mark.parametrize("kind", ["inverted", "classic", "channels", "connections"])
def test_the_kinds_of_a_config_share_their_parameters(kind):
    """A perceptron of any kind has the parameters of the plain one; each is random in training, none in evaluation."""

    class Perceptron(nn.Module):
        kind: str

        @nn.compact
        def __call__(self, x, train):
            x = nn.relu(dense(self.kind, 0.5, 16, name="dense0")(x, train))
            return nn.Dense(2, name="head")(dropout(self.kind, 0.5)(x, train))

    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)), jnp.float32)
    shapes = jax.eval_shape(lambda: Perceptron(kind).init(KEY, x, False))
    assert shapes == jax.eval_shape(lambda: Perceptron("inverted").init(KEY, x, False))
    variables = jax.tree.map(lambda s: jnp.linspace(-1, 1, s.size).reshape(s.shape), shapes)

    @jax.jit
    def outputs(variables):
        apply = partial(Perceptron(kind).apply, variables, x, rngs={"dropout": KEY})
        return apply(False), apply(True), Perceptron("inverted").apply(variables, x, False)

    evaluated, trained, plain = outputs(variables)
    assert not np.allclose(trained, evaluated)
    assert np.allclose(plain, evaluated) == (kind != "classic")


def test_an_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match=r"config\.model\.dropout_kind='connection' is not known"):
        dropout("connection", 0.5)

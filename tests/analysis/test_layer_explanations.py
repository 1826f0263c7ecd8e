"""Rules for ReLUs, activation maps, relevance and differences, on networks small enough to know the answer."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.explain import attention, cam, gradients, layers, relu_rules
from cvdl_jax.analysis.explain.differences import deeplift
from cvdl_jax.analysis.explain.relevance import lrp
from cvdl_jax.analysis.logits import Logits
from cvdl_jax.core.task import State
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.nn.activations import relu6
from cvdl_jax.nn.apply import apply_eval, initialise

RNG = np.random.default_rng(0)


class Net(nn.Module):
    """Convolution, ReLU, pooling, a residual sum, global average and a dense layer."""

    bias: bool = True

    @nn.compact
    def __call__(self, x):
        y = nn.Conv(4, (3, 3), use_bias=self.bias, name="conv0")(x)
        y = nn.max_pool(nn.relu(y), (2, 2), (2, 2))
        y = Block(self.bias, name="block")(y)
        return nn.Dense(3, use_bias=self.bias, name="head")(y.mean((1, 2)))


class Block(nn.Module):
    """A residual block."""

    bias: bool

    @nn.compact
    def __call__(self, x):
        return nn.relu(x + nn.Conv(4, (3, 3), use_bias=self.bias, name="conv")(x))


def made(bias=True, seed=0):
    net, x = Net(bias), jax.random.uniform(jax.random.key(seed), (3, 8, 8, 2))
    params = net.init(jax.random.key(1), x)["params"]
    if bias:
        params = jax.tree.map(
            lambda w: w + 0.05 * jnp.sign(jnp.sin(13.0 * jnp.arange(w.size).reshape(w.shape))), params
        )
    return Logits(lambda x: net.apply({"params": params}, x)), params, x


F, PARAMS, X = made()
LABEL = np.array([0, 2, 1])


def dense_net(x):
    """Two layers with both signs everywhere."""
    w, v = DENSE
    return jax.nn.relu(x @ jnp.asarray(w)) @ jnp.asarray(v)


DENSE = RNG.normal(size=(4, 5)).astype(np.float32), RNG.normal(size=(5, 3)).astype(np.float32)


@pytest.mark.curriculum("O11", "O12")
@pytest.mark.parametrize("rule", ["plain", "deconvnet", "guided"])
@pytest.mark.parametrize("relu", [jax.nn.relu, lambda z: jnp.maximum(0.0, z), lambda z: jnp.where(z > 0, z, 0), relu6])
def test_the_three_rules_by_hand(rule, relu):
    x = RNG.normal(size=(6, 4)).astype(np.float32)
    w, v = DENSE
    z, g = x @ w, np.broadcast_to(v[:, 1], (6, 5))
    mask = {"plain": z > 0, "deconvnet": g > 0, "guided": (z > 0) & (g > 0)}[rule]
    mask = mask & (z < 6) if relu is relu6 else mask
    f = relu_rules.with_rule(jax.jit(lambda x: relu(x @ jnp.asarray(w)) @ jnp.asarray(v)), rule)
    np.testing.assert_allclose(gradients.gradient(f, x, 1), (g * mask) @ w.T, atol=1e-5)
    np.testing.assert_allclose(f(x), np.minimum(np.maximum(z, 0), 6 if relu is relu6 else 99) @ v, atol=1e-5)


@pytest.mark.curriculum("O11", "O12")
def test_the_plain_rule_of_a_network_is_its_gradient_and_the_others_are_not():
    plain = gradients.gradient(F, X, LABEL)
    np.testing.assert_allclose(gradients.gradient(relu_rules.with_rule(F, "plain"), X, LABEL), plain, atol=1e-6)
    guided, back = relu_rules.guided_backpropagation(F, X, LABEL), relu_rules.deconvnet(F, X, LABEL)
    assert float(jnp.abs(guided - plain).max()) > 1e-3 and float(jnp.abs(guided - back).max()) > 1e-3
    with pytest.raises(ConfigError, match="the guided rule is one for ReLUs, and this function has none"):
        relu_rules.guided_backpropagation(lambda x: jnp.tanh(x), np.ones((1, 3), np.float32))


@pytest.mark.curriculum("O10")
def test_the_gradient_of_one_neuron():
    """Of the first convolution it is its kernel, at its place; under a rule, ReLUs behind the neuron do not matter."""
    kernel = np.asarray(PARAMS["conv0"]["kernel"])
    g = np.asarray(relu_rules.neuron_gradient(F, X, "conv0", (3, 4, 2)))
    np.testing.assert_allclose(g[1, 2:5, 3:6], kernel[..., 2], atol=1e-6)
    assert np.count_nonzero(g[1]) == kernel[..., 2].size
    pair = (lambda x: jnp.tanh(x), lambda a: a.sum((1, 2)))
    g = np.asarray(relu_rules.neuron_gradient(lambda x: pair[1](pair[0](x)), X, pair, (1, 2, 0)))
    assert g[0, 1, 2, 0] == pytest.approx(1 - np.tanh(float(X[0, 1, 2, 0])) ** 2, rel=1e-5)
    guided = relu_rules.neuron_gradient(F, X, "block", (1, 1, 0), rule="guided")
    assert float(guided.min()) < 0 < float(jnp.abs(guided - relu_rules.neuron_gradient(F, X, "block", (1, 1, 0))).max())
    with pytest.raises(
        ConfigError, match=r"neuron=\(9, 0, 0\) is not one of the layer 'conv0', which gives \[8, 8, 4\]"
    ):
        relu_rules.neuron_gradient(F, X, "conv0", (9, 0, 0))
    of_unit = relu_rules.neuron_gradient(F, X, "head", 2)
    np.testing.assert_allclose(of_unit, gradients.gradient(F, X, 2), atol=1e-6)
    with pytest.raises(ConfigError, match="layer='conv1' does not exist; did you mean 'conv0'"):
        relu_rules.neuron_gradient(F, X, "conv1", (0, 0, 0))


@pytest.mark.curriculum("O13")
def test_class_activation_maps_are_those_of_the_weights():
    a = layers.features(F, X, "block")  # [3, 4, 4, 4]
    w, b = np.asarray(PARAMS["head"]["kernel"]), np.asarray(PARAMS["head"]["bias"])
    maps = np.einsum("bhwk,kb->bhw", a, w[:, LABEL])
    np.testing.assert_allclose(cam.cam(F, X, LABEL)[..., 0], jax.image.resize(maps, (3, 8, 8), "bilinear"), atol=1e-5)
    scores = np.asarray(F(X))[range(3), LABEL]
    np.testing.assert_allclose(maps.mean((1, 2)), scores - b[LABEL], atol=1e-5)
    with pytest.raises(
        ConfigError, match="layer='conv0' is not followed by global average pooling and one dense layer"
    ):
        cam.cam(F, X, LABEL, "conv0")


@pytest.mark.curriculum("O13")
@pytest.mark.parametrize(
    "after", [jax.nn.standardize, nn.relu, lambda x: x / jnp.linalg.norm(x, axis=1, keepdims=True)]
)
def test_class_activation_maps_need_a_score_that_is_affine_in_the_maps(after):
    """Its gradient is the same at every pixel, and yet the mean of the map is not the score less a bias."""
    w = RNG.normal(size=(2, 3)).astype(np.float32)
    pair = (lambda x: x - 0.4, lambda a: after(a.mean((1, 2))) @ w)
    with pytest.raises(ConfigError, match="is not followed by global average pooling and one dense layer"):
        cam.cam(lambda x: pair[1](pair[0](x)), X, LABEL, pair)
    still = (pair[0], lambda a: (2 * a.mean((1, 2)) - 1) @ w)  # as batch normalisation in evaluation
    maps = cam.cam(lambda x: still[1](still[0](x)), X, LABEL, still)
    np.testing.assert_allclose(maps[..., 0], np.einsum("bhwk,kb->bhw", 2 * (X - 0.4), w[:, LABEL]), atol=1e-5)


@pytest.mark.parametrize("layer", [["conv0"], 3, ("conv0", "head"), (jnp.sin,)])
def test_a_layer_that_is_neither_a_name_nor_a_pair_of_functions(layer):
    with pytest.raises(ConfigError, match=r"give the name of a module, or \(features, head\), a pair of functions"):
        cam.gradcam(F, X, LABEL, layer)


@pytest.mark.curriculum("O14")
def test_gradcam_by_the_formula_and_as_cam_where_there_is_one():
    maps = cam.cam(F, X, LABEL) / 16  # its weights are sums over the 4 x 4 places, those of Grad-CAM means
    np.testing.assert_allclose(cam.gradcam(F, X, LABEL, positive=False), maps, atol=1e-6)
    kernel, bias = (jnp.asarray(PARAMS["conv0"][k]) for k in ("kernel", "bias"))
    head = nn.Conv(4, (3, 3))

    def rest(a):
        y = nn.max_pool(nn.relu(a), (2, 2), (2, 2))
        z = y + head.apply({"params": PARAMS["block"]["conv"]}, y)
        return nn.relu(z).mean((1, 2)) @ PARAMS["head"]["kernel"] + PARAMS["head"]["bias"][None]

    a = nn.Conv(4, (3, 3)).apply({"params": {"kernel": kernel, "bias": bias}}, X)
    slope = jax.grad(lambda a: rest(a)[jnp.arange(3), LABEL].sum())(a)
    expected = np.maximum((slope.mean((1, 2), keepdims=True) * a).sum(-1), 0)
    got = cam.gradcam(F, X, LABEL, "conv0")
    assert got.shape == (3, 8, 8, 1)
    np.testing.assert_allclose(got[..., 0], expected, atol=1e-6)
    features = lambda x: nn.Conv(4, (3, 3)).apply({"params": {"kernel": kernel, "bias": bias}}, x)  # noqa: E731
    np.testing.assert_allclose(cam.gradcam(lambda x: rest(features(x)), X, LABEL, (features, rest)), got, atol=1e-6)
    # Grad-CAM++ by its equations
    g, total = np.asarray(slope), np.asarray(a).sum((1, 2), keepdims=True)
    below = 2 * g**2 + total * g**3
    alpha = np.divide(g**2, below, out=np.zeros_like(g), where=below != 0)
    weights = (alpha * np.maximum(g, 0)).sum((1, 2), keepdims=True)
    plus = np.maximum((weights * np.asarray(a)).sum(-1), 0)
    np.testing.assert_allclose(cam.gradcam_plus_plus(F, X, LABEL, "conv0")[..., 0], plus, rtol=1e-3, atol=1e-5)


@pytest.mark.curriculum("O15")
def test_guided_gradcam_is_the_product():
    got = cam.guided_gradcam(F, X, LABEL, "conv0")
    sharp, where = relu_rules.guided_backpropagation(F, X, LABEL), cam.gradcam(F, X, LABEL, "conv0")
    np.testing.assert_allclose(got, np.asarray(sharp) * np.asarray(where), rtol=1e-5)


def test_a_function_without_maps_says_what_to_use():
    with pytest.raises(
        ConfigError, match=r"none of its layers gives maps; use attention_rollout \(--method rollout\) where it"
    ):
        cam.gradcam(lambda x: x.mean((1, 2)), X)
    with pytest.raises(ConfigError, match="runs no Flax model that can be seen; give layer=\\(features, head\\)"):
        cam.gradcam(lambda x: x.mean((1, 2)), X, layer="conv0")
    with pytest.raises(ConfigError, match=r"layer='head' gives \[1, 3\], not one map"):
        cam.gradcam(F, X, layer="head")


@pytest.mark.curriculum("O18", "O16")
def test_relevance_is_conserved_without_biases():
    """Sums over the input are the score under every rule that keeps nothing; epsilon 0 is gradient x input."""
    f, _, x = made(bias=False)
    scores = np.asarray(f(x))[range(3), LABEL]
    for more in ({"rule": "gamma"}, {"rule": "alpha_beta"}, {"epsilon": 0.0}):
        total = np.asarray(lrp(f, x, LABEL, **more)).sum((1, 2, 3))
        np.testing.assert_allclose(total, scores, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(lrp(F, X, LABEL, epsilon=0.0), gradients.gradient_x_input(F, X, LABEL), atol=1e-5)
    damped = np.abs(np.asarray(lrp(f, x, LABEL, epsilon=1.0)).sum((1, 2, 3)))
    assert (damped < np.abs(scores)).all()


@pytest.mark.curriculum("O18")
@pytest.mark.parametrize("activation", [nn.relu6, lambda x: jnp.clip(x, -0.3, 0.4), jnp.tanh, nn.leaky_relu])
def test_relevance_goes_through_activations_that_are_bounded(activation):
    """A unit at its bound has no derivative, and its relevance is handed on all the same."""
    x, (w, v) = 6 * RNG.normal(size=(5, 4)).astype(np.float32), (jnp.asarray(m) for m in DENSE)
    f = lambda x: activation(x @ w) @ v  # noqa: E731
    assert float(jnp.abs(jax.vmap(jax.grad(lambda z: activation(z)))((x @ w).reshape(-1)) < 0.05).mean()) > 0.05
    for rule in ({"epsilon": 0.0}, {"rule": "gamma"}):
        total = np.asarray(lrp(f, x, 1, **rule)).sum(1)
        np.testing.assert_allclose(total, f(x)[:, 1], rtol=2e-3, atol=1e-4)


NO_RELU = (nn.softplus, nn.hard_swish, nn.elu, nn.leaky_relu, jax.nn.mish, lambda x: jnp.clip(x, 0, 1))


@pytest.mark.curriculum("O11")
@pytest.mark.parametrize("activation", NO_RELU)
def test_an_activation_that_is_computed_with_a_maximum_is_no_relu(activation):
    w, v = (jnp.asarray(m) for m in DENSE)
    x = RNG.normal(size=(5, 4)).astype(np.float32)
    with pytest.raises(ConfigError, match="the guided rule is one for ReLUs, and this function has none"):
        relu_rules.guided_backpropagation(lambda x: activation(x @ w) @ v, x, 1)
    both = lambda x: activation(nn.relu(x @ w)) @ v  # noqa: E731
    slope = jax.grad(lambda a: (activation(a) @ v)[:, 1].sum())(nn.relu(x @ w))
    expected = jnp.where((x @ w > 0) & (slope > 0), slope, 0) @ w.T
    np.testing.assert_allclose(relu_rules.guided_backpropagation(both, x, 1), expected, atol=1e-5)


@pytest.mark.parametrize("activation", [nn.leaky_relu, nn.silu, nn.elu, nn.relu6, nn.softplus, nn.hard_swish])
def test_deeplift_knows_every_activation_that_is_a_call(activation):
    """`(x - x') w (f(z) - f(z')) / (z - z') v`, by hand."""
    x, (w, v) = 3 * RNG.normal(size=(5, 4)).astype(np.float32), DENSE
    z, z0 = x @ w, 0.2 * w.sum(0)[None]
    slope = (np.asarray(activation(z)) - np.asarray(activation(z0))) / (z - z0)
    got = deeplift(lambda x: activation(x @ jnp.asarray(w)) @ jnp.asarray(v), x, 1, 0.2)
    np.testing.assert_allclose(got, (x - 0.2) * ((slope * v[:, 1]) @ w.T), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("more", [{"gamma": 2.0}, {"beta": 1.0}, {"rule": "gamma", "epsilon": 0.0}])
def test_a_number_of_another_rule_is_refused(more):
    with pytest.raises(ConfigError, match=r"without effect under rule='(epsilon|gamma)'; set the rule, too"):
        lrp(dense_net, np.ones((3, 4), np.float32), LABEL, **more)


@pytest.mark.curriculum("O18")
def test_the_rules_by_hand_on_two_dense_layers():
    x = np.abs(RNG.normal(size=(3, 4))).astype(np.float32)  # not negative, so that gains are those of positive weights
    w, v = (m.astype(np.float64) for m in DENSE)
    z = x @ w
    a, s = np.maximum(z, 0), np.maximum(z, 0) @ v
    top = s[range(3), LABEL]

    def back(a, w, z, r, rule):  # r [b, k]
        parts = a[..., None] * w  # [b, j, k]
        gain, loss = np.maximum(parts, 0), np.minimum(parts, 0)
        if rule == "alpha_beta":
            share = lambda p: np.divide(p, p.sum(1, keepdims=True), out=np.zeros_like(p), where=p != 0)  # noqa: E731
            parts = 1.5 * share(gain) - 0.5 * share(loss)
        elif rule == "gamma":
            favoured = parts + 0.25 * np.where(z[:, None] >= 0, gain, loss)
            parts = favoured / np.where(z == 0, 1, favoured.sum(1))[:, None]
        else:
            size = np.sqrt((z**2).mean(1, keepdims=True))
            parts = parts / (z + 0.25 * size * np.where(z >= 0, 1, -1))[:, None]
        return (parts * r[:, None]).sum(-1)

    for rule in ("epsilon", "gamma", "alpha_beta"):
        everywhere = np.zeros_like(s)
        everywhere[range(3), LABEL] = top
        expected = back(x, w, z, back(a, v, s, everywhere, rule) * (z > 0), rule)
        got = lrp(dense_net, x, LABEL, rule, beta=0.5 if rule == "alpha_beta" else 0.0)
        np.testing.assert_allclose(got, expected, rtol=2e-3, atol=1e-4)


@pytest.mark.curriculum("O18")
def test_what_lrp_has_no_rule_for_is_said():
    with pytest.raises(ConfigError, match="lrp has no rule for 'mul' of two activations; it explains networks of conv"):
        lrp(lambda x: x * jax.nn.sigmoid(x), np.ones((1, 3), np.float32))


def test_deeplift_adds_up_to_the_difference_and_is_exact_for_one_curve():
    base = jax.random.uniform(jax.random.key(7), X.shape)
    rise = np.asarray(F(X) - F(base))[range(3), LABEL]
    np.testing.assert_allclose(deeplift(F, X, LABEL, base).sum((1, 2, 3)), rise, atol=1e-5)
    x = RNG.normal(size=(2, 4)).astype(np.float32)
    w, v = DENSE
    z, z0 = x @ w, 0.2 * w.sum(0)[None]
    slope = (np.tanh(z) - np.tanh(z0)) / (z - z0)
    got = deeplift(lambda x: jnp.tanh(x @ jnp.asarray(w)) @ jnp.asarray(v), x, 1, 0.2)
    np.testing.assert_allclose(got, (x - 0.2) * ((slope * v[:, 1]) @ w.T), atol=1e-4)


def test_layers_of_a_function():
    assert list(layers.shapes(F, X)) == ["conv0", "block/conv", "block", "head"]
    assert layers.shapes(F, X)["block"] == (3, 4, 4, 4) and layers.shapes(lambda x: x, X) == {}
    seen = layers.activations(F, X, ["block", "head"])
    np.testing.assert_allclose(seen["head"], F(X), rtol=1e-6)
    assert float(seen["block"].min()) >= 0  # behind its ReLU
    np.testing.assert_allclose(layers.reach(F, X, "block")(X), seen["block"], rtol=1e-6)
    assert layers.reach(F, X, "block")(X[:, :6, :4]).shape == (3, 3, 2, 4)  # the head is not run


def vit(**more):
    model = registry.create(
        {"name": "vit_tiny_patch4_32", "image_size": (8, 12), "depth": 2, "width": 12, "heads": 2, **more},
        "config.model", kinds=("backbones",), num_classes=3, dtype=jnp.float32,
    )  # fmt: skip
    x = jax.random.uniform(jax.random.key(0), (2, 8, 12, 3))
    params, stats = initialise(model, jax.random.key(1), x, False)
    state = State(jnp.int32(0), params, {}, {"batch_stats": stats})
    return (lambda x: apply_eval(model, state, x)), x


def test_rollout_by_hand():
    a = RNG.uniform(size=(2, 1, 3, 4, 4)).astype(np.float32)  # blocks, b, heads, t, t
    a = a / a.sum(-1, keepdims=True)
    mixed = [(block[0].mean(0) + np.eye(4)) / 2 for block in a]
    np.testing.assert_allclose(attention.rollout(list(jnp.asarray(a)))[0], mixed[1] @ mixed[0], atol=1e-6)


def test_a_vision_transformer_has_rollout_and_no_gradcam():
    f, x = vit()
    with pytest.raises(
        ConfigError, match=r"its last layers give tokens \[b, t, d\]; use attention_rollout \(--method rollout\) where"
    ):
        cam.gradcam(f, x)
    maps = np.asarray(attention.attention_rollout(f, x))
    weights = vit(attention_weights=True)[0](x)[1]["attention"]
    small = attention.rollout(weights)[:, 0, 1:].reshape(2, 2, 3)  # from the class token to 2 x 3 patches
    np.testing.assert_allclose(maps[..., 0], jax.image.resize(small, (2, 8, 12), "bilinear"), atol=1e-6)
    with pytest.raises(ConfigError, match="no attention layers that can be seen; use gradcam for convolutions"):
        attention.attention_rollout(F, X)

"""A classifier on larger images equals the classifier on each crop."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import make_model

from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.sliding import sliding
from cvdl_jax.ops.convolution import correlate

RNG = np.random.default_rng(0)


def trained(name, shape, **fields):
    """A model with random parameters, running averages that are not the first ones, and its function of images."""
    model = make_model(name, 5, **fields)
    variables = jax.jit(model.init, static_argnums=2)(jax.random.key(0), jnp.ones((1, *shape)), False)
    variables = jax.tree.map(lambda v: v + 0.1 * jnp.asarray(RNG.random(v.shape), v.dtype), variables)
    return model, variables, jax.jit(lambda x: model.apply(variables, x, False)[0])


@pytest.mark.curriculum("H24")
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("lenet5_tiny", {"norm": "batch", "dropout": 0.2}),
        ("lenet5_tiny", {"dropout_kind": "connections", "dropout": 0.5}),
        ("convnet_tiny", {"padding": "valid", "kernel": 2, "units": (6, 7)}),
        ("convnet_tiny", {"padding": "valid", "channels": (4,), "pool_stride": 3, "units": ()}),
    ],
)
def test_larger_images_give_the_scores_of_every_crop(name, fields):
    shape = (16, 19, 3) if name == "convnet_tiny" else (16, 16, 1)
    model, variables, classify = trained(name, shape, **fields)
    slide = jax.jit(sliding(model, variables, shape))
    stride = 3 if "pool_stride" in fields else 4
    x = RNG.normal(size=(2, shape[0] + stride, shape[1] + 2 * stride, shape[2])).astype(np.float32)
    scores = np.asarray(slide(x))
    assert scores.shape == (2, 2, 3, 5)
    for i in range(2):
        for j in range(3):
            crop = x[:, i * stride : i * stride + shape[0], j * stride : j * stride + shape[1]]
            np.testing.assert_allclose(scores[:, i, j], classify(crop), atol=2e-5)
    alone = x[:, : shape[0], : shape[1]]
    np.testing.assert_allclose(slide(alone)[:, 0, 0], classify(alone), atol=2e-5)


def test_a_network_that_pads_has_the_same_head_on_every_window_of_its_map():
    model, variables, _ = trained("convnet_tiny", (16, 16, 3), units=())
    x = jnp.asarray(RNG.normal(size=(1, 24, 20, 3)), jnp.float32)
    scores = jax.jit(sliding(model, variables, (16, 16, 3)))(x)
    features = make_model("convnet_tiny", 0, units=())  # without a head, for images of any size
    rest = {"params": {name: value for name, value in variables["params"].items() if name != "head"}}
    stages = jax.jit(lambda x: features.apply(rest, x, False)[1])(x)
    head = variables["params"]["head"]
    expected = correlate(stages["stages"][-1], head["kernel"].reshape(4, 4, 8, 5), head["bias"])
    assert scores.shape == (1, 3, 2, 5)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


class Squeezed(nn.Module):
    """Adaptive pooling to the map of the dense layer, and a dense layer on vectors before it."""

    normed: bool = False

    @nn.compact
    def __call__(self, x, train):
        from cvdl_jax.ops.pooling import adaptive_avg_pool

        stage = nn.Conv(3, (3, 3), padding="VALID", name="conv")(x)
        stage = stage * nn.sigmoid(nn.Dense(3, name="gate")(jnp.ones((len(x), 3))))[:, None, None]
        y = adaptive_avg_pool(stage, 4).reshape(len(x), -1)
        y = nn.Dense(2, name="head")(nn.relu(y) if self.normed else y)
        return y, {"stages": (stage,), "pre_logits": y}


def test_the_layer_on_the_map_is_found_behind_others_and_before_adaptive_pooling():
    x = jnp.asarray(RNG.normal(size=(2, 7, 6, 1)), jnp.float32)
    model = Squeezed()
    variables = model.init(jax.random.key(0), x[:, :6, :6], False)
    scores = sliding(model, variables, (6, 6, 1))(x)
    assert scores.shape == (2, 2, 1, 2)
    np.testing.assert_allclose(scores[:, 1, 0], model.apply(variables, x[:, 1:], False)[0], atol=1e-5)


@pytest.mark.parametrize("model", ["convnet_maps", "mlp_tiny", Squeezed(normed=True)], ids=str)
def test_networks_without_such_a_layer_are_refused(model):
    shape = (16, 16, 3) if model == "convnet_maps" else (6, 6, 1)
    fields = {"channels": (2, 3)} if model == "convnet_maps" else {}
    model = make_model(model, 5, **fields) if isinstance(model, str) else model
    variables = jax.jit(model.init, static_argnums=2)(jax.random.key(0), jnp.ones((1, *shape)), False)
    with pytest.raises(ConfigError, match=r"has no dense layer on a map of features \[h, w, c\], its last stage is \["):
        sliding(model, variables, shape)

"""The typical network: its pattern, its two kinds of scores, its smallest image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import make_model

from cvdl_jax.cli.describe import layers
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.ops.conv_arithmetic import conv_parameters, dense_parameters

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("H30")
def test_the_pattern_is_the_one_that_the_numbers_say():
    model = make_model("convnet_tiny", 10, channels=(4, 8), convolutions=2, units=(16, 12))
    table = layers.trace(lambda key, x: model.init(key, x, False), jax.random.key(0), jnp.ones((1, 16, 16, 3)))
    names = [row.name.split("/")[-1] for row in table]
    assert names == ["conv0", "conv1", "max_pool", "conv2", "conv3", "max_pool", "dense0", "dense1", "head"]
    assert [row.shape for row in table] == [
        (16, 16, 4), (16, 16, 4), (8, 8, 4), (8, 8, 8), (8, 8, 8), (4, 4, 8), (16,), (12,), (10,),
    ]  # fmt: skip


@pytest.mark.curriculum("H25")
def test_two_kinds_of_scores_and_their_parameters():
    rows = registry.variants()
    heads = [dense_parameters(4 * 4 * 128, 256) + dense_parameters(256, 10), conv_parameters((1, 1), 128, 10)]
    assert heads == [524_544 + 2_570, 1_290]
    assert rows["convnet"].row["params"] - heads[0] == rows["convnet_maps"].row["params"] - heads[1]
    model = make_model("convnet_maps", 5, channels=(2, 3))
    x = jnp.asarray(RNG.normal(size=(2, 8, 12, 3)), jnp.float32)
    (logits, out), variables = jax.jit(model.init_with_output, static_argnums=2)(jax.random.key(0), x, False)
    assert out["maps"].shape == (2, 2, 3, 5) and out["pre_logits"].shape == (2, 3)
    np.testing.assert_allclose(logits, out["maps"].mean((1, 2)), atol=1e-6)
    head = variables["params"]["head"]
    np.testing.assert_allclose(
        logits, np.asarray(out["pre_logits"] @ head["kernel"]) + np.asarray(head["bias"]), atol=1e-5
    )


def test_the_smallest_image_leaves_one_pixel():
    model = make_model("convnet_tiny", 3, padding="valid", kernel=3, window=3, pool_stride=2, convolutions=2)
    shape = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, False)[0][1]["stages"][-1], jnp.ones((1, 19, 19, 3))
    ).shape
    assert shape == (1, 1, 1, 8)
    with pytest.raises(ConfigError, match="convnet takes images of at least 19x19 pixels, got 18x19"):
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, False), jnp.ones((1, 18, 19, 3)))


@pytest.mark.parametrize("fields", [{"channels": ()}, {"scores": "maps"}])
def test_impossible_networks_are_refused(fields):
    model = make_model("convnet_tiny", 3, **fields)
    with pytest.raises(ConfigError, match="must name a block or more, and scores='maps' has no dense layers"):
        model.init(jax.random.key(0), jnp.ones((1, 16, 16, 3)), False)

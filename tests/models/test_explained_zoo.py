"""Explanations of our own families: what is said of their layers, their rules, and where a method does not apply."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.explain import cam, gradients, relevance, relu_rules
from cvdl_jax.analysis.logits import Logits
from cvdl_jax.core.task import State
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval, initialise


def made(section, shape):
    model = registry.create(section, "config.model", kinds=("backbones",), num_classes=4, dtype=jnp.float32)
    x = jax.random.uniform(jax.random.key(0), (2, *shape))
    params, stats = initialise(model, jax.random.key(1), x, False)
    state = State(jnp.int32(0), params, {}, {"batch_stats": stats})
    return Logits(lambda x: apply_eval(model, state, x - 0.3)[0]), x


@pytest.mark.long
@pytest.mark.parametrize(
    ("section", "shape"),
    [
        ({"name": "lenet5", "activation": "relu"}, (32, 32, 1)),  # a platform's own convolution, and average pooling
        ({"name": "resnet8_tiny"}, (16, 16, 3)),  # batch normalisation and residual sums
        ({"name": "mobilenet_v2_tiny"}, (32, 32, 3)),  # ReLU6 by `where`, depthwise convolutions
    ],
)
def test_rules_on_relu_networks(section, shape):
    """Plain rules are the gradient; relevance with epsilon 0 is gradient x input; Grad-CAM has a layer by itself."""
    f, x = made(section, shape)
    plain = gradients.gradient(f, x, 1)
    ruled = gradients.gradient(relu_rules.with_rule(f, "plain"), x, 1)
    np.testing.assert_allclose(ruled, plain, atol=1e-4 * float(jnp.abs(plain).max()))
    guided = relu_rules.guided_backpropagation(f, x, 1)
    assert float(jnp.abs(guided - plain).max()) > 1e-3 * float(jnp.abs(plain).max())
    relevances = relevance.lrp(f, x, 1, epsilon=0.0)
    np.testing.assert_allclose(relevances, x * plain, atol=1e-4 * float(jnp.abs(x * plain).max()))
    assert cam.gradcam(f, x, 1, positive=False).shape == (2, *shape[:2], 1)


@pytest.mark.long
def test_gates_have_no_relevance_and_say_so():
    f, x = made({"name": "mlp", "activation": "gelu", "hidden": (8,)}, (4, 4, 1))
    with pytest.raises(ConfigError, match=r"lrp has no rule for '(mul|erf|erfc)'.*use integrated_gradients for others"):
        relevance.lrp(f, x, 1)
    with pytest.raises(ConfigError, match="the guided rule is one for ReLUs, and this function has none"):
        relu_rules.guided_backpropagation(f, x, 1)
    with pytest.raises(ConfigError, match="none of its layers gives maps"):
        cam.gradcam(f, x, 1)

"""`config.model.dropout_kind`: every kind in the models that have it, with the parameters of the plain model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import make_model

from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.dropout import KINDS

IMAGES = {"mlp_tiny": (2, 8, 8, 1), "lenet5_tiny": (2, 16, 16, 1)}


@pytest.mark.curriculum("F6", "F7")
@pytest.mark.parametrize("name", IMAGES)
def test_every_kind_of_dropout_is_a_switch_of_the_model(name):
    x, key = jnp.asarray(np.random.default_rng(0).random(IMAGES[name]), jnp.float32), jax.random.key(0)
    models = {kind: make_model(name, 10, "float32", dropout=0.5, dropout_kind=kind) for kind in KINDS}
    shapes = {kind: jax.eval_shape(lambda m=m: m.init(key, x, False)) for kind, m in models.items()}
    assert all(shape == shapes["inverted"] for shape in shapes.values())
    variables = jax.tree.map(lambda s: jnp.linspace(-1, 1, s.size).reshape(s.shape), shapes["inverted"])

    @jax.jit
    def outputs(variables):
        return {
            kind: [m.apply(variables, x, train, rngs={"dropout": key})[0] for train in (False, True)]
            for kind, m in models.items()
        }

    found = outputs(variables)
    for kind, (evaluated, trained) in found.items():
        assert np.allclose(evaluated, found["inverted"][0], rtol=1e-5, atol=1e-5) == (kind != "classic")
        assert not np.allclose(evaluated, trained)
    assert len({round(float(trained.sum()), 3) for _, trained in found.values()}) >= 3


def test_an_unknown_kind_is_refused():
    model = make_model("mlp_tiny", 10, "float32", dropout_kind="chanels")
    with pytest.raises(ConfigError, match=r"dropout_kind='chanels' is not known; did you mean 'channels'"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), False))

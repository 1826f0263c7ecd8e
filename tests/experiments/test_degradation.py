"""Plain and residual networks: their parameters, blocks that are the identity, and the study of both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import make_model

from cvdl_jax.core import counting
from cvdl_jax.core.task import State
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.models.backbones.resnet import deepened
from experiments.studies import degradation

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(4, 8, 8, 3)), jnp.float32)


def trained(model, seed):
    """Variables as if trained: no scale is 1, no mean or bias 0; variances stay positive."""
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), X, False))
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda v: jnp.asarray(rng.uniform(0.1, 0.3, v.shape) * rng.choice([1, 1, 3]), v.dtype), variables
    )


@pytest.mark.curriculum("H42")
def test_a_plain_network_has_the_parameters_of_one_with_shortcuts_of_zeros_and_none_passes():
    for name in ("resnet20", "resnet56"):
        row = registry.variants()[name].row
        plain = make_model(name, 10, shortcut="none")
        x = jnp.zeros((1, 32, 32, 3))
        params = jax.eval_shape(lambda plain=plain, x=x: plain.init(jax.random.key(0), x, False))["params"]
        assert counting.parameters(params) == row["params"]
    models = [make_model("resnet20", 3, depths=(1,), widths=(12,), norm="none", shortcut=s) for s in ("none", "A")]
    variables = trained(models[0], 0)
    negative = {
        **variables["params"]["stage0_block0"],
        "conv1": {"kernel": jnp.zeros((3, 3, 12, 12)), "bias": -jnp.ones(12)},
    }
    params = {**variables["params"], "stage0_block0": negative}

    @jax.jit
    def stages(params):
        return [model.apply({"params": params}, 9 * X, False)[1]["stages"][0] for model in models]

    plain, residual = stages(params)
    assert not plain.any() and residual.max() > 1  # relu(-1), and relu(x - 1)


@pytest.mark.curriculum("H42")
@pytest.mark.parametrize("shortcut, norm", [("A", "batch"), ("B", "none"), ("none", "batch"), ("none", "none")])
def test_a_trained_network_with_further_blocks_that_are_the_identity_computes_the_same(shortcut, norm):
    fields = {"widths": (12, 14), "shortcut": shortcut, "norm": norm}
    shallow, deep = (make_model("resnet20", 3, depths=depths, **fields) for depths in ((1, 1), (2, 3)))
    variables = trained(shallow, 1)
    grown = deepened(shallow, variables, deep, fresh := trained(deep, 2))
    assert jax.tree.map(jnp.shape, grown) == {"batch_stats": {}, **jax.tree.map(jnp.shape, fresh)}
    new = {"stage0_block1", "stage1_block1", "stage1_block2"}
    assert grown["params"].keys() - variables["params"].keys() == new
    if shortcut != "none":  # the rest of a branch can still learn
        np.testing.assert_array_equal(
            grown["params"]["stage1_block2"]["conv0"]["kernel"], fresh["params"]["stage1_block2"]["conv0"]["kernel"]
        )

    @jax.jit
    def both(variables, grown, fresh):
        of = lambda model, v: model.apply(v, X, False)[1]["stages"]  # noqa: E731
        return (
            of(shallow, variables),
            of(deep, grown),
            of(deep, {**grown, "params": {**fresh["params"], **variables["params"]}}),
        )

    small, large, other = both(variables, grown, fresh)
    for one, two in zip(small, large, strict=True):
        assert float(one.max()) > 0
        np.testing.assert_allclose(one, two, rtol=1e-6)
    assert not np.allclose(small[1], other[1], rtol=1e-2)  # new blocks that do something are seen


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"depths": (1, 4)}, r"at least the depths \(2, 1\)"),
        ({"depths": (2, 2, 2), "widths": (12, 14, 16)}, "be the same otherwise"),
        ({"depths": (2, 2), "widths": (12, 16)}, "be the same otherwise"),
    ],
)
def test_networks_that_hold_no_other_are_refused(fields, message):
    shallow = make_model("resnet20", 3, depths=(2, 1), widths=(12, 14))
    with pytest.raises(ConfigError, match=message):
        deepened(shallow, {}, make_model("resnet20", 3, **{"widths": (12, 14), **fields}), {})


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"activation": "elu"}, "need config.model.activation='relu', .* got 'elu', 'before', 'plain' and False"),
        ({"placement": "after"}, "got 'relu', 'after'"),
        ({"scan": True}, "and True"),
        ({"shortcut": "none", "norm": "layer"}, "config.model.norm='batch' or 'none', got 'layer'"),
    ],
)
def test_blocks_that_cannot_be_the_identity_are_refused(fields, message):
    pair = [make_model("resnet20", 3, depths=depths, **fields) for depths in ((1, 1, 1), (2, 2, 2))]
    with pytest.raises(ConfigError, match=message):
        deepened(pair[0], {}, pair[1], {})


@pytest.mark.curriculum("H42")
def test_the_study_compares_each_network_with_the_deepest_of_its_kind():
    names = ("plain_20", "residual_8", "plain_8")
    assert degradation.kinds_of(names) == {"plain": [8, 20], "residual": [8]}
    with pytest.raises(ConfigError, match="call it by its kind and depth, such as 'plain_20'"):
        degradation.kinds_of(("plain",))
    models = {f"residual_{n}": make_model("resnet20", 3, depths=(n,), widths=(12,)) for n in (1, 2)}
    variables = {name: trained(model, 3) for name, model in models.items()}
    split = lambda what: {name: v[what] for name, v in variables.items()}  # noqa: E731
    state = State(jnp.int32(0), split("params"), {}, {"batch_stats": split("batch_stats")})
    batch = {"image": X, "mask": jnp.asarray([1.0, 1.0, 1.0, 0.0])}
    step = jax.jit(
        lambda state: degradation.identity_step(
            models, {"residual": [1, 2]}, lambda x: x, state, batch, jax.random.key(0)
        )
    )
    rows = step(state)
    assert rows.keys() == {"residual_1"} and rows["residual_1"].shape == (4,) and rows["residual_1"].max() < 1e-5
    figures = degradation.errors({"plain": [1, 2]}, {"plain_1/accuracy": 0.9, "plain_2/accuracy": 0.7}, {})
    np.testing.assert_allclose(figures["training_error"].axes[0].lines[0].get_ydata(), [0.1, 0.3])

"""Every variant of every kind, by discovery: parameters as its row says, rematerialisation. Every tiny backbone:
shapes, gradients, precision, traces.
"""

from functools import partial
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import input_of, make_model

from cvdl_jax.core import counting
from cvdl_jax.core.trees import names
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.ops.losses.classification import softmax_cross_entropy

VARIANTS = registry.variants()
# Some libraries call a network of millions of parameters tiny.
ALL_TINY = [name for name, v in VARIANTS.items() if name.endswith("_tiny") and v.row["params"] < 100_000]
TINY = [name for name in ALL_TINY if VARIANTS[name].kind == "backbones"]
STOCHASTIC = {
    "mlp_tiny": {"dropout": 0.3, "norm": "batch"},
    "vit_patch4_16_tiny": {"dropout": 0.3, "drop_path": 0.3, "attention_dropout": 0.2, "attention_weights": True},
}
CLASSES, BATCH = 5, 4
# Compilation is most of the time here, and these tests do not ask for fast code.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def images(name, batch=BATCH, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, *input_of(name))).astype(np.float32)


def train_and_eval(model, variables, x, labels, key):
    """Everything the tests look at, in one compiled function."""

    def loss(params):
        (logits, out), new = model.apply(
            {**variables, "params": params}, x, True, rngs={"dropout": key}, mutable=["batch_stats"]
        )
        return softmax_cross_entropy(logits, labels).mean(), (logits, out, new.get("batch_stats", {}))

    (value, (logits, out, stats)), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    eval_logits, eval_out = model.apply(variables, x, False)
    return SimpleNamespace(
        loss=value, logits=logits, out=out, stats=stats, grads=grads, eval_logits=eval_logits, eval_out=eval_out
    )


jax.tree_util.register_pytree_node(
    SimpleNamespace,
    lambda s: (tuple(vars(s).values()), tuple(vars(s))),
    lambda keys, v: SimpleNamespace(**dict(zip(keys, v, strict=True))),
)


@pytest.fixture(scope="module", params=TINY)
def tiny(request):
    """A tiny model after one compiled step, traced at most once for all tests of it."""
    name = request.param
    model = make_model(name, CLASSES, "float32", **STOCHASTIC.get(name, {}))
    x, labels = images(name), np.arange(BATCH, dtype=np.int32)
    variables = quick_jit(partial(model.init, train=False))(jax.random.key(0), x)
    chex.clear_trace_counter()

    @quick_jit
    @chex.assert_max_traces(n=1)
    def run(*args):
        return train_and_eval(model, *args)

    traced = run.trace(variables, x, labels, jax.random.key(1))
    first = run(variables, x, labels, jax.random.key(1))
    return SimpleNamespace(
        name=name, model=model, x=x, labels=labels, variables=variables, run=run, jaxpr=traced.jaxpr, first=first
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_as_its_row_says(name):
    """Parameters and multiply-accumulates, and what a backbone returns, from one trace of shapes."""
    row = VARIANTS[name].row
    assert "params" in row, f"{name} needs 'params' in its row of {VARIANTS[name].file.name}"
    model, inputs = registry.example(name)
    init = partial(model.init_with_output, train=False)
    jaxpr, ((logits, out), variables) = jax.make_jaxpr(init, return_shape=True)(jax.random.key(0), *inputs)
    assert counting.parameters(variables["params"]) == row["params"]
    assert counting.jaxpr_macs(jaxpr.jaxpr) == row.get("macs", counting.jaxpr_macs(jaxpr.jaxpr))
    assert isinstance(out, dict)
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    if VARIANTS[name].kind == "backbones":
        assert logits.shape == (1, row["num_classes"])
        assert out["pre_logits"].shape[0] == 1 and out["pre_logits"].ndim == 2


def test_every_family_has_a_tiny_variant():
    assert {VARIANTS[name].file for name in ALL_TINY} == {variant.file for variant in VARIANTS.values()}


@pytest.mark.parametrize("name", [name for name in ALL_TINY if name not in TINY])  # of those, see the last test
def test_remat_is_done_or_refused(name):
    context = {key: VARIANTS[name].row[key] for key in VARIANTS[name].context}
    if hasattr(registry.example(name)[0], "remat"):
        assert registry.create({"name": name}, "config.model", remat=True, **context).remat
    else:
        with pytest.raises(ConfigError, match=f"{name} has no blocks to rematerialise; set config.remat=False"):
            registry.create({"name": name}, "config.model", remat=True, **context)


def test_shapes_and_finite_values(tiny):
    assert tiny.first.logits.shape == tiny.first.eval_logits.shape == (BATCH, CLASSES)
    assert tiny.first.logits.dtype == jnp.float32
    chex.assert_tree_all_finite(tiny.first)
    assert all(leaf.shape[0] == BATCH for leaf in jax.tree.leaves(tiny.first.out))
    chex.assert_trees_all_equal_shapes_and_dtypes(tiny.first.grads, tiny.variables["params"])
    chex.assert_trees_all_equal_shapes_and_dtypes(tiny.first.stats, tiny.variables.get("batch_stats", {}))


def test_without_classes_a_model_returns_its_features(tiny):
    model = make_model(tiny.name, 0, "float32", **STOCHASTIC.get(tiny.name, {}))
    params = {name: p for name, p in tiny.variables["params"].items() if name != "head"}
    made = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), tiny.x).get("params", {})
    chex.assert_trees_all_equal_shapes_and_dtypes(made, params)
    features, _ = quick_jit(partial(model.apply, train=False))({**tiny.variables, "params": params}, tiny.x)
    np.testing.assert_allclose(features, tiny.first.eval_out["pre_logits"], rtol=1e-5, atol=1e-5)


def test_a_model_of_fewer_than_no_classes_is_refused():
    with pytest.raises(ConfigError, match="num_classes=-1 must be a whole number of at least 0"):
        make_model("mlp_tiny", -1)
    with pytest.raises(ConfigError, match="num_classes=0 must be a whole number of at least 1"):
        make_model("lstm_tiny", 0)


def test_every_parameter_gets_a_gradient(tiny):
    unused = "level0_colour" if getattr(tiny.model, "grows", False) else "-"  # of small images, before it is grown
    for path, grad in jax.tree_util.tree_leaves_with_path(tiny.first.grads):
        name = jax.tree_util.keystr(path)
        assert np.abs(grad).max() > 0 or unused in name, f"{name} has no influence on the loss"


def test_one_trace_and_the_same_result_twice(tiny):
    chex.assert_trees_all_equal(tiny.run(tiny.variables, tiny.x, tiny.labels, jax.random.key(1)), tiny.first)


def test_training_and_evaluation_differ_where_they_should(tiny):
    """Evaluation ignores the key; training depends on it exactly where there is dropout."""
    other = tiny.run(tiny.variables, tiny.x, tiny.labels, jax.random.key(2))
    np.testing.assert_array_equal(other.eval_logits, tiny.first.eval_logits)
    assert np.array_equal(other.logits, tiny.first.logits) == ("dropout" not in STOCHASTIC.get(tiny.name, {}))
    means = [name for name in names(tiny.variables.get("batch_stats", {})) if name.endswith("mean")]
    stateless = not means and tiny.name not in STOCHASTIC  # an evaluation makes a step of power iteration, as training
    assert np.allclose(tiny.first.logits, tiny.first.eval_logits, atol=1e-6) == stateless


def test_evaluation_of_a_row_does_not_depend_on_the_others(tiny):
    x = np.concatenate([tiny.x[:2], 10 * tiny.x[2:]])
    again = tiny.run(tiny.variables, x, tiny.labels, jax.random.key(1))
    np.testing.assert_allclose(again.eval_logits[:2], tiny.first.eval_logits[:2], atol=1e-5)


def test_bfloat16_is_close_to_float32(tiny):
    model = tiny.model.clone(dtype=jnp.dtype("bfloat16"))
    logits, _ = quick_jit(partial(model.apply, train=False))(tiny.variables, tiny.x)
    assert logits.dtype == jnp.float32
    scale = np.abs(tiny.first.eval_logits).max()
    np.testing.assert_allclose(logits, tiny.first.eval_logits, atol=0.03 * scale + 0.003)
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), tiny.x)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def test_float64_is_kept_throughout(tiny):
    with jax.enable_x64(True):
        model = tiny.model.clone(dtype=jnp.dtype("float64"))
        x = jax.ShapeDtypeStruct(tiny.x.shape, jnp.float64)
        variables = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), x)
        result = jax.eval_shape(partial(train_and_eval, model), variables, x, tiny.labels, jax.random.key(1))
        assert {leaf.dtype for leaf in jax.tree.leaves((variables, result))} == {jnp.dtype("float64")}


def test_rematerialisation_changes_nothing(tiny):
    if not hasattr(tiny.model, "remat"):
        with pytest.raises(ConfigError, match=f"{tiny.name} has no blocks to rematerialise; set config.remat=False"):
            make_model(tiny.name, CLASSES, "float32", remat=True)
        return
    model = make_model(tiny.name, CLASSES, "float32", remat=True, **STOCHASTIC.get(tiny.name, {}))
    step = quick_jit(partial(train_and_eval, model))
    args = (tiny.variables, tiny.x, tiny.labels, jax.random.key(1))
    assert "remat" in str(step.trace(*args).jaxpr), "blocks are not rematerialised"
    assert "remat" not in str(tiny.jaxpr)
    chex.assert_trees_all_close(step(*args), tiny.first, atol=1e-5, rtol=1e-5)
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), tiny.x)
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes, tiny.variables)

"""Structures of input and output: shapes, and which outputs depend on which inputs, of recurrent labellers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.nn import structures
from cvdl_jax.nn.recurrent import Recurrent

B, T, D, K, S = 2, 4, 3, 5, 3


def labeller(structure, steps=1, **fields):
    section = {"name": "lstm_labeller_tiny", **fields}
    return registry.create(
        section, "config.model", kinds=("sequence",), num_classes=K, structure=structure, steps=steps
    )


def init(model, x):
    return jax.jit(model.init, static_argnums=2)(jax.random.key(0), x, False)


def dependence(model, x):
    """Whether output s depends on input t: bool [s, t]."""
    params = init(model, x)

    def scores(row):
        out = model.apply(params, row[None], False)[0]
        return out.reshape(-1, K)

    slopes, values = jax.jit(lambda row: (jax.jacrev(scores)(row), scores(row)))(x[0])  # [s, K, (t,) D]; [s, K]
    return np.abs(slopes.reshape(*slopes.shape[:2], -1, D)).max((1, 3)) > 0, values


@pytest.mark.curriculum("K2")
@pytest.mark.parametrize(
    ("structure", "steps", "shape", "expected"),
    [
        ("one_to_one", 1, (B, K), [[1]]),
        ("one_to_many", S, (B, S, K), [[1]] * S),
        ("many_to_one", 1, (B, K), [[1] * T]),
        ("many_to_many", 1, (B, T, K), np.tril(np.ones((T, T)))),  # in step: nothing of the future
        ("delayed", S, (B, S, K), [[1] * T] * S),  # written after everything is read
    ],
)
def test_outputs_depend_on_the_inputs_that_were_read_before(structure, steps, shape, expected):
    model = labeller(structure, steps)
    x = jax.random.normal(jax.random.key(1), (B, D) if structure.startswith("one") else (B, T, D))
    outputs = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, False)[0][0], x)
    assert outputs.shape == shape
    depends, scores = dependence(model, x)
    np.testing.assert_array_equal(depends, expected)
    assert len(np.unique(np.asarray(scores), axis=0)) == len(scores)  # no output repeats another one


@pytest.mark.curriculum("K2")
def test_both_ways_every_output_has_seen_everything():
    x = jax.random.normal(jax.random.key(1), (B, T, D))
    assert dependence(labeller("many_to_many", bidirectional=True), x)[0].all()
    one = labeller("many_to_one", bidirectional=True)
    params = init(one, x)
    ends = jax.jit(one.apply, static_argnums=2)(params, x, False)[1]["pre_logits"]
    for half, name, reverse, last in ((ends[:, :4], "forwards", False, -1), (ends[:, 4:], "backwards", True, 0)):
        layer = Recurrent("lstm", 4, reverse=reverse)
        states, _ = layer.apply({"params": params["params"]["layer0"][name]}, x)
        np.testing.assert_allclose(half, states[:, last], atol=1e-6)


@pytest.mark.curriculum("K2")
def test_inputs_are_laid_out_with_zeros_where_there_is_none():
    x = jnp.arange(1.0, 5.0).reshape(1, 2, 2)
    np.testing.assert_array_equal(structures.laid_out(x, "delayed", 2)[0], [[1, 2], [3, 4], [0, 0], [0, 0]])
    np.testing.assert_array_equal(structures.laid_out(x, "many_to_many"), x)
    np.testing.assert_array_equal(structures.laid_out(x[:, 0], "one_to_many", 3)[0], [[1, 2], [0, 0], [0, 0]])
    states = jnp.arange(8.0).reshape(1, 4, 2)
    np.testing.assert_array_equal(structures.outputs(states, "delayed", 2)[0], [[4, 5], [6, 7]])
    np.testing.assert_array_equal(structures.outputs(states, "many_to_one"), [[6, 7]])
    np.testing.assert_array_equal(structures.outputs(states, "many_to_one", both_ways=True), [[6, 1]])
    np.testing.assert_array_equal(structures.outputs(states, "one_to_many", 4), states)


def test_symbols_are_numbered_as_the_classes_are():
    model, symbols = labeller("many_to_many"), jnp.asarray([[1, 4, 0]])
    params = init(model, symbols)
    np.testing.assert_array_equal(
        model.apply(params, symbols, False)[0], model.apply(params, jax.nn.one_hot(symbols, K), False)[0]
    )


@pytest.mark.parametrize(
    ("fields", "shape", "message"),
    [
        ({"structure": "many_to_on"}, (B, T, D), "structure='many_to_on' is not known; did you mean 'many_to_one'"),
        ({"structure": "many_to_one", "steps": 2}, (B, T, D), "has no use for steps=2; leave it at 1"),
        ({"structure": "one_to_many", "steps": 2}, (B, T, D), r"takes inputs \[b, d\], got \(2, 4, 3\)"),
        ({"structure": "many_to_many"}, (B, D), r"takes inputs \[b, t, d\], got \(2, 3\)"),
        ({"structure": "one_to_one", "bidirectional": True}, (B, D), "reads whole sequences, which structure="),
    ],
)
def test_impossible_structures_are_refused(fields, shape, message):
    with pytest.raises(ConfigError, match=message):
        labeller(**fields).init(jax.random.key(0), jnp.zeros(shape), False)


@pytest.mark.curriculum("K13")
def test_frames_are_seen_alike_and_read_in_their_order():
    """The features of a frame do not depend on its time, the scores on the order of the frames."""
    section = {"name": "lrcn_tiny", "backbone": {"name": "convnet_tiny"}}
    model = registry.create(section, "config.model", num_classes=K, structure="many_to_one", steps=1)
    x = jax.random.uniform(jax.random.key(0), (2, 3, 16, 16, 1))
    params = init(model, x)
    run = jax.jit(lambda x: model.apply(params, x, False))
    (scores, out), (turned, turned_out) = run(x), run(x[:, ::-1])
    np.testing.assert_allclose(turned_out["features"][:, ::-1], out["features"], atol=1e-6)
    assert out["features"].shape == (2, 3, 16) and np.abs(turned - scores).max() > 1e-3
    alone = run(x[1:].repeat(2, 0))[0]
    np.testing.assert_allclose(alone[0], scores[1], atol=1e-6)
    with pytest.raises(ConfigError, match=r"takes clips \[b, t, h, w, c\], got shape \(3, 16, 16, 1\)"):
        model.apply(params, x[0], False)

"""Averaged weights have batch statistics of their own, of what they compute, and are evaluated by these."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.gradients import select
from cvdl_jax.core.parallel import row_random
from cvdl_jax.core.task import State, as_transform, chain, create_state, descend
from cvdl_jax.engine import recipe
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_train, initialise
from cvdl_jax.nn.batch_norm import BatchNorm
from cvdl_jax.optim import ema as averaging
from experiments import classify, detect, gan

quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(3, 2, (8, 2)).astype(np.float32)


class Model(nn.Module):
    """One product, normalised."""

    @nn.compact
    def __call__(self, x, train):
        return BatchNorm(name="norm")(nn.Dense(1, use_bias=False, name="dense")(x), train), {}


def loss(state, batch, key):
    (y, _), state = apply_train(Model(), state, batch["x"], key)
    return state, {"loss": (((y - batch["x"][:, :1]) ** 2).sum(), jnp.float32(len(y)))}


def state_at(step, w, average, stats=(0.0, 1.0)):
    """A state whose present and averaged kernels are known."""
    params = {"dense": {"kernel": jnp.full((2, 1), w)}, "norm": {"scale": jnp.ones(1), "bias": jnp.zeros(1)}}
    mean_var = {"norm": {"mean": jnp.full(1, stats[0]), "var": jnp.full(1, stats[1])}}
    of_average = {**params, "dense": {"kernel": jnp.full((2, 1), average)}}
    extra = {"batch_stats": mean_var, "ema": of_average, "ema_statistics": mean_var}
    return State(jnp.int32(step), params, {}, extra)


@pytest.mark.parametrize(("step", "sees"), [(0, True), (99, True), (100, False), (108, False), (109, True)])
def test_the_statistics_are_running_averages_of_what_averaged_weights_compute(step, sees):
    """At decay 0.5 the weights 4 and 1 average to 2.5: 0.9 of the old mean and 0.1 of that of x (2.5, 2.5)."""
    state = state_at(step, 4.0, 1.0, stats=(7.0, 5.0))
    after, _, sums = averaging.averages(0.5, loss).update(state, {"x": X}, KEY)
    y = X @ np.full((2, 1), 2.5)
    mean, var = (0.9 * 7 + 0.1 * y.mean(), 0.9 * 5 + 0.1 * y.var()) if sees else (7, 5)
    stats = after.extra["ema_statistics"]["norm"]
    np.testing.assert_allclose([stats["mean"][0], stats["var"][0]], [mean, var], rtol=1e-5)
    assert sums == {} and after.extra["batch_stats"]["norm"]["mean"][0] == 7 and after.params == state.params
    seen = averaging.averaged(after)
    np.testing.assert_array_equal(seen.params["dense"]["kernel"], 2.5)
    assert seen.extra["batch_stats"] is after.extra["ema_statistics"]


def test_moving_weights_are_far_from_the_statistics_of_the_present_ones():
    """The raw kernel grows tenfold; the average, far behind it, is normalised by what it computes itself."""
    transform = averaging.averages(0.99, loss)
    state = create_state_of(transform)
    update, first = quick_jit(transform.update), state.params["dense"]["kernel"]
    for i in range(60):
        params = {**state.params, "dense": {"kernel": first * 10 ** ((i + 1) / 60)}}
        stats = apply_train(Model(), state._replace(params=params), X, KEY)[1].extra["batch_stats"]
        state = state._replace(params=params, extra={**state.extra, "batch_stats": stats}, step=state.step + 1)
        state = update(state, {"x": X}, KEY)[0]
    present, average = (float(state.extra[name]["norm"]["mean"][0]) for name in ("batch_stats", "ema_statistics"))
    right = float((X @ np.asarray(state.extra["ema"]["dense"]["kernel"])).mean())
    assert abs(average - right) < 0.2 * abs(right) and abs(present - right) > abs(right)


def create_state_of(transform):
    params, stats = initialise(Model(), KEY, X, False)
    return transform.init(State(jnp.int32(0), params, {}, {"batch_stats": stats}))


def test_a_model_without_statistics_needs_no_loss_and_one_with_them_does():
    plain = averaging.averages(0.5)
    state = State(jnp.int32(0), {"w": jnp.ones(1)}, {}, {"batch_stats": {}})
    assert plain.init(state).extra.keys() == {"batch_stats", "ema"}
    players = State(jnp.int32(0), {"g": {"w": jnp.ones(1)}}, {}, {"batch_stats": {"g": {}, "d": {"mean": jnp.ones(1)}}})
    begun = averaging.averages(0.5, on="g").init(players)
    assert begun.extra["ema_statistics"] == {}  # Orbax tells an empty tree from none, and earlier runs have one
    assert averaging.averages(0.5, on="g").update(begun, {}, KEY)[0].extra["ema_statistics"] == {}
    assert averaging.averages(0.5, loss, statistics=False).init(
        state_at(0, 1.0, 1.0)._replace(extra={})
    ).extra.keys() == {"ema"}
    with pytest.raises(ConfigError, match=r"config\.ema: .*recipe\.average\(config, loss\)"):
        create_state_of(plain)


def test_a_step_with_an_average_trains_as_one_without():
    parts = [descend(loss, optax.sgd(0.1))]
    states = []
    for transform in (chain(*parts), chain(*parts, averaging.averages(0.9, loss))):
        state = as_transform(transform).init(create_state_of(averaging.averages(0.9, loss))._replace(opt={}))
        states.append(quick_jit(transform.update)(state, {"x": X}, KEY)[0])
    jax.tree.map(np.testing.assert_array_equal, states[0].params, states[1].params)
    jax.tree.map(np.testing.assert_array_equal, states[0].extra["batch_stats"], states[1].extra["batch_stats"])


# The experiments ------------------------------------------------------------------------------------------------------

RUNS = {
    "classify": ("configs/classify/mlp.py:smoke", ("--config.model.norm=batch", "--config.model.hidden=(6,)"), None),
    "detect": (
        "configs/detect/anchors.py:smoke",
        ("--config.model.widths=(4,8)", "--config.model.levels=(0,1)", "--config.model.depth=1"),
        None,
    ),
    "gan": ("configs/generate/dcgan.py:smoke", (), "generator"),
}


@pytest.mark.parametrize("name", RUNS)
def test_experiments_evaluate_averaged_weights_by_their_own_statistics(name):
    """Of a state with four unlike parts, an evaluation computes what the model gives of the average's two."""
    spec, overrides, on = RUNS[name]
    built = build(configs.load(spec, [*overrides, "--config.ema.decay=0.5"]))
    batch = built.data.splits["train"].batch(np.arange(4))
    batch = {k: jnp.asarray(x / np.float32(255) if x.dtype == np.uint8 else x) for k, x in batch.items()}
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(partial(create_state, built.task), KEY, dict(built.info.spec))
    state = jax.tree.map(lambda s: jnp.asarray(rng.uniform(0.2, 0.8, s.shape), s.dtype), shapes)
    of_present = select(state.extra["batch_stats"], on)
    assert jax.tree.structure(state.extra["ema_statistics"]) == jax.tree.structure(of_present)
    jax.eval_shape(as_transform(built.task.train).update, shapes, dict(built.info.spec), KEY)
    if name == "classify":
        model = registry.create(built.config.model, "config.model", kinds=("backbones",), num_classes=10)
        x, evaluated = classify.inputs(recipe.normalisation(built.config), batch), built.task.predict
        actual = quick_jit(lambda state: evaluated(state, batch)["scores"])(state)
    elif name == "detect":
        method = detect.make_method(built.config, built.info.num_classes)
        model, x = method.model, method.normalise(batch["image"])
        actual = quick_jit(lambda state: detect.forward(method, state, batch)[0])(state)
    else:
        game = gan.make_game(built.config, built.info)
        model, x = game.generator, row_random(jax.random.normal, KEY, (4, game.generator.latent))
        actual = 2 * quick_jit(lambda state: gan.sample(game, state, KEY, 4))(state) - 1
    apply = quick_jit(lambda variables: model.apply(variables, x, False)[0])
    outputs = {
        part: apply({"params": state.extra["ema"], "batch_stats": stats})
        for part, stats in (("average", state.extra["ema_statistics"]), ("present", of_present))
    }
    np.testing.assert_allclose(actual, outputs["average"], rtol=1e-4, atol=1e-5)
    assert np.abs(actual - outputs["present"]).max() > 1e-3


def test_exact_statistics_replace_those_of_the_average():
    from cvdl_jax.engine.batch_statistics import apply_statistics

    moments = {"norm": {"count": 4.0, "total": jnp.full(1, 8.0), "deviations": jnp.full(1, 9.0), "freedom": 3.0}}
    state = apply_statistics(state_at(0, 1.0, 1.0), {"": moments})
    for key in ("batch_stats", "ema_statistics"):
        stats = state.extra[key]["norm"]
        assert stats["mean"][0] == 2 and stats["var"][0] == 3
    two = {"a": state_at(0, 1.0, 1.0).extra["batch_stats"], "b": {"other": {"norm": {"mean": jnp.zeros(1)}}}}
    for average, of in ((two["a"], lambda x: x), (two, lambda x: x["a"])):  # of one sub-tree, and of all
        state = State(jnp.int32(0), {}, {}, {"batch_stats": two, "ema_statistics": average})
        state = apply_statistics(state, {"a": moments})
        assert of(state.extra["ema_statistics"])["norm"]["mean"][0] == 2

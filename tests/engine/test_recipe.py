"""What experiments take from the shared sections of a config: the same objects as made by hand, or None."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from regression import KEY, PARAMS, regression_batch, squared_error, state_of

from cvdl_jax.config import configs
from cvdl_jax.core.info import Info
from cvdl_jax.core.task import Eval, chain, descend
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError

INFO = Info(3, (), {}, {"train": 8, "test": 4}, batch_size=4, total_steps=6, steps_per_epoch=2.0, seed=0)


def config_with(*overrides):
    return configs.apply_overrides(configs.base(optim={"name": "sgd", "lr": 0.1}), overrides)


def test_the_optimizer_counts_in_units_of_the_run():
    section = {"name": "sgd", "lr": 1.0, "schedule": {"name": "step", "every_epochs": 1}}
    made = recipe.optimizer(section, INFO)  # an epoch of two steps
    state, updates = made.init(jnp.ones(())), []
    for _ in range(3):
        update, state = made.update(jnp.ones(()), state, jnp.ones(()))
        updates.append(float(update))
    np.testing.assert_allclose(updates, [-1, -1, -0.1], rtol=1e-6)


def test_the_optimizer_names_its_own_section():
    with pytest.raises(ConfigError, match=r"^config\.study\.a\.optim\.lr=-1\.0 must be"):
        recipe.optimizer({"name": "sgd", "lr": -1.0}, INFO, "config.study.a.optim")
    with pytest.raises(ConfigError, match=r"^config\.optim\.momentm is not a key"):
        recipe.optimizer({"name": "sgd", "lr": 1.0, "momentm": 0.9}, INFO)


def test_a_step_is_that_of_the_sections_optim_and_grad():
    batch = regression_batch(4)
    state = state_of(PARAMS)
    for grad in ("plain", "sam(0.5)"):
        step = recipe.descend(config_with(f"config.grad={grad}"), INFO, squared_error)
        after, _, sums = step.update(step.init(state), batch, KEY)
        by_hand = descend(squared_error, optax.sgd(0.1), grad=recipe.gradients.build(grad))
        expected = by_hand.update(by_hand.init(state), batch, KEY)[0]
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), after.params, expected.params)
        assert sums["learning_rate"][0] / sums["learning_rate"][1] == np.float32(0.1)


def test_each_player_has_its_section_and_its_schedule_counts_its_own_updates():
    """The critic's three updates a step: an epoch of two steps is one of six updates, each on a third of the batch."""
    schedule = {"name": "step", "every_epochs": 1}
    sections = {
        "critic": {"name": "sgd", "lr": 1.0, "schedule": schedule, "lr_batch_size": 2},
        "maker": {"name": "sgd", "lr": 4.0, "schedule": schedule},
    }
    config = configs.base(optim=sections)

    def loss(of, state, batch, key):
        return state, {"loss": (state.params[of] * 1.0, jnp.ones(()))}

    info = INFO._replace(batch_size=6)
    steps = recipe.players(config, info, {name: partial(loss, name) for name in sections}, {"critic": 3})
    assert list(steps) == list(sections)
    params = {"critic": jnp.ones(()), "maker": jnp.ones(())}
    for name, rates in (("critic", [1.0] * 6 + [0.1]), ("maker", [4.0, 4.0, 0.4])):
        state, moved = steps[name].init(state_of(params)), []
        for _ in rates:
            after = steps[name].update(state, {}, KEY)[0]
            moved.append(float(state.params[name] - after.params[name]))
            assert all(after.params[other] == params[other] for other in params if other != name)
            state = after
        np.testing.assert_allclose(moved, rates, rtol=1e-5)
    with pytest.raises(
        ConfigError, match=r"config.optim has \['critic', 'maker'\]; expected the sections critic, judge"
    ):
        recipe.players(config, INFO, {"critic": loss, "judge": loss})


def test_empty_sections_give_none_and_the_step_draws_as_without_them():
    config = config_with()
    assert recipe.augmentation(config, INFO) is None and recipe.average(config) is None
    assert recipe.feedback(config) == ({}, None)

    def draw(state, batch, key):
        return state, batch, {"drawn": (jax.random.uniform(key), 1.0)}

    with_empty = chain(recipe.augmentation(config, INFO), draw, recipe.average(config))
    drawn = [step.update(state_of({}), {}, KEY)[2]["drawn"][0] for step in (with_empty, chain(draw))]
    assert drawn[0] == drawn[1]


def test_the_average_of_a_sub_tree_and_its_statistics():
    state = state_of({"a": {"w": jnp.zeros(2)}, "b": jnp.ones(1)})
    state = state._replace(extra={"batch_stats": {"a": jnp.zeros(1)}})

    def loss(state, batch, key):  # statistics are the sum of the weights that they belong to
        return state._replace(
            extra={**state.extra, "batch_stats": {"a": state.params["a"]["w"].sum(keepdims=True)}}
        ), {}

    config = config_with("config.ema.decay=0.75")
    average = recipe.average(config, loss, on="a")
    begun = average.init(state)
    extra = average.update(begun._replace(params={**state.params, "a": {"w": jnp.ones(2)}}), {}, KEY)[0].extra
    np.testing.assert_array_equal(extra["ema"]["w"], [0.25, 0.25])
    np.testing.assert_array_equal(extra["ema_statistics"], [0.5])
    np.testing.assert_array_equal(extra["batch_stats"]["a"], [0.0])
    without = recipe.average(config_with("config.ema.decay=0.75", "config.ema.statistics=False"), on="a")
    assert without.init(state).extra.keys() == {"batch_stats", "ema"}


def test_feedback_remembers_in_extra_and_stops():
    made = recipe.feedback(config_with("config.early_stopping.metric=loss", "config.early_stopping.target=0.5"))
    state = state_of({})._replace(extra=dict(made.extra))
    stops = [bool(made.on_eval(state, {"loss": jnp.float32(loss)})[1]) for loss in (0.6, 0.4)]
    assert made.extra.keys() == {"feedback"} and stops == [False, True]


def test_evaluations_are_of_the_splits_that_exist_and_the_test_set_comes_last():
    step = object()
    made = recipe.evaluations(partial(Eval, step, None), {"train": 1, "test": 1})
    assert made == {"test": Eval(step, None, "test", final=True)}
    made = recipe.evaluations(lambda split: Eval(step, data=1))
    assert [(name, e.data, e.final) for name, e in made.items()] == [("validation", 1, False), ("test", 1, True)]


def test_whole_splits_are_arrays_and_a_missing_one_is_named():
    section = {"name": "spirals", "train": "train[:30]", "test": "test[:20]"}
    data, splits = recipe.whole_splits(section, "config.study.data", ("train", "test"), limit=25)
    assert data.num_classes == 2
    assert {name: batch["features"].shape for name, batch in splits.items()} == {"train": (25, 2), "test": (20, 2)}
    with pytest.raises(ConfigError, match=r"^config\.study\.data\.validation is missing; .* train, validation"):
        recipe.whole_splits(section, "config.study.data", ("train", "validation"))

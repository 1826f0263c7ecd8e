"""Gradual unfreezing: what waits stays as it is, begins as if it were new, and nothing is left out of the groups."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cvdl_jax.config import configs
from cvdl_jax.errors import ConfigError
from cvdl_jax.optim import optimizer as optim
from cvdl_jax.optim import param_groups, unfreezing

GROUPS = (("head/.*", 0), ("body/.*", 50))


def make(total_steps=4, unfreeze=GROUPS, **section):
    given = {"name": "sgd", "lr": 0.1, "unfreeze": unfreeze, **section}
    return configs.call(optim.optimizer, given, "config.optim", total_steps=total_steps, batch_size=1)


def params():
    return {"body": {"kernel": jnp.asarray([1.0, -2.0])}, "head": {"kernel": jnp.asarray([3.0, 4.0])}}


def follow(optimizer, start, steps, **extra):
    """The parameters after each step on |w|^2 / 2, and the last state."""
    step = jax.jit(lambda p, state, key: optimizer.update(p, state, p, key=key))
    state, history = optimizer.init(start), []
    for i in range(steps):
        updates, state = step(start, state, jax.random.key(i))
        start = optax.apply_updates(start, updates)
        history.append(jax.device_get(start))
    return history, state


@pytest.mark.curriculum("I2")
def test_a_group_begins_after_its_percent_of_the_run():
    history, _ = follow(make(), params(), 4)
    heads, bodies = ([p[name]["kernel"][0] for p in history] for name in ("head", "body"))
    np.testing.assert_allclose(heads, [2.7, 2.43, 2.187, 1.9683], rtol=1e-6)  # 3 * 0.9^k
    np.testing.assert_allclose(bodies, [1.0, 1.0, 0.9, 0.81], rtol=1e-6)
    assert unfreezing.starts((("a", 0), ("b", 25.0), ("c", 26), ("d", 99)), 200) == [
        ("a", 0), ("b", 50), ("c", 52), ("d", 198)
    ]  # fmt: skip
    assert unfreezing.starts((("a", 0), ("b", 10)), 30)[1] == ("b", 3)  # 0.1 * 30 is 3.0000000000000004
    assert unfreezing.starts((("a", 0), ("b", 10)), 25)[1] == ("b", 3)  # rounded up


@pytest.mark.curriculum("I2")
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_moments_and_their_correction_begin_with_the_group(name):
    section = {"name": name, "weight_decay": 0.3} | ({"momentum": 0.9} if name == "sgd" else {})
    history, _ = follow(make(6, (("head/.*", 0), ("body/.*", 34)), **section), params(), 6)  # at step 3
    plain, _ = follow(make(6, (), **section), params(), 6)
    for i in range(6):
        np.testing.assert_array_equal(history[i]["head"]["kernel"], plain[i]["head"]["kernel"])
        body = params()["body"]["kernel"] if i < 3 else plain[i - 3]["body"]["kernel"]
        np.testing.assert_array_equal(history[i]["body"]["kernel"], body)


@pytest.mark.curriculum("I2")
def test_who_waits_has_no_part_in_the_clipped_norm_and_does_not_decay():
    history, _ = follow(make(lr=1.0, clip_norm=2.5), params(), 1)
    np.testing.assert_allclose(history[0]["head"]["kernel"], [1.5, 2.0], rtol=1e-6)  # the norm of the head is 5
    more = {"penalty": {"name": "l2", "strength": 0.5}, "gradient_noise": {"eta": 1.0}, "weight_decay": 0.5}
    for section in ({}, {"name": "adamw"}, {"lr_factors": (("body/.*", 0.1),)}, {"decoupled": True}):
        history, _ = follow(make(**more, **section), params(), 3)
        np.testing.assert_array_equal(history[1]["body"]["kernel"], params()["body"]["kernel"])
        assert (history[2]["body"]["kernel"] != params()["body"]["kernel"]).all()
        assert (history[0]["head"]["kernel"] != params()["head"]["kernel"]).all()


@pytest.mark.curriculum("I2")
def test_rates_schedules_and_frozen_parameters_go_with_it():
    start = {**params(), "stem": {"kernel": jnp.ones(2)}}
    section = {"lr_factors": (("body/.*", 0.1),), "schedule": {"name": "linear"}, "freeze": "stem/.*"}
    history, state = follow(make(lr=1.0, **section), start, 4)
    body = 1 - np.asarray([0.0, 0.0, 0.5, 0.25]) * 0.1  # the schedule goes on while the group waits
    np.testing.assert_allclose([p["body"]["kernel"][0] for p in history], np.cumprod(body), rtol=1e-6)
    assert all((p["stem"]["kernel"] == 1).all() for p in history)
    rates = optax.tree_utils.tree_get_all_with_path(state, "learning_rate")
    assert len(rates) == 1 and float(rates[0][1]) == 0.25


@pytest.mark.curriculum("I2")
@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"unfreeze": (("head/.*", 0),)}, ["body/kernel is in no group", "freeze"]),
        ({"unfreeze": (("head/.*", 0), (".*", 50))}, ["'head/.*' and '.*' both match head/kernel"]),
        ({"unfreeze": (("head", 0), ("body/.*", 50))}, ["'head' matches no parameter", "'head/.*'"]),
        ({"unfreeze": (("(head", 0), ("body/.*", 50))}, ["'(head' is not a regular expression"]),
        ({"unfreeze": GROUPS, "freeze": "body/.*"}, ["'body/.*' matches no parameter that is trained"]),
        ({"unfreeze": (("head/.*", 5), ("body/.*", 50))}, ["nothing would train at first", "at 0"]),
        ({"unfreeze": (("head/.*", 0), ("body/.*", 101))}, ["config.optim.unfreeze[1][1]=101", "from 0 to 100"]),
        ({"unfreeze": (("head/.*", 0), ("body/.*", 80))}, ["'body/.*' at 80 % would begin after the last of 4 steps"]),
        ({"total_steps": None}, ["percent of the run, whose length is not known"]),
        ({"name": "schedule_free_sgd"}, ["does not go with schedule-free rules"]),
        ({"penalty": {"name": "proximal_l1", "strength": 1.0}}, ["proximal_l1"]),
        ({"unfreeze": (("head/.*",),)}, ["config.optim.unfreeze"]),
    ],
)
def test_groups_that_make_no_sense_are_refused(section, words):
    with pytest.raises(ConfigError) as error:
        make(**section).init(params())
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.curriculum("I2")
def test_the_table_says_when_a_group_begins():
    section = {"name": "sgd", "lr": 0.1, "lr_factors": (("body/.*", 0.1),), "unfreeze": GROUPS}
    assert [row.group for row in param_groups.table(params(), **section)] == ["body/.* from 50 %", "default"]
    with pytest.raises(ConfigError, match="body/kernel is in no group"):
        param_groups.table(params(), unfreeze=(("head/.*", 0),))

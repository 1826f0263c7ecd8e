"""Learning-rate schedules: exact end points, worked numbers, warm-up in front of any, units, mistakes by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import ConfigError
from cvdl_jax.optim import schedules


def rates(schedule, counts, lr=0.1, total_steps=100, steps_per_epoch=10.0):
    rate = schedules.build(schedule, lr, total_steps=total_steps, steps_per_epoch=steps_per_epoch, batch_size=5)
    return np.asarray(jax.vmap(rate)(jnp.asarray(counts, jnp.int32))).tolist() if len(counts) else []


TENTH = float(np.float32(0.1))


@pytest.mark.curriculum("D28")
@pytest.mark.parametrize("name", ["cosine", "linear", "polynomial"])
def test_schedules_begin_and_end_exactly(name):
    assert rates({"name": name}, [0, 100, 150]) == [TENTH, 0.0, 0.0]
    assert rates({"name": name, "final": 0.5}, [0, 100]) == [TENTH, float(np.float32(0.05))]
    assert rates({"name": name, "warmup_percent": 20}, [19, 20, 100]) == [TENTH, TENTH, 0.0]
    assert 0 < rates({"name": name}, [99])[0] < 0.01


@pytest.mark.curriculum("D21")
@pytest.mark.parametrize(("unit", "value"), [("steps", 20), ("epochs", 2), ("percent", 20), ("examples", 100)])
@pytest.mark.parametrize("name", sorted(set(schedules.known()) - {"step", "exponential", "inverse_time"}))
def test_warmup_climbs_in_equal_steps_in_front_of_any_schedule(name, unit, value):
    warmup = {f"warmup_{unit}": value}
    np.testing.assert_allclose(rates({"name": name, **warmup}, range(20)), 0.1 * np.arange(1, 21) / 20, rtol=1e-6)
    assert rates({"name": name, **warmup}, [20]) == [TENTH]


@pytest.mark.curriculum("D17", "D19", "D20")
def test_worked_schedules():
    assert rates({"name": "exponential", "rate": 0.1}, [10]) == [pytest.approx(0.0367879, abs=1e-7)]
    assert rates({"name": "exponential", "factor": 0.9}, [20]) == [pytest.approx(0.0121577, abs=1e-7)]
    assert rates({"name": "inverse_time", "rate": 0.1}, [10]) == [pytest.approx(0.05)]
    assert rates({"name": "step", "factor": 0.5, "every_steps": 10}, [9, 10, 25]) == pytest.approx([0.1, 0.05, 0.025])


@pytest.mark.curriculum("D18")
def test_worked_polynomials():
    assert rates({"name": "power", "exponent": 0.5}, [9]) == [pytest.approx(0.0316228, abs=1e-7)]  # the tenth step
    assert rates({"name": "polynomial", "power": 2.0}, [50]) == [pytest.approx(0.025)]


T = 200
N = np.arange(T)  # steps done; the n-th step has n = N + 1
FORMULAS = {
    "step": ("D17", {"factor": 0.3, "every_steps": 30}, 0.3 ** (N // 30)),
    "step halves": ("D17", {"name": "step", "factor": 0.5, "every_epochs": 4}, 0.5 ** (N // 40)),
    "power": ("D18", {"exponent": 0.7}, 1 / (N + 1) ** 0.7),
    "power of epochs": ("D18", {"name": "power", "every_epochs": 1}, 1 / np.sqrt(N // 10 + 1)),
    "polynomial": ("D18", {"power": 1.5}, (1 - N / T) ** 1.5),
    "linear": ("D18", {"final": 0.1}, 0.1 + 0.9 * (1 - N / T)),
    "exponential": ("D19", {"rate": 0.02}, np.exp(-0.02 * N)),
    "exponential of epochs": (
        "D19", {"name": "exponential", "factor": 0.9, "every_epochs": 1, "staircase": True}, 0.9 ** (N // 10),
    ),
    "inverse_time": ("D20", {"rate": 0.05}, 1 / (1 + 0.05 * N)),
    "cosine": ("D28", {"final": 0.2}, 0.2 + 0.8 * (1 + np.cos(np.pi * N / T)) / 2),
    "inverse_sqrt": ("D28", {"timescale_steps": 50}, np.sqrt(50 / (50 + N))),
    "constant": ("D28", {}, np.ones(T)),
}  # fmt: skip


def test_every_schedule_has_a_formula():
    assert {section.get("name", name) for name, (_, section, _) in FORMULAS.items()} == set(schedules.known())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.curriculum(row)) for name, (row, _, _) in FORMULAS.items()]
)
def test_two_hundred_steps_equal_the_formula(name):
    _, section, expected = FORMULAS[name]
    values = rates({"name": name, **section}, N, lr=0.3, total_steps=T)
    np.testing.assert_allclose(values, 0.3 * expected, rtol=2e-5, atol=1e-6)


@pytest.mark.curriculum("D21")
def test_warmup_is_that_of_textbooks_which_count_from_one():
    t, k = np.arange(1, 51), 8
    values = rates({"name": "inverse_time", "rate": 0.5, "warmup_steps": k}, t - 1, lr=0.4)
    expected = np.where(t <= k, 0.4 * t / k, 0.4 / (1 + 0.5 * np.maximum(t - k - 1, 0)))
    np.testing.assert_allclose(values, expected, rtol=1e-5)


@pytest.mark.curriculum("D17", "D20", "D28")
def test_units_inside_schedules():
    milestones = {"name": "step", "factor": 0.1, "milestones_epochs": (3, 4.5)}
    assert rates(milestones, [29, 30, 44, 45]) == pytest.approx([0.1, 0.01, 0.01, 0.001])
    assert rates({"name": "step", "milestones_percent": 50}, [49, 50]) == pytest.approx([0.1, 0.01])
    staircase = {"name": "exponential", "factor": 0.5, "every_epochs": 1, "staircase": True}
    assert rates(staircase, [9, 10, 19, 20]) == pytest.approx([0.1, 0.05, 0.05, 0.025])
    per_epoch = {"name": "inverse_time", "rate": 1.0, "every_epochs": 1}
    assert rates(per_epoch, [0, 10, 30]) == pytest.approx([0.1, 0.05, 0.025])


def test_inverse_square_root_continues_its_warmup():
    values = rates({"name": "inverse_sqrt", "warmup_steps": 16}, [16, 64], lr=1.0)
    assert values == pytest.approx([1.0, 0.5])  # sqrt(16 / 64)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ({"name": "cosin"}, ["config.optim.schedule.name", "did you mean 'cosine'"]),
        ({"name": "cosine", "finl": 0.1}, ["config.optim.schedule.finl", "did you mean 'final'"]),
        ({"name": "cosine", "final": "a"}, ["config.optim.schedule.final='a'", "float"]),
        ({"name": "cosine", "warmup_epoch": 1}, ["config.optim.schedule.warmup_epoch"]),
        ({"name": "cosine", "warmup_steps": 101}, ["warm-up of 101 steps", "run of 100"]),
        ({"name": "cosine", "warmup_steps": 1, "warmup_epochs": 1}, ["warmup_steps and", "warmup_epochs"]),
        ({"name": "cosine", "every_epochs": 1}, ["config.optim.schedule.every", "cosine"]),
        ({"name": "step"}, ["milestones_epochs", "every_epochs"]),
        ({"name": "step", "every": 3}, ["config.optim.schedule.every has no unit", "every_epochs"]),
        ({"name": "step", "every_steps": 0}, ["config.optim.schedule.every_steps=0", "at least one step"]),
        ({"name": "exponential"}, ["factor=0.9", "rate=0.1"]),
        ({"name": "inverse_time"}, ["config.optim.schedule.rate is missing"]),
        ({"name": "inverse_time", "rate": -1.0}, ["config.optim.schedule.rate=-1.0", "0 or more"]),
        ({"name": "power", "exponent": 0.0}, ["config.optim.schedule.exponent=0.0", "positive"]),
        ({"name": "polynomial", "power": -2.0}, ["config.optim.schedule.power=-2.0", "positive"]),
        ({"name": "exponential", "factor": 0.0}, ["config.optim.schedule.factor=0.0", "positive"]),
        ({"name": "cosine", "final": -0.1}, ["config.optim.schedule.final=-0.1", "0 or more"]),
    ],
)
def test_schedules_refuse_by_name(schedule, words):
    with pytest.raises(ConfigError) as error:
        rates(schedule, [])
    message = str(error.value)
    assert all(word in message for word in words), message

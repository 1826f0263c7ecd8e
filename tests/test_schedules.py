"""Learning-rate schedules: exact end points, worked numbers, warm-up in front of any, units, mistakes by name."""

import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax import schedules
from cvdl_jax.errors import ConfigError


def rates(schedule, counts, lr=0.1, total_steps=100, steps_per_epoch=10.0):
    rate = schedules.build(schedule, lr, total_steps=total_steps, steps_per_epoch=steps_per_epoch, batch_size=5)
    return [float(rate(jnp.int32(count))) for count in counts]


TENTH = float(np.float32(0.1))


@pytest.mark.parametrize("name", ["cosine", "linear", "polynomial"])
def test_schedules_begin_and_end_exactly(name):
    assert rates({"name": name}, [0, 100, 150]) == [TENTH, 0.0, 0.0]
    assert rates({"name": name, "final": 0.5}, [0, 100]) == [TENTH, float(np.float32(0.05))]
    assert rates({"name": name, "warmup_percent": 20}, [19, 20, 100]) == [TENTH, TENTH, 0.0]
    assert 0 < rates({"name": name}, [99])[0] < 0.01


@pytest.mark.curriculum("D21")
@pytest.mark.parametrize(("unit", "value"), [("steps", 20), ("epochs", 2), ("percent", 20), ("examples", 100)])
@pytest.mark.parametrize("name", sorted(set(schedules.SCHEDULES) - {"step", "exponential", "inverse_time"}))
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
    ],
)
def test_schedules_refuse_by_name(schedule, words):
    with pytest.raises(ConfigError) as error:
        rates(schedule, [])
    message = str(error.value)
    assert all(word in message for word in words), message

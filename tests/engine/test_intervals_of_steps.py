"""The length of a call follows the pace, and nothing else."""

from cvdl_jax.engine.intervals import SECONDS, Stride


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def lengths(seconds_of_a_step, most, calls=8, **more):
    clock = Clock()
    stride = Stride(most, clock=clock, **more)
    found = []
    for _ in range(calls):
        found.append(stride.steps)
        clock.now += stride.steps * seconds_of_a_step
        stride.completed(stride.steps)
    return found


def test_fast_steps_grow_to_the_whole_call():
    assert lengths(1e-4, 50) == [1, 1, 4, 16, 50, 50, 50, 50]


def test_a_call_of_slow_steps_takes_half_a_second():
    assert SECONDS == 0.5
    assert lengths(0.1, 50) == [1, 1, 4, 5, 5, 5, 5, 5]


def test_a_step_longer_than_that_is_a_call_of_its_own():
    assert lengths(3.0, 50) == [1] * 8


def test_several_processes_always_make_the_same():
    assert lengths(3.0, 50, fixed=True) == [50] * 8


def test_a_pause_between_two_calls_does_not_shorten_them():
    clock = Clock()
    stride = Stride(50, clock=clock)
    for pause in (0, 0, 0, 0, 30.0):
        clock.now += stride.steps * 1e-3 + pause
        stride.completed(stride.steps)
    assert stride.steps == 50


def test_a_clock_that_stands_still_is_no_error():
    assert lengths(0.0, 50)[-1] == 50

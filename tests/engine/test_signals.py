"""Signals: the last complete step is saved, the exit code says what happened, the rerun ends with the same result."""

import re
import subprocess
import sys

import pytest
from runs_for_tests import CHILD, ROOT, RUNS, assert_same_run, environment, rows, start

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("signals") / "whole"
    done = start(workdir, "perceptron")
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.mark.parametrize(
    ("place", "code", "least", "most"),
    [
        ("term@step:5", 75, 5, 5),  # at the end of a logging interval
        ("term@step:17", 75, 17, 20),  # in training; the call under way is not cut short, it ends at the next row
        ("term@eval:4", 75, 8, 8),  # in an evaluation during training: its row waits in the checkpoint
        ("term@eval:60", 75, 24, 24),  # in the last one
        ("term@eval:70", 75, 24, 24),  # in the final evaluation
        ("term@save:1", 75, 8, 8),
        ("int@step:12", 130, 12, 15),
        ("hup@step:12", 75, 12, 15),
    ],
)
def test_signal_saves_the_last_complete_step(whole, tmp_path, place, code, least, most):
    stopped = start(tmp_path / "run", "perceptron", place)
    assert stopped.returncode == code, f"{stopped.stdout}{stopped.stderr}"
    saved = int(re.search(r"saved step (\d+)", stopped.stdout).group(1))
    assert least <= saved <= most
    assert "run the same command to continue" in stopped.stdout
    again = start(tmp_path / "run", "perceptron")
    assert again.returncode == 0, again.stderr
    assert f"restored step {saved}" in again.stdout
    assert rows(whole) == rows(tmp_path / "run")
    assert_same_last_state(whole, tmp_path / "run")


def assert_same_last_state(one, other):
    """The last steps are the same. A step at which the second run stopped may lie before the evaluation at it."""
    import numpy as np
    from runs_for_tests import leaves

    first, second = leaves(one), leaves(other)
    step = max(first)
    assert step == max(second)
    for name, x in first[step].items():
        np.testing.assert_array_equal(x, second[step][name], err_msg=f"step {step} {name}", strict=True)


@pytest.mark.parametrize("place", ["pipe@step:12", "pipe@eval:4"])
def test_a_closed_output_saves_as_a_signal_does(whole, tmp_path, place):
    stopped = start(tmp_path / "run", "perceptron", place)
    assert stopped.returncode == 75 and stopped.stderr == "", stopped.stderr
    again = start(tmp_path / "run", "perceptron")
    assert again.returncode == 0 and re.search(r"restored step ([89]|1\d|2[0-3])\b", again.stdout)
    assert rows(whole) == rows(tmp_path / "run")
    assert_same_last_state(whole, tmp_path / "run")


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("term@build:1", 75), ("int@build:1", 130), ("hup@build:1", 75), ("term@compile:1", 75), ("int@compile:2", 130),
        ("term@compile:3", 75),
    ],
)  # fmt: skip
def test_a_signal_before_the_first_step_ends_the_process(tmp_path, place, code):
    # the hook's compilation never ends, so a process that waited for it would run into the time limit of `start`
    stopped = start(tmp_path / "run", "perceptron", place)
    assert stopped.returncode == code, f"{stopped.stdout}{stopped.stderr}"
    assert "while starting: nothing to save; run the same command to continue" in stopped.stdout
    assert "Fatal" not in stopped.stderr and "Traceback" not in stopped.stderr
    assert not (tmp_path / "run" / "FAILED.json").exists()


def test_signal_while_compiling_after_a_checkpoint(whole, tmp_path):
    stopped = start(tmp_path / "run", "perceptron", "term@step:10")
    assert stopped.returncode == 75
    saved = re.search(r"saved step (\d+)", stopped.stdout).group(1)
    assert start(tmp_path / "run", "perceptron", "term@compile:2").returncode == 75
    again = start(tmp_path / "run", "perceptron")
    assert again.returncode == 0 and f"restored step {saved}" in again.stdout
    assert rows(whole) == rows(tmp_path / "run")


def test_finished_run_is_left_alone(whole):
    before = (whole / "metrics.jsonl").read_bytes()
    again = start(whole, "perceptron")
    assert again.returncode == 0 and "is finished" in again.stdout
    assert (whole / "metrics.jsonl").read_bytes() == before


def test_rerun_in_another_folder_is_the_same_run(whole, tmp_path):
    """Nor does it matter that other processes of these tests are forks, and this one is not."""
    command = [sys.executable, str(CHILD), "none", *RUNS["perceptron"], f"--workdir={tmp_path / 'run'}"]
    assert subprocess.run(command, env=environment(), cwd=ROOT, timeout=300, check=False).returncode == 0
    assert_same_run(whole, tmp_path / "run")

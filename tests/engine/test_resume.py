"""A killed and continued run equals an uninterrupted one, bit for bit: state, averages, rows, predictions."""

import re

import pytest
from runs_for_tests import assert_same_run, rows, start

pytestmark = pytest.mark.long
# where a run is killed -> the steps it may continue from. Inside a logging interval (3, 7, 13), at its end (10), at an
# evaluation's step (16), inside an evaluation, while Orbax writes, between the commit and its checksums.
PLACES = {
    "perceptron": {
        "kill@step:7": {0}, "kill@step:10": {8}, "kill@step:23": {16}, "kill@eval:3": {0}, "kill@eval:25": {8},
        "kill@save:2": {8, 16}, "kill@commit:1": {8},
    },
    "residual": {
        "kill@step:3": {0}, "kill@step:13": {12}, "kill@step:16": {12}, "kill@eval:23": {12}, "kill@save:3": {8, 12},
        "kill@commit:2": {8},
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=list(PLACES))
def reference(request, flags_of_users, tmp_path_factory):
    workdir = tmp_path_factory.mktemp(request.param) / "whole"
    done = start(workdir, request.param)
    assert done.returncode == 0, done.stderr
    assert (workdir / "DONE").exists()
    return request.param, workdir


def test_killed_run_continues_bit_for_bit(reference, tmp_path):
    run, whole = reference
    for place, steps in PLACES[run].items():
        broken = tmp_path / place.replace("@", "_").replace(":", "_")
        killed = start(broken, run, place)
        assert killed.returncode == -9, f"{place}: {killed.stdout}{killed.stderr}"
        again = start(broken, run)
        assert again.returncode == 0, f"{place}: {again.stderr}"
        restored = re.search(r"restored step (\d+)", again.stdout)
        assert int(restored[1] if restored else 0) in steps, f"{place}: {again.stdout}"
        assert_same_run(whole, broken)
        written = [row["step"] for row in rows(broken)]
        assert written == sorted(set(written)), f"{place}: a step was written twice"


def test_killed_twice(reference, tmp_path):
    run, whole = reference
    assert start(tmp_path / "run", run, "kill@step:11").returncode == -9
    assert start(tmp_path / "run", run, "kill@step:19").returncode == -9
    again = start(tmp_path / "run", run)
    assert again.returncode == 0, again.stderr
    assert "restored step 16" in again.stdout
    assert_same_run(whole, tmp_path / "run")

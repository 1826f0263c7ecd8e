"""A killed and continued run equals an uninterrupted one, bit for bit: state, averages, rows, predictions."""

import re

import pytest
from runs_for_tests import assert_same_run, rows, start

pytestmark = pytest.mark.long
# Chains of places where a run is killed and the steps it may then continue from: each continuation is killed at the
# next place, after it saved what it restored, and the last one ends. Inside a logging interval (3, 7, 13), at its end
# (10), at an evaluation's step (16), inside an evaluation, while Orbax writes, between the commit and its checksums.
CHAINS = {
    "perceptron": [
        {"kill@step:7": {0}, "kill@step:10": {8}, "kill@step:23": {16}},
        {"kill@eval:3": {0}, "kill@save:2": {8, 16}},
        {"kill@commit:1": {8}, "kill@eval:25": {16}},
    ],
    "residual": [
        {"kill@step:3": {0}},
        {"kill@step:13": {12}},
        {"kill@step:16": {12}},
        {"kill@eval:23": {12}},
        {"kill@save:3": {8, 12}},
        {"kill@commit:2": {8}},
        {"kill@step:11": {8}, "kill@step:19": {16}},
    ],
}


@pytest.fixture(scope="module", params=list(CHAINS))
def reference(request, flags_of_users, tmp_path_factory):
    workdir = tmp_path_factory.mktemp(request.param) / "whole"
    done = start(workdir, request.param)
    assert done.returncode == 0, done.stderr
    assert (workdir / "DONE").exists()
    return request.param, workdir


def test_killed_run_continues_bit_for_bit(reference, tmp_path):
    run, whole = reference
    for number, chain in enumerate(CHAINS[run]):
        broken, steps = tmp_path / str(number), {0}
        for place, after in [*chain.items(), ("none", None)]:
            done = start(broken, run, place)
            assert done.returncode == (0 if place == "none" else -9), f"{place}: {done.stdout}{done.stderr}"
            restored = re.search(r"restored step (\d+)", done.stdout)
            assert int(restored[1] if restored else 0) in steps, f"before {place}: {done.stdout}"
            steps = after
        assert_same_run(whole, broken)
        written = [row["step"] for row in rows(broken)]
        assert written == sorted(set(written)), f"{chain}: a step was written twice"

"""Losses that couple the rows of an episode compute the same on every layout of devices, and a killed run goes on bit
for bit, with the batches that it would have seen and the thresholds that it had chosen."""

import itertools
from pathlib import Path

import pytest
import runs_for_tests
from runs_for_tests import assert_same_run, leaves, start
from test_layouts import assert_same_state, child, ended

pytestmark = pytest.mark.long
TESTS = Path(__file__).parents[1]
EIGHT = "--config.data.episodes.classes=8"  # of four images: the batches of 32 that layouts_child trains on
CASES = {
    "judged": ["configs/regimes/siamese.py:loss=weighted_l1,smoke", EIGHT],
    "mined": ["configs/regimes/siamese.py:loss=triplet,smoke", EIGHT, "--config.loss.mining=semi_hard"],
    "prototypes": ["configs/regimes/prototypical.py:smoke", EIGHT],
}
RUN = """
import sys; sys.path.insert(0, {!r})
import layouts_child
layouts_child.STEPS = 5
layouts_child.CASES.update({!r})
layouts_child.main()
"""


@pytest.mark.parametrize("cases,usual", [(["judged"], True), (["mined", "prototypes"], False)])
def test_layouts_agree(cases, usual, tmp_path):
    script, layouts = tmp_path / "layouts.py", ("one", "jit", "pmap", "fsdp4")
    script.write_text(RUN.format(str(TESTS), CASES))
    # As users have it: with the pooling of slices and the convolutions by shifted images.
    more = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"} if usual else {}
    process = child(tmp_path, ",".join(cases), *layouts, devices=8, script=script, **more)
    (out,) = ended(process)
    assert process.returncode == 0, out
    for case, layout in itertools.product(cases, layouts[1:]):
        assert_same_state(tmp_path / f"{case}_one.npz", tmp_path / f"{case}_{layout}.npz")


def test_a_killed_run_continues_bit_for_bit(tmp_path, monkeypatch):
    path, *more = CASES["judged"]
    flags = [f"--config={path}", *runs_for_tests.COMMON, *more[1:], "--config.ema.decay=0.9"]
    monkeypatch.setitem(runs_for_tests.RUNS, "judged", flags)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = start(whole, "judged")
    assert done.returncode == 0, done.stderr
    assert start(broken, "judged", "kill@step:13").returncode == -9
    again = start(broken, "judged")
    assert again.returncode == 0 and "restored step 8" in again.stdout, again.stderr
    assert_same_run(whole, broken)
    last = max(leaves(whole).items())[1]
    kept = {name: x for name, x in last.items() if "thresholds" in name}
    assert len(kept) == 2 and all(abs(float(x)) < 100 for x in kept.values())  # no longer those of the beginning

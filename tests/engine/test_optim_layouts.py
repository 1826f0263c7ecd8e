"""Optimizers of our own compute the same on every layout of devices, and continue bit for bit after a kill."""

import itertools
from pathlib import Path

import pytest
from runs_for_tests import assert_same_run, start
from test_layouts import assert_same_state, child, ended

pytestmark = pytest.mark.long
TESTS = Path(__file__).parents[1]
SECTIONS = {
    "rate": "name=sgd momentum=0.9 form=rate nesterov=True layer_decay=0.5 layers=('[a-z]+([0-9]+)/.*','head/.*')",
    "norm": "name=rmsprop norm=global momentum=0.5 clip_tensor_norm=0.5",
    "free": "name=schedule_free_adamw freeze=head/bias",
    "waiting": "name=adamw weight_decay=0.1 clip_norm=1.0 unfreeze=(('head/.*',0),('(?!head/).*',40))",
}
RUN = """
import sys; sys.path.insert(0, {!r})
import layouts_child
layouts_child.STEPS = 5
layouts_child.CASES.update({!r})
layouts_child.main()
"""


def flags(case):
    optim = [f"--config.optim.{text}" for text in SECTIONS[case].split()]
    schedule = ["--config.optim.schedule.name=inverse_time", "--config.optim.schedule.rate=0.1"]
    return [*schedule, *optim]


def test_layouts_agree(tmp_path):
    small = ["configs/classify/mlp.py", "--config.model.hidden=(16,)"]
    script, layouts = tmp_path / "layouts.py", ("one", "jit", "pmap", "fsdp4")
    script.write_text(RUN.format(str(TESTS), {case: [*small, *flags(case)] for case in SECTIONS}))
    process = child(tmp_path, ",".join(SECTIONS), *layouts, devices=8, script=script)
    (out,) = ended(process)
    assert process.returncode == 0, out
    for case, layout in itertools.product(SECTIONS, layouts[1:]):
        assert_same_state(tmp_path / f"{case}_one.npz", tmp_path / f"{case}_{layout}.npz")


@pytest.mark.parametrize("case", SECTIONS)
def test_a_killed_run_continues_bit_for_bit(case, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = start(whole, "perceptron", "none", *flags(case))
    assert done.returncode == 0, done.stderr
    assert start(broken, "perceptron", "kill@step:19", *flags(case)).returncode == -9
    again = start(broken, "perceptron", "none", *flags(case))
    assert again.returncode == 0 and "restored step 16" in again.stdout, again.stderr
    assert_same_run(whole, broken)

"""Runs that were made before the package was cut into rooms load, are evaluated and continue.

`tests/stored/runs_before_the_rooms` holds two run folders of commit a78a8db: an MLP with batch normalisation, drop-out
and an average of its weights on the digits data, 8 steps; `whole` finished, `stopped` was told to stop at step 6.
Averages had no batch statistics of their own then: these runs stay as they are, and say so.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import launch
from cvdl_jax.engine import runs
from cvdl_jax.workdir.checkpoint import read_step

pytestmark = pytest.mark.filterwarnings("ignore:.*statistics of batch normalisation of their own")
STORED = Path(__file__).parents[1] / "stored" / "runs_before_the_rooms"


@pytest.fixture
def run(tmp_path):
    def copy(name):
        return Path(shutil.copytree(STORED / name, tmp_path / name))

    return copy


def rows(workdir):
    """The metric rows, without what the clock decides."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith("time/")} for line in lines]


def test_a_finished_run_loads_and_predicts_what_it_predicted(run):
    workdir = run("whole")
    task, state, config = runs.load(workdir)
    assert int(state.step) == 8 and config.model.hidden == (8,) and config.experiment == "classify"
    built, _, step = runs.load_built(workdir)
    assert step == 8
    split = built.data.splits["test"]
    saved = np.load(workdir / "predictions" / "test.npz")
    np.testing.assert_array_equal(np.asarray(split.ids), saved["ids"])
    images = np.stack([split.example(i)["image"] for i in range(64)]).astype(np.float32) / 255
    np.testing.assert_allclose(task.predict(state, {"image": images})["scores"], saved["scores"][:64], atol=1e-4)


def test_a_finished_run_is_evaluated_to_the_same_metrics(run, capsys):
    workdir = run("whole")
    expected = json.loads((workdir / "results.json").read_text())["metrics"]
    out = workdir / "metrics.json"
    assert launch.main(["--mode", "eval", "--workdir", str(workdir), "--out", str(out)]) == 0
    assert f"test/accuracy = {100 * expected['test/accuracy']:.2f} %" in capsys.readouterr().out
    measured = json.loads(out.read_text())
    measured = measured.get("metrics", measured)
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, rel=1e-5), name


def test_it_is_said_that_its_average_has_no_statistics(run):
    with pytest.warns(UserWarning, match=r"of their own: .* as then\. .*--config\.batch_stats=exact"):
        assert "ema_statistics" not in runs.load(run("whole"))[1].extra


def test_a_stopped_run_continues_to_where_the_uninterrupted_one_ended(run):
    whole, stopped = run("whole"), run("stopped")
    assert launch.main(["--workdir", str(stopped)]) == 0
    assert (stopped / "DONE").exists()
    assert len(rows(stopped)) == len(rows(whole)) == 4
    for row, expected in zip(rows(stopped), rows(whole), strict=True):
        assert row == pytest.approx(expected, rel=1e-5)
    metrics = [json.loads((folder / "results.json").read_text())["metrics"] for folder in (stopped, whole)]
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-5)
    states = [read_step(folder / "checkpoints" / "8")["state"]["params"] for folder in (stopped, whole)]
    leaves = [dict(_flat(tree)) for tree in states]
    assert leaves[0].keys() == leaves[1].keys() and leaves[0]
    for name, x in leaves[1].items():
        # Adam makes steps of 2e-3 here, of either sign where a gradient is all rounding: what compiles decides that
        np.testing.assert_allclose(leaves[0][name], x, atol=5e-4, err_msg=name)


def _flat(tree, path=""):
    if not isinstance(tree, dict):
        yield path, np.asarray(tree)
        return
    for key, value in tree.items():
        yield from _flat(value, f"{path}/{key}")

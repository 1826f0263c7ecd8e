"""The end of a run: a damaged selected checkpoint, and what evaluations and the task draw."""

import types

import numpy as np
import pytest

from cvdl_jax.core.task import Eval, Task
from cvdl_jax.engine import finish
from cvdl_jax.engine.context import FinishedRun, RunContext
from cvdl_jax.errors import CheckpointError
from cvdl_jax.workdir.folder import Workdir


def test_a_damaged_selected_step_says_what_is_left_to_do(tmp_path, monkeypatch):
    def damaged(path, abstract):
        raise CheckpointError(f"checkpoint {path} is damaged")

    monkeypatch.setattr(finish, "restore_step", damaged)
    program, checkpoints = (
        types.SimpleNamespace(abstract_tree=dict),
        types.SimpleNamespace(folder=tmp_path / "checkpoints"),
    )
    context = RunContext(Workdir(tmp_path), None, program, checkpoints)
    with pytest.raises(CheckpointError) as error:
        finish.select(FinishedRun(context, 24, None, best_step=16))
    assert f"checkpoint {tmp_path / 'checkpoints' / '16'} is damaged" in str(error.value)
    assert f"--mode eval --workdir {tmp_path} --checkpoint latest" in str(error.value)
    assert finish.select(FinishedRun(context, 24, None, best_step=24)) == (24, None)
    assert finish.select(FinishedRun(context, 24, None, best_step=None)) == (24, None)


def test_an_evaluation_draws_what_it_measured(tmp_path, monkeypatch):
    """`Eval.draw` gets the metrics and the arrays of its own evaluation; an interruption draws nothing."""
    results = {"first": ({"loss": 2.0}, {}), "second": ({"loss": 3.0}, {"label": np.arange(4)})}

    def evaluated(program, name, state, split, step, interrupted, on_batch):
        return None if interrupted() else results[name]

    def shown(metrics, rows):
        return {"sentence": f"loss {metrics['loss']} of {len(rows['label'])}"}

    monkeypatch.setattr(finish, "evaluate", evaluated)
    evals = {"first": Eval(None, data=1), "second": Eval(None, data=1, draw=shown)}
    built = types.SimpleNamespace(task=Task(None, None, evals))
    context = RunContext(Workdir(tmp_path), built, None, None)
    metrics, figures = finish.evaluate_all(context, 0, None, lambda: False, lambda examples: None)
    assert metrics == {"first/loss": 2.0, "second/loss": 3.0}
    finish.save_figures(context.workdir, figures)
    assert (tmp_path / "figures" / "sentence.txt").read_text() == "loss 3.0 of 4"
    assert sorted(path.name for path in (tmp_path / "predictions").iterdir()) == ["second.npz"]
    assert finish.evaluate_all(context, 0, None, lambda: True, lambda examples: None) is None

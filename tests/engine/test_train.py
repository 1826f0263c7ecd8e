"""The loop: what it computes, what it selects, when it stops, and what its rows do not depend on."""

import json

import numpy as np
import pytest
from runs_for_tests import assert_same_run, leaves, rows

import launch
from cvdl_jax.config import configs
from cvdl_jax.data import load as data_load
from cvdl_jax.data import order
from cvdl_jax.engine import finish, train
from cvdl_jax.engine.build import build, make_program

TINY = [
    "--config=configs/classify/mlp.py", "--config.total_steps=12", "--config.batch_size=16",
    "--config.model.hidden=(8,)", "--config.eval.every_steps=4", "--config.log.every_steps=2",
    "--config.log.tensorboard=False", "--config.optim.lr=0.02", "--config.optim.schedule={}",
    "--config.eval_batch_size=128",
]  # fmt: skip


def start(workdir, *flags: str) -> int:
    """Runs TINY with these flags; a later one replaces an earlier one of the same key."""
    merged = {flag.partition("=")[0]: flag for flag in [*TINY, *flags]}
    return launch.main([*merged.values(), f"--workdir={workdir}"])


def results_of(workdir) -> dict:
    return json.loads((workdir / "results.json").read_text())


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """They take half the time of a run of twelve steps; tests of whole runs draw them."""
    monkeypatch.setattr(finish, "draw", lambda run, state: None)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """Gives the folder of a whole run with these flags, made once for all the tests that compare another with it."""
    made = {}

    def run(*flags):
        if flags not in made:
            folder = tmp_path_factory.mktemp("once") / "run"
            assert start(folder, *flags) == 0
            made[flags] = folder
        return made[flags]

    return run


@pytest.fixture
def loops(monkeypatch):
    """Every loop that a test starts."""
    found = []
    original = train.Loop.run
    monkeypatch.setattr(train.Loop, "run", lambda loop: found.append(loop) or original(loop))
    return found


@pytest.fixture
def stop_at(monkeypatch):
    """Sends a signal, as far as the loop knows, once it has made so many steps."""

    def install(step):
        original = train.Loop._advance

        def advance(loop):
            original(loop)
            if loop.step >= step:
                loop.signals.exit_code = 75

        monkeypatch.setattr(train.Loop, "_advance", advance)
        return lambda: monkeypatch.setattr(train.Loop, "_advance", original)

    return install


# What it computes -----------------------------------------------------------------------------------------------------


def numpy_softmax(params, arrays, batch_size, lr, steps):
    """Softmax regression by mini-batch gradient descent, the gradient derived by hand: (p - y) x."""
    x = arrays["image"].reshape(len(arrays["image"]), -1).astype(np.float64) / 255
    kernel, bias = (params["head"][k].astype(np.float64) for k in ("kernel", "bias"))
    losses = []
    for step in range(steps):
        _, index = order.examples(0, order.batch_positions(step, batch_size), len(x))
        scores = x[index] @ kernel + bias
        p = np.exp(scores - scores.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        y = np.eye(10)[arrays["label"][index]]
        losses.append(-np.log(p[y == 1]).mean())
        kernel = kernel - lr * x[index].T @ (p - y) / batch_size
        bias = bias - lr * (p - y).mean(0)
    return kernel, bias, np.array(losses)


@pytest.mark.curriculum("A9", "D29", "D3")
def test_softmax_regression_equals_numpy_over_two_epochs(tmp_path):
    """Forward, loss, backward, update over shuffled mini-batches that run across the epochs' border."""
    flags = [
        "--config=configs/classify/softmax.py", "--config.total_epochs=2", "--config.batch_size=100",
        "--config.log.every_steps=6", "--config.eval.every_epochs=1", "--config.log.tensorboard=False",
        "--config.normalise={}", "--config.optim={'name':'sgd','lr':0.5}",
    ]  # fmt: skip
    workdir = tmp_path / "run"
    assert launch.main([*flags, f"--workdir={workdir}"]) == 0
    program = make_program(
        build(configs.load(flags[0].partition("=")[2], [f[2:] for f in flags[1:] if "log" not in f]))
    )
    program.jobs()["create"]()
    arrays = data_load.load("digits", validation="validation", test="test").splits["train"].arrays
    first = {"head": {k: np.asarray(v) for k, v in program.create().params["head"].items()}}
    kernel, bias, losses = numpy_softmax(first, arrays, 100, 0.5, 23)  # 22.98 batches are two epochs
    state = leaves(workdir)[23]
    np.testing.assert_allclose(state["['state']['params']['head']['kernel']"], kernel, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(state["['state']['params']['head']['bias']"], bias, rtol=1e-3, atol=1e-5)
    written = rows(workdir)
    assert [row["step"] for row in written] == [6, 12, 18, 23]
    for row, low in zip(written, [0, 6, 12, 18], strict=True):
        np.testing.assert_allclose(row["train/loss"], losses[low : row["step"]].mean(), rtol=1e-4)
        assert row["epoch"] == pytest.approx(row["step"] * 100 / 1149)
    assert results_of(workdir)["metrics"]["test/accuracy"] > 0.8


# What rows do not depend on -------------------------------------------------------------------------------------------


def test_rows_do_not_depend_on_steps_a_call(tmp_path):
    for n in (1, 50):
        assert start(tmp_path / str(n), f"--config.steps_per_call={n}") == 0
    one, many = rows(tmp_path / "1"), rows(tmp_path / "50")
    assert [row["step"] for row in one] == [row["step"] for row in many] == [2, 4, 6, 8, 10, 12]
    for a, b in zip(one, many, strict=True):
        assert a.keys() == b.keys()
        np.testing.assert_allclose(list(a.values()), list(b.values()), rtol=1e-3)


@pytest.mark.parametrize("interval", ["every_steps=1", "every_steps=5", "every_percent=60"])
def test_rows_do_not_depend_on_when_it_saves(once, tmp_path, interval):
    one = once()
    assert start(tmp_path / "other", f"--config.checkpoint.{interval}") == 0
    assert rows(one) == rows(tmp_path / "other")
    assert results_of(one)["metrics"] == results_of(tmp_path / "other")["metrics"]


def test_logging_does_not_change_the_run(once, tmp_path):
    assert start(tmp_path / "other", "--config.log.every_steps=3", "--config.log.tensorboard=True") == 0
    first, second = leaves(once())[12], leaves(tmp_path / "other")[12]
    for name, x in first.items():
        if name.startswith("['state']"):
            np.testing.assert_array_equal(x, second[name])
    coarse = {row["step"]: row for row in rows(tmp_path / "other")}
    assert list(coarse) == [3, 4, 6, 8, 9, 12]  # an evaluation ends an interval too


def test_streamed_and_resident_data_give_the_same_run(tmp_path):
    flags = ["--config.steps_per_call=1", "--config.augment=flip | mixup(alpha=0.3)", "--config.model.norm=batch"]
    for resident in ("always", "never"):
        assert start(tmp_path / resident, *flags, f"--config.data.resident={resident}") == 0
    assert_same_run(tmp_path / "always", tmp_path / "never")
    assert results_of(tmp_path / "always")["metrics"] == results_of(tmp_path / "never")["metrics"]


def test_one_trace_a_function_and_none_again(tmp_path, loops, stop_at):
    undo = stop_at(5)
    assert start(tmp_path / "run") == 75
    undo()
    assert start(tmp_path / "run") == 0
    assert [loop.program.traces for loop in loops] == [{"step": 1, "advance": 1, "eval": 2}] * 2  # validation and test


# What it selects ------------------------------------------------------------------------------------------------------


@pytest.fixture
def evaluations(monkeypatch):
    """(evaluation, step) of every evaluation, in order."""
    found = []
    for module in (train, finish):
        original = module.evaluate

        def counted(program, name, state, split, step, *rest, original=original):
            found.append((name, step))
            return original(program, name, state, split, step, *rest)

        monkeypatch.setattr(module, "evaluate", counted)
    return found


@pytest.mark.curriculum("W2", "W15")
@pytest.mark.parametrize("mode", ["min", "max"])
def test_validation_selects_and_test_is_evaluated_once(tmp_path, evaluations, mode):
    flags = ["--config.select.metric=validation/loss", f"--config.select.mode={mode}", "--config.checkpoint.keep=1"]
    assert start(tmp_path / "run", *flags) == 0
    values = {row["step"]: row["validation/loss"] for row in rows(tmp_path / "run") if "validation/loss" in row}
    best = {"min": min, "max": max}[mode](values, key=values.get)
    results = results_of(tmp_path / "run")
    assert best == {"min": 12, "max": 4}[mode]  # the loss falls
    assert (results["selected_step"], results["step"]) == (best, 12)
    assert results["selected_by"] == "validation/loss"
    assert results["metrics"]["validation/loss"] == values[best]
    assert evaluations == [("validation", k) for k in (4, 8, 12)] + [("validation", best), ("test", best)]
    assert not [name for row in rows(tmp_path / "run") for name in row if name.startswith("test")]
    assert sorted(leaves(tmp_path / "run")) == sorted({best, 12})  # kept beside the newest
    # and the test numbers are those of the selected step
    out = tmp_path / "eval.json"
    flags = ["--mode=eval", f"--checkpoint={best}", "--split=test", f"--out={out}"]
    assert launch.main([*flags, f"--workdir={tmp_path / 'run'}"]) == 0
    assert json.loads(out.read_text())["metrics"]["test/loss"] == results["metrics"]["test/loss"]


def test_equal_values_keep_the_first(tmp_path):
    flags = ["--config.optim.lr=0.0", "--config.checkpoint.keep=1"]
    assert start(tmp_path / "run", *flags) == 0
    assert results_of(tmp_path / "run")["selected_step"] == 4


def test_without_a_metric_the_last_step_is_taken(tmp_path, evaluations):
    assert start(tmp_path / "run", "--config.select.metric=", "--config.data.test=") == 0
    results = results_of(tmp_path / "run")
    assert (results["selected_step"], results["selected_by"]) == (12, "last step")
    assert {name for name, _ in evaluations} == {"validation"}


def test_predictions_are_those_of_the_whole_split_in_order(tmp_path):
    assert start(tmp_path / "run", "--config.eval_batch_size=100") == 0  # 359 and 289 examples: the last one padded
    data = data_load.load("digits", validation="validation", test="test")
    metrics = results_of(tmp_path / "run")["metrics"]
    for name in ("validation", "test"):
        split = data.splits[name]
        with np.load(tmp_path / "run" / "predictions" / f"{name}.npz", allow_pickle=False) as file:
            assert sorted(file.files) == ["ids", "label", "scores"]
            assert list(file["ids"]) == list(split.ids) == [f"{name}/{i}" for i in range(split.size)]
            np.testing.assert_array_equal(file["label"], split.arrays["label"])
            assert file["scores"].shape == (split.size, 10)
            hits = file["scores"].argmax(1) == file["label"]
        np.testing.assert_allclose(metrics[f"{name}/accuracy"], hits.mean(), rtol=1e-6)
        assert metrics[f"{name}/examples"] == split.size


def test_a_run_of_no_steps_evaluates_what_it_was_given(tmp_path):
    assert start(tmp_path / "run") == 0
    again = tmp_path / "again"
    flags = ["--config.total_steps=0", f"--config.init_from={tmp_path / 'run'}"]
    assert start(again, *flags) == 0
    assert results_of(again)["metrics"] == results_of(tmp_path / "run")["metrics"]
    assert rows(again) == []


# When it stops, and feedback ------------------------------------------------------------------------------------------


@pytest.mark.curriculum("F9")
@pytest.mark.parametrize(
    ("criterion", "stops_at"),
    [
        ({}, 40),  # preset
        ({"metric": "validation/loss", "patience": 2, "min_delta": 100.0}, 12),  # the first evaluation is the best
        ({"metric": "validation/accuracy", "mode": "max", "target": 0.0}, 4),
        ({"update_delta": 100.0, "update_evaluations": 1}, 8),  # the first change is that of the second evaluation
        ({"metric": "validation/loss", "patience": 1, "min_delta": 100.0, "update_delta": 100.0,
          "update_evaluations": 3, "combine": "all"}, 16),
    ],
)  # fmt: skip
def test_early_stopping_ends_the_run_with_its_results(tmp_path, capsys, criterion, stops_at):
    flags = ["--config.total_steps=40", f"--config.early_stopping={criterion}"]
    assert start(tmp_path / "run", *flags) == 0
    written, results = rows(tmp_path / "run"), results_of(tmp_path / "run")
    assert written[-1]["step"] == stops_at == results["step"]
    assert "validation/loss" in written[-1] and "test/accuracy" in results["metrics"]
    assert (tmp_path / "run" / "DONE").exists() and stops_at in leaves(tmp_path / "run")
    assert (f"early stopping at step {stops_at}" in capsys.readouterr().out) == bool(criterion)


@pytest.mark.curriculum("D22")
def test_a_plateau_lowers_the_rate_that_trains(tmp_path):
    plateau = {"metric": "validation/loss", "factor": 0.5, "patience": 1, "min_delta": 100.0}
    sgd = {"name": "sgd", "lr": 0.5}
    assert (
        start(tmp_path / "run", f"--config.plateau={plateau}", "--config.total_steps=16", f"--config.optim={sgd}") == 0
    )
    rates = {row["step"]: row["train/learning_rate"] for row in rows(tmp_path / "run")}
    assert rates == {2: 0.5, 4: 0.5, 6: 0.5, 8: 0.5, 10: 0.25, 12: 0.25, 14: 0.125, 16: 0.125}
    assert start(tmp_path / "constant", "--config.total_steps=16", f"--config.optim={sgd}") == 0
    same, other = rows(tmp_path / "run"), rows(tmp_path / "constant")
    assert same[:4] == other[:4] and same[4]["train/loss"] != other[4]["train/loss"]


@pytest.mark.parametrize("step", [5, 8, 11])
def test_feedback_is_exact_after_a_stop(once, tmp_path, stop_at, step):
    flags = [
        "--config.plateau={'metric':'validation/loss','factor':0.5,'patience':1,'min_delta':100.0}",
        "--config.early_stopping={'metric':'validation/loss','patience':3,'min_delta':100.0}",
        "--config.total_steps=40",
    ]
    whole = once(*flags)
    undo = stop_at(step)
    assert start(tmp_path / "run", *flags) == 75
    undo()
    assert start(tmp_path / "run", *flags) == 0
    assert rows(tmp_path / "run") == rows(whole)
    assert results_of(tmp_path / "run")["step"] == 16
    assert results_of(tmp_path / "run")["metrics"] == results_of(whole)["metrics"]

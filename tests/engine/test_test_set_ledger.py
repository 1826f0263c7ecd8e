"""The test set is looked at once: what is counted, what is refused, and that validation selects."""

import json
import re

import numpy as np
import pytest

import launch
from cvdl_jax.errors import ConfigError
from cvdl_jax.workdir import checkpoint, test_set_ledger
from cvdl_jax.workdir.folder import read_json, write_json
from cvdl_jax.workdir.metric_log import read
from cvdl_jax.workdir.run_state import state_of

FLAGS = [
    "--config=configs/classify/softmax.py", "--config.total_steps=12", "--config.batch_size=32",
    "--config.eval.every_steps=4", "--config.log.every_steps=4", "--config.log.tensorboard=False",
    "--config.checkpoint.keep=3", "--config.optim={'name': 'sgd', 'lr': 0.02}",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("lock") / "run"
    assert launch.main([*FLAGS, f"--workdir={workdir}"]) == 0
    return workdir


def evaluate(run, *flags):
    return launch.main(["--mode=eval", f"--workdir={run}", *flags])


def saved(folder, selected=8, **config):
    """A run's folder as far as the count of evaluations reads it."""
    write_json(folder / "config.json", {"ema": {}, **config})
    metrics = {"validation/accuracy": 0.75, "test/accuracy": 0.5}
    write_json(folder / "results.json", {"step": 12, "selected_step": selected, "metrics": metrics})
    return folder


@pytest.mark.curriculum("W2")
def test_the_end_of_a_run_is_the_first_look(tmp_path):
    assert test_set_ledger.looks(tmp_path) == []
    saved(tmp_path)
    (first,) = test_set_ledger.looks(tmp_path)
    assert (first["step"], first["weights"], first["metrics"]) == (8, "raw", {"test/accuracy": 0.5})
    assert test_set_ledger.looks(tmp_path, "external digits") == []


@pytest.mark.curriculum("W2")
def test_the_same_evaluation_is_no_further_look(tmp_path):
    config = {"ema": {"decay": 0.9}}
    saved(tmp_path, **config)
    for weights in ("auto", "ema"):  # the run keeps an average, so that these are the same
        one = test_set_ledger.look(config, "test", 8, weights)
        test_set_ledger.check(tmp_path, one, again=False)
        assert test_set_ledger.record(tmp_path, one, {"test/accuracy": 0.5}) == 1
    assert not (tmp_path / test_set_ledger.NAME).exists()


@pytest.mark.curriculum("W2")
@pytest.mark.parametrize(
    ("step", "weights", "changes", "words"),
    [
        (12, "auto", (), "step 12, raw weights"),
        (8, "ema", (), "step 8, ema weights"),
        (8, "raw", ("--config.data.test=test[:9]",), "step 8, raw weights, config.data.test=test[:9]"),
    ],
)
def test_another_look_is_refused_and_counted_when_asked_for(tmp_path, step, weights, changes, words):
    saved(tmp_path)
    one = test_set_ledger.look({"ema": {}}, "test", step, weights, changes)
    with pytest.raises(ConfigError) as error:
        test_set_ledger.check(tmp_path, one, again=False)
    message = str(error.value)
    assert f"'test' of {tmp_path} was evaluated once: step 8, raw weights (at the end of the run)" in message
    assert f"Another look at it ({words})" in message and "--split validation, or add --again" in message
    test_set_ledger.check(tmp_path, one, again=True)
    assert test_set_ledger.record(tmp_path, one, {"test/accuracy": 0.25}) == 2
    test_set_ledger.check(tmp_path, one, again=False)  # seen now
    assert test_set_ledger.record(tmp_path, one, {"test/accuracy": 0.25}) == 2
    assert [each["metrics"]["test/accuracy"] for each in test_set_ledger.looks(tmp_path)] == [0.5, 0.25]


def test_words():
    assert [test_set_ledger.times(n) for n in range(4)] == ["never", "once", "twice", "3 times"]


@pytest.mark.curriculum("W2", "W15")
def test_a_run_is_tested_once_and_locked(run, capsys):
    """The whole way: the end of the run, the same again, another checkpoint, --again, the report, a repeated end."""
    results = read_json(run / "results.json")
    other = next(step for step in (4, 8, 12) if step != results["selected_step"])
    assert evaluate(run, "--split=test") == 0 and evaluate(run) == 0
    assert "test of this run has been evaluated once" in capsys.readouterr().out
    assert evaluate(run, f"--checkpoint={other}", "--split=validation") == 0  # for selection: never locked
    assert not (run / test_set_ledger.NAME).exists()
    for flags in ((f"--checkpoint={other}",), (f"--checkpoint={other}", "--split=test")):
        assert evaluate(run, *flags) == 2
        assert re.search(r"'test' of .* was evaluated once.*add --again", capsys.readouterr().err)
    assert evaluate(run, f"--checkpoint={other}", "--split=test", "--again") == 0
    assert "test of this run has been evaluated twice" in capsys.readouterr().out
    assert launch.main(["--mode=report", f"--workdir={run}"]) == 0
    assert "Test set evaluated twice" in (run / "report.html").read_text()
    (run / "DONE").unlink()  # stopped before its very end: the same evaluation is made once more
    assert launch.main([*FLAGS, f"--workdir={run}"]) == 0
    assert read_json(run / "results.json")["metrics"] == results["metrics"]
    assert len(test_set_ledger.looks(run)) == 2
    assert state_of(run, read_json(run / "config.json")).state == "done"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--again", "--mode=report"], "--again has no effect in --mode report, which reads --workdir; leave it out"),
        (["--external=digits"], "--external=digits has no effect in --mode train, which reads --config, "),
        (["--replicas=3", "--mode=eval"], "--replicas=3 has no effect in --mode eval, which reads --workdir, "),
    ],
)
def test_flags_of_other_modes_are_refused(run, capsys, flags, words):
    assert launch.main([f"--workdir={run}", *flags]) == 2
    assert words in capsys.readouterr().err


# Selection by validation ----------------------------------------------------------------------------------------------


@pytest.mark.curriculum("W15")
def test_the_best_epoch_on_validation_is_selected():
    """Accuracies 0.5, 0.7, 0.7, 0.6, NaN: step 2, the first of equals; of losses 0.9, 0.4, 0.5: step 2, the least."""
    from types import SimpleNamespace

    for metric, mode, values in (
        ("validation/accuracy", "max", [0.5, 0.7, 0.7, 0.6, float("nan")]),
        ("validation/loss", "min", [0.9, 0.4, 0.5]),
    ):
        memory = {"best_step": None, "best_value": None}
        for step, value in enumerate(values, 1):
            checkpoint.update(memory, SimpleNamespace(metric=metric, mode=mode), {metric: value, "other": -step}, step)
        assert memory == {"best_step": 2, "best_value": values[1]}


@pytest.mark.curriculum("W15")
def test_the_run_reports_the_checkpoint_that_validation_chose(run):
    rows = [row for row in read(run / "metrics.jsonl") if "validation/accuracy" in row]
    best = rows[int(np.argmax([row["validation/accuracy"] for row in rows]))]
    results = json.loads((run / "results.json").read_text())
    assert results["selected_step"] == best["step"] and results["selected_by"] == "validation/accuracy"
    assert results["metrics"]["validation/accuracy"] == pytest.approx(best["validation/accuracy"])
    assert not any(key.startswith("test/") for row in rows for key in row)  # nothing could have selected by it

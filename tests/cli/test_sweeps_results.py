"""What a sweep says in the end: sorted by validation, one configuration selected, its test metrics alone."""

import csv
import json
import math

import pytest
from scipy import stats
from tables_for_tests import begin, fail
from test_sweeps import sweep_file

import launch
from cvdl_jax.cli.sweeps import spec, summary
from cvdl_jax.cli.tables import build_all, drive
from cvdl_jax.cli.tables.drive import write_all
from cvdl_jax.metrics.stats.intervals import TOO_FEW, wilson
from cvdl_jax.workdir import run_state

NOW = "2026-01-01T00:00:00Z"


def finish(run, validation, test=None, loss=1.0):
    """The folder of a run with that many of 200 validation images right, and of 100 test images."""
    rows = [{"step": k, "epoch": k / 72, "time/seconds": 5.0 * k} for k in (1, 2)]
    folder = begin(run, 2, rows)
    metrics = {}
    for name, hits, n in (("validation", validation, 200), ("test", test, 100)):
        if hits is None:
            continue
        low, high = wilson(hits, n)
        accuracy = {
            "accuracy": hits / n,
            "accuracy_low": low,
            "accuracy_high": high,
            "examples": float(n),
            "loss": loss,
        }
        metrics |= {f"{name}/{key}": value for key, value in accuracy.items()}
    (folder / "results.json").write_text(json.dumps({"step": 2, "selected_step": 1, "metrics": metrics}))
    (folder / "DONE").write_text("now\n")


def plan(tmp_path, **values):
    sweep = spec.load(sweep_file(tmp_path, **values))
    return sweep, spec.planned(sweep, (), tmp_path / "root")


def collect(sweep, runs):
    return summary.collect(sweep, runs, (), None, NOW)


def three(tmp_path, hits, **values):
    """A grid of three learning rates with two seeds, and what each run had right."""
    sweep, runs = plan(tmp_path, grid={"optim.lr": [0.1, 0.01, 0.001]}, seeds=(0, 1), **values)
    for run, (validation, test) in zip(runs, hits, strict=True):
        finish(run, validation, test)
    return sweep, runs


def test_selection_is_by_the_mean_over_seeds_on_validation(tmp_path):
    """0.01 has the best mean, 0.1 the best single run, 0.001 the best test accuracy."""
    sweep, runs = three(tmp_path, [(198, 90), (170, 91), (190, 80), (188, 82), (160, 99), (162, 98)])
    found = collect(sweep, runs)
    assert [row["name"] for row in found["rows"]] == ["lr=0.01", "lr=0.1", "lr=0.001"]
    best = found["rows"][0]
    assert (best["mean"], best["n"], best["values"]) == (94.5, 2, [95.0, 94.0])
    assert (best["low"], best["high"]) == (None, None)  # Student's is [88.1, 100.9]
    assert best["interval"] == "too few seeds for an interval within the range of the metric"
    low, high = stats.t.interval(0.95, 1, loc=80.5, scale=math.sqrt(0.5) / math.sqrt(2))
    worst = found["rows"][2]
    assert (worst["low"], worst["high"]) == (pytest.approx(low), pytest.approx(high))
    chosen = found["selected"]
    assert (chosen["name"], chosen["value"], chosen["ties"], chosen["open"]) == ("lr=0.01", 94.5, 0, 0)
    assert chosen["overrides"] == ["--config.optim.lr=0.01"]
    assert chosen["test"]["test/accuracy"]["mean"] == pytest.approx(0.81)
    assert chosen["test"]["test/accuracy"]["n"] == 2 and chosen["test"].keys() == {"test/accuracy", "test/loss"}


def test_test_metrics_are_shown_for_the_selected_configuration_alone(tmp_path):
    sweep, runs = three(tmp_path, [(198, 37), (170, 41), (190, 60), (188, 62), (160, 71), (162, 73)])
    found = collect(sweep, runs)
    low, high = stats.t.interval(0.95, 1, loc=61, scale=math.sqrt(2) / math.sqrt(2))
    assert f"Its test accuracy: 61.00 % [{low:.2f}, {high:.2f}] (Student-t over 2 seeds)." in found["caption"]
    assert "Selected: lr=0.01, by validation accuracy 94.50 %." in found["caption"]
    assert summary.WHY in found["caption"] and "As the best of 3 this value is optimistic" in found["caption"]
    write_all(found, tmp_path / "out")
    for name in ("results.md", "results.html", "results.tex"):
        text = (tmp_path / "out" / name).read_text()
        assert "61.00" in text
        assert [other for other in ("37.00", "41.00", "39.00", "71.00", "73.00", "72.00") if other in text] == []
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").read_text().splitlines()))
    assert [float(a["value"]) + float(b["value"]) for a, b in zip(rows[::2], rows[1::2], strict=True)] == [
        2 * mean for mean in (94.5, 92.0, 80.5)
    ]


def test_one_seed_has_the_interval_over_its_examples(tmp_path):
    sweep, runs = plan(tmp_path)
    for run, hits in zip(runs, (150, 180), strict=True):
        finish(run, hits, 90)
    found = collect(sweep, runs)
    low, high = wilson(180, 200)
    assert (found["rows"][0]["low"], found["rows"][0]["high"]) == (pytest.approx(100 * low), pytest.approx(100 * high))
    low, high = wilson(90, 100)
    shown = f"Its test accuracy: 90.00 % [{100 * low:.2f}, {100 * high:.2f}] (Wilson over 100 examples)"
    assert shown in found["caption"]


def test_a_loss_is_minimised(tmp_path):
    sweep, runs = plan(tmp_path, objective={"metric": "validation/loss", "mode": "min"})
    for run, loss in zip(runs, (0.5, 0.25), strict=True):
        finish(run, 100, 50, loss)
    found = collect(sweep, runs)
    assert [row["mean"] for row in found["rows"]] == [0.25, 0.5]
    assert "Selected: lr=0.01, by validation loss 0.2500" in found["caption"]
    assert found["metric"] == {
        "key": "validation/loss", "label": "validation loss", "unit": "", "better": "min", "scale": 1.0, "digits": 4
    }  # fmt: skip


def test_ties_go_to_the_first_and_are_told(tmp_path):
    sweep, runs = three(tmp_path, [(150, 1), (150, 1), (160, 2), (160, 2), (160, 3), (160, 3)])
    found = collect(sweep, runs)
    assert (found["selected"]["name"], found["selected"]["ties"]) == ("lr=0.01", 1)
    assert "the first of 2 that share it" in found["caption"]


def test_only_complete_configurations_are_selected(tmp_path):
    """One seed of the best is missing: a lucky seed must not win."""
    sweep, runs = plan(tmp_path, seeds=(0, 1))
    assert collect(sweep, runs)["selected"] is None
    assert "Nothing is selected yet" in collect(sweep, runs)["caption"]
    finish(runs[0], 200, 100)
    assert collect(sweep, runs)["selected"] is None
    finish(runs[2], 100, 50)
    finish(runs[3], 100, 50)
    begin(runs[1], 1)
    fail(runs[1], "loss is nan")
    found = collect(sweep, runs)
    assert [row["name"] for row in found["rows"]] == ["lr=0.1", "lr=0.01"]  # sorted by what there is
    assert found["selected"]["name"] == "lr=0.01" and found["selected"]["open"] == 1
    assert "Selected so far (1 configurations are not complete): lr=0.01" in found["caption"]
    assert found["rows"][0]["runs"][1]["message"] == "NonFinite: loss is nan"


def test_what_is_not_finite_is_last_and_never_selected(tmp_path):
    for better, where in (("min", "b"), ("max", "c")):
        folder = tmp_path / where
        folder.mkdir()
        sweep, runs = plan(folder, objective={"metric": "validation/loss", "mode": better})
        finish(runs[0], 1, 1, math.inf if better == "max" else math.nan)
        finish(runs[1], 1, 1, 3.0)
        found = collect(sweep, runs)
        assert [row["name"] for row in found["rows"]] == ["lr=0.01", "lr=0.1"]
        assert found["selected"]["name"] == "lr=0.01"


def test_folds_are_what_the_interval_is_over(tmp_path):
    """Two seeds of a fold share its examples: their mean counts once."""
    sweep, runs = plan(tmp_path, grid=None, seeds=(0, 1), kfold={"folds": 3})
    hits = [150, 154, 160, 164, 170, 174]
    for run, each in zip(runs, hits, strict=True):
        finish(run, each)
    found = collect(sweep, runs)
    (row,) = found["rows"]
    folds = [76.0, 81.0, 86.0]
    assert (row["mean"], row["std"], row["n"], row["interval"]) == (81.0, 5.0, 6, "Student-t over 3 folds")
    low, high = stats.t.interval(0.95, 2, loc=81, scale=stats.sem(folds))
    assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))
    assert found["selected"]["test"] == {} and "test accuracy" not in found["caption"]
    assert "One configuration, each with 3 folds and 2 seeds." in found["caption"]
    assert "not stratified by class; the last step is evaluated" in found["caption"]
    assert (
        row["seeds"] == [0, 1] * 3
        and found["over"] == "folds"
        and not any("different data" in each for each in found["warnings"])
    )


def test_folds_with_a_test(tmp_path):
    sweep, runs = plan(tmp_path, grid=None, kfold={"folds": 2, "test": True, "blocks": 4})
    for run, (validation, test) in zip(runs, [(150, 80), (160, 90)], strict=True):
        finish(run, validation, test)
    found = collect(sweep, runs)
    assert "Its test accuracy: 85.00 %" in found["caption"] and "every fold is 4 pieces" in found["caption"]


def test_a_metric_that_no_run_has_is_named(tmp_path, capsys):
    sweep, runs = plan(tmp_path, objective={"metric": "validation/acuracy"})
    for run in runs:
        finish(run, 1, 1)
    with pytest.raises(spec.ConfigError, match="did you mean 'validation/accuracy'"):
        collect(sweep, runs)


# The mode -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pretend(monkeypatch):
    """Runs that are done at once, and a list of those that were started."""
    started = []

    def execute(planned, workers, say, metric):
        for run in planned:
            if run_state.state_of(run.workdir, run.config).state != run_state.DONE:
                started.append(run.name)
                finish(run, 100 + 10 * len(started), 50)
        return 0

    monkeypatch.setattr(drive, "execute", execute)
    monkeypatch.setattr(build_all, "check", lambda *_: None)
    return started


def test_nothing_is_run_twice(tmp_path, pretend, capsys):
    flags = [f"--sweep={sweep_file(tmp_path)}", f"--workdir={tmp_path / 'root'}"]
    assert launch.main([*flags, "--status"]) == 0
    assert "2 runs: 2 not run" in capsys.readouterr().out and not (tmp_path / "root").exists()
    assert launch.main(flags) == 0
    assert pretend == ["lr=0.1, seed 0", "lr=0.01, seed 0"]
    out = capsys.readouterr().out
    assert "2 runs in" in out and "Selected: lr=0.01" in out and "results.html" in out
    assert launch.main(flags) == 0
    assert len(pretend) == 2
    assert launch.main([*flags, "--status"]) == 0
    assert "2 runs: 2 done" in capsys.readouterr().out
    sweep_file(tmp_path, grid={"optim.lr": [0.01, 1.0]})  # another grid in the same folder: one new run
    assert launch.main(flags) == 0
    assert pretend[2:] == ["lr=1.0, seed 0"]


def test_only_some_trials_are_run_and_the_whole_table_is_written(tmp_path, pretend):
    flags = [f"--sweep={sweep_file(tmp_path)}:only=lr_0.01", f"--workdir={tmp_path / 'root'}"]
    assert launch.main(flags) == 0
    assert pretend == ["lr=0.01, seed 0"]
    rows = json.loads((tmp_path / "root" / "results.json").read_text())["rows"]
    assert [(row["name"], row["n"]) for row in rows] == [("lr=0.01", 1), ("lr=0.1", 0)]
    again = f"python launch.py --sweep {sweep_file(tmp_path)}:only=lr_0.1 --workdir {tmp_path / 'root'}"
    assert rows[1]["command"] == again


@pytest.mark.long
def test_a_sweep_of_real_runs(tmp_path, capsys):
    """Mistakes are found by a process of its own; what is right is cross-validated, and then never run again."""
    flags = ["--sweep=configs/sweeps/digits_kfold.py:smoke", f"--workdir={tmp_path}", "--workers=2"]
    assert launch.main([*flags, "--config.optim.b11=0.9"]) == 2
    assert "did you mean 'b1'?" in capsys.readouterr().err and list(tmp_path.iterdir()) == []
    assert launch.main(flags) == 0
    assert capsys.readouterr().out.count(": starts") == 4
    found = json.loads((tmp_path / "results.json").read_text())
    assert [row["n"] for row in found["rows"]] == [2, 2]
    for row in found["rows"]:  # two folds may be too far apart for an interval within 0..100 %
        assert row["interval"] == ("Student-t over 2 folds" if row["low"] is not None else TOO_FEW.format(what="folds"))
    for row in found["rows"]:
        ids = [line for run in row["runs"] for line in validated(run["workdir"])]
        assert len(ids) == len(set(ids)) == 1438
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/DONE")}
    assert launch.main(flags) == 0
    out = capsys.readouterr().out
    assert ": starts" not in out and "checking" not in out and out.count("done before") == 4
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/DONE")} == times


def validated(workdir):
    import numpy as np

    with np.load(f"{workdir}/predictions/validation.npz") as saved:
        return saved["ids"].tolist()

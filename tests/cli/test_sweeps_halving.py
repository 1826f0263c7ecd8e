"""Successive halving: who goes on, for how long, and what is written; and the plots of sensitivity."""

import json
import re

import pytest
from test_sweeps import sweep_file
from test_sweeps_results import finish

import launch
from cvdl_jax.cli.sweeps import halving, spec
from cvdl_jax.cli.tables import build_all, drive
from cvdl_jax.errors import ConfigError
from cvdl_jax.report.pages import sensitivity
from cvdl_jax.workdir import run_state

RATES = [0.1, 0.01, 0.001, 0.0001, 0.00001]
GOOD = {0.1: 120, 0.01: 180, 0.001: 150, 0.0001: 190, 0.00001: 110}
HALVING = {"budget": "total_steps", "start": 2, "factor": 2, "rungs": 3}


@pytest.fixture
def pretend(monkeypatch):
    """Runs that are done at once, as good as their rate says; of the long ones 0.01 is the best."""
    started = []

    def execute(planned, workers, say, metric):
        for run in planned:
            if run_state.state_of(run.workdir, run.config).state != run_state.DONE:
                started.append((run.config.total_steps, run.config.optim.lr))
                right = GOOD[run.config.optim.lr] + (
                    15 if (run.config.total_steps, run.config.optim.lr) == (4, 0.01) else 0
                )
                finish(run, right, 50)
        return 0

    monkeypatch.setattr(drive, "execute", execute)
    monkeypatch.setattr(build_all, "check", lambda *_: None)
    return started


@pytest.mark.curriculum("W14")
def test_the_better_part_of_the_trials_goes_on(tmp_path, pretend, capsys):
    file = sweep_file(tmp_path, grid={"optim.lr": RATES}, overrides=[], halving=HALVING)
    flags = [f"--sweep={file}", f"--workdir={tmp_path / 'root'}"]
    assert launch.main([*flags, "--status"]) == 0
    assert "rung 2 begins when this one is done" in capsys.readouterr().out and not pretend
    assert launch.main(flags) == 0
    assert pretend == [*((2, rate) for rate in RATES), (4, 0.01), (4, 0.0001), (8, 0.01)]
    found = json.loads((tmp_path / "root" / "results.json").read_text())
    assert [row["name"] for row in found["rows"]] == ["lr=0.01"]
    assert "2 steps: 5 trials, the best 95.00; 4 steps: 2 trials, the best 97.50; 8 steps: 1 trials" in found["caption"]
    assert sorted(path.name for path in (tmp_path / "root").glob("rung*")) == ["rung1_2", "rung2_4", "rung3_8"]
    first = json.loads((tmp_path / "root" / "rung1_2" / "results.json").read_text())
    assert first["varied"] == {"optim.lr": {f"lr={rate!r}": rate for rate in RATES}}
    assert first["rows"][0]["command"] == first["command"]
    assert "Sensitivity" in (tmp_path / "root" / "rung1_2" / "results.html").read_text()
    assert launch.main(flags) == 0 and len(pretend) == 8  # nothing runs twice
    assert launch.main([*flags, "--status"]) == 0
    assert "1 runs: 1 done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rungs": 4}, "4 rungs of factor 2 need 8 trials or more, there are 5"),
        ({"factor": 1}, "factor=1 must be at least 2"),
        ({"start": 0}, "start=0 must be at least 1"),
        ({"budgets": 3}, "did you mean 'budget'"),
        ({"budget": "epochs"}, "total_epochs"),
    ],
)
def test_mistakes(tmp_path, change, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        spec.load(sweep_file(tmp_path, grid={"optim.lr": RATES}, overrides=[], halving=HALVING | change))


def test_the_length_is_the_sweeps_own(tmp_path, capsys):
    file = sweep_file(tmp_path, grid={"optim.lr": RATES}, overrides=["config.total_steps=9"], halving=HALVING)
    with pytest.raises(ConfigError, match=r"leave config\.total_steps out"):
        spec.load(file)
    file = sweep_file(tmp_path, grid={"optim.lr": RATES}, overrides=[], halving=HALVING)
    assert launch.main([f"--sweep={file}:only=lr_0.1", f"--workdir={tmp_path / 'root'}"]) == 2
    assert "leave :only= out" in capsys.readouterr().err


def test_survivors_are_the_best_and_at_least_one():
    rows = [{"name": name} for name in "abcdefg"]
    assert halving.survivors(rows, 3) == ["a", "b"] and halving.survivors(rows[:2], 3) == ["a"]
    assert halving.budgets(halving.Halving("total_epochs", 3)) == [3, 9, 27]


@pytest.mark.curriculum("W14")
def test_each_hyper_parameter_has_its_plot():
    rows = [
        {"name": name, "mean": mean, "low": None, "high": None}
        for name, mean in zip("abc", (1.0, 2.0, 1.5), strict=True)
    ]
    varied = {
        "optim.lr": {"a": 1e-4, "b": 1e-2, "c": 1e-3}, "augment": {"a": "", "b": "flip", "c": "flip"},
        "model.width": {"a": 8, "b": 16, "c": 12}, "same": {"a": 1, "b": 1, "c": 1},
        "use": {"a": True, "b": False, "c": True},
    }  # fmt: skip
    page = str(sensitivity.plots(rows, varied, "accuracy"))
    assert page.count("<figure") == 4 and "accuracy over same" not in page
    assert "optim.lr (logarithmic)" in page and "model.width (log" not in page
    assert ">none<" in page and ">flip<" in page and ">True<" in page
    assert sensitivity.plots(rows, {}, "accuracy") is None

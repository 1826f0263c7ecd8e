"""Training longer in the same folder: what a run of that length would have been, or refused."""

import json

import pytest
from runs_for_tests import leaves, rows

import launch
from cvdl_jax.engine import finish
from cvdl_jax.workdir import test_set_ledger

MLP = [
    "--config=configs/classify/mlp.py:smoke", "--config.model.hidden=(4,)", "--config.log.every_steps=2",
    "--config.eval.every_steps=2", "--config.log.tensorboard=False", "--config.data.train=train[:64]",
]  # fmt: skip
CONSTANT = [*MLP, "--config.optim={'name': 'adam', 'lr': 0.01}"]


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(finish, "draw", lambda run, state: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("longer") / "whole"
    assert launch.main([*CONSTANT, "--config.total_steps=6", f"--workdir={folder}"]) == 0
    return folder


def test_a_lengthened_run_is_what_a_run_of_that_length_is(whole, tmp_path, capsys):
    folder = tmp_path / "run"
    assert launch.main([*CONSTANT, "--config.total_steps=4", f"--workdir={folder}"]) == 0
    results = json.loads((folder / "results.json").read_text())
    capsys.readouterr()
    assert launch.main([f"--workdir={folder}", "--config.total_steps=6"]) == 0
    said = capsys.readouterr().out
    assert "lengthened from 4 to 6 steps; it continues from step 4" in said and "restored step 4" in said
    assert "test was evaluated when the run ended, and will be again: both are counted" in said
    last = [leaves(path)[6] for path in (folder, whole)]
    assert last[0].keys() == last[1].keys()
    assert all((last[0][name] == x).all() for name, x in last[1].items())
    assert rows(folder) == rows(whole)
    made = [json.loads((path / "results.json").read_text())["metrics"] for path in (folder, whole)]
    assert made[0] == made[1]
    entry = json.loads((folder / "meta.json").read_text())["lengthened"][0]
    assert (entry["step"], entry["total_steps"], entry["results"]) == (4, [4, 6], results)
    assert json.loads((folder / "config.json").read_text())["total_steps"] == 6
    assert [look["step"] for look in test_set_ledger.looks(folder)] == [6, 4]
    assert launch.main([f"--workdir={folder}"]) == 0 and "is finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "longer", "words"),
    [
        (MLP, ("--config.total_steps=4",), ("schedule such as cosine", "--config.init_from=", "from 2 to 4 steps")),
        (CONSTANT, ("--config.total_steps=1",), ("another configuration", "total_steps: 2 -> 1")),
        (CONSTANT, ("--config.total_steps=4", "--config.seed=1"), ("another configuration", "seed: 0 -> 1")),
    ],
)
def test_a_run_that_would_be_another_one_is_refused_and_stays(tmp_path, capsys, flags, longer, words):
    folder = tmp_path / "run"
    assert launch.main([*flags, "--config.total_steps=2", f"--workdir={folder}"]) == 0
    before = {path.name: path.read_bytes() for path in folder.glob("*.json")}
    capsys.readouterr()
    assert launch.main([f"--workdir={folder}", *longer]) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words), error
    assert {path.name: path.read_bytes() for path in folder.glob("*.json")} == before and (folder / "DONE").exists()


def test_a_run_that_stopped_early_is_not_lengthened(tmp_path, capsys):
    flags = [*CONSTANT, "--config.early_stopping={'metric': 'validation/loss', 'patience': 1, 'min_delta': 100.0}"]
    folder = tmp_path / "run"
    assert launch.main([*flags, "--config.total_steps=8", f"--workdir={folder}"]) == 0
    assert "early stopping at step" in capsys.readouterr().out
    assert launch.main([f"--workdir={folder}", "--config.total_steps=16"]) == 2
    assert "early stopping ended it" in capsys.readouterr().err

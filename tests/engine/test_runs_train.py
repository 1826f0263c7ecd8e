"""A run trained from Python: the same run as by the command."""

import os
import signal

import pytest
from runs_for_tests import leaves, rows

import launch
from cvdl_jax.config import configs
from cvdl_jax.engine import finish, runs, train
from cvdl_jax.errors import ConfigError

CONFIG, OVERRIDES = "configs/classify/mlp.py:smoke", ["config.model.hidden=(4,)", "config.log.tensorboard=False"]


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(finish, "draw", lambda run, state: None)


def test_it_is_the_run_of_the_command(tmp_path, capsys):
    one, other = tmp_path / "one", tmp_path / "other"
    metrics = runs.train(configs.load(CONFIG), one, OVERRIDES)
    assert launch.main([f"--config={CONFIG}", *(f"--{flag}" for flag in OVERRIDES), f"--workdir={other}"]) == 0
    assert rows(one) == rows(other) and (one / "report.html").exists()
    first, second = leaves(one), leaves(other)
    assert all((first[2][name] == x).all() for name, x in second[2].items())
    assert 0 <= metrics["test/accuracy"] <= 1
    capsys.readouterr()
    assert runs.train(CONFIG, str(one), OVERRIDES) == metrics and "is finished" in capsys.readouterr().out
    assert runs.load(one)[2].model.hidden == (4,)


def test_mistakes_are_errors_of_python(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.modle is not a key"):
        runs.train(CONFIG, tmp_path / "a", ["config.modle.hidden=(4,)"])
    with pytest.raises(ConfigError, match="only folders of a file system"):
        runs.train(CONFIG, "gs://bucket/run", OVERRIDES)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_saves_and_is_raised_and_before_the_first_step_handlers_are_those_of_before(
    tmp_path, monkeypatch, number, error
):
    before, during = signal.getsignal(signal.SIGTERM), []
    build, advance = train.kept.build_on, train.Loop._advance

    def struck(loop):
        advance(loop)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(
        train.kept, "build_on", lambda *args: during.append(signal.getsignal(signal.SIGTERM)) or build(*args)
    )
    monkeypatch.setattr(train.Loop, "_advance", struck)
    with pytest.raises(error):
        runs.train(CONFIG, tmp_path / "run", OVERRIDES)
    assert during == [before] and signal.getsignal(signal.SIGTERM) == before
    monkeypatch.undo()
    monkeypatch.setattr(finish, "draw", lambda run, state: None)
    assert runs.train(CONFIG, tmp_path / "run", OVERRIDES)["test/accuracy"] >= 0
    assert sorted(leaves(tmp_path / "run"))[-1] == 2

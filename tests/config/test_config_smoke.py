"""Every config file: it loads, says how to run it, and its smoke run trains two steps and evaluates; on its other data
sets it is built and traced, which is all that differs: smoke runs take prepared data of the same form."""

import ast
import importlib.util
import json
import math
import re
from pathlib import Path

import pytest

import launch
from cvdl_jax.config import configs
from cvdl_jax.engine import preflight
from cvdl_jax.engine.build import build, make_program
from cvdl_jax.workdir.metric_log import read

ROOT = Path(__file__).resolve().parents[2]
NOT_CONFIGS = {"__init__.py", "datasets.py"}
NOT_RUNS = {"tables", "sweeps"}  # these name runs; their own tests load them
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "configs").rglob("*.py")
    if path.name not in NOT_CONFIGS and path.parent.name not in NOT_RUNS
)


def choices(file):
    """The words that a config file lets one argument choose among: {"data": ("digits", "mnist")}, the default first."""
    declared = {}

    def watched(arg, **defaults):
        declared.update(defaults)
        return parse_arg(arg, **defaults)

    with pytest.MonkeyPatch.context() as patch:
        parse_arg = configs.parse_arg
        patch.setattr(configs, "parse_arg", watched)
        configs.load(file)
    return {name: words for name, words in declared.items() if isinstance(words, configs.OneOf)}


# Every file as it is, and with every word that is not the default; a file that has several choices, once as it is.
CONFIGS = list(
    dict.fromkeys(
        f"{file}:{name}={word}" if position else file
        for file in FILES
        for name, words in (choices(file) or {"": ("",)}).items()
        for position, word in enumerate(words)
    )
)
TRACED = [config for config in CONFIGS if ":data=" in config]


def smoke_of(config):
    return f"{config},smoke" if ":" in config else f"{config}:smoke"


def test_configs_are_found():
    data_sets = [f"configs/classify/resnet20.py{arg}" for arg in ("", ":data=mnist", ":data=cifar10")]
    assert {*data_sets, "configs/toy/mlp.py:data=circles", "configs/sequence/char_rnn.py:cell=gru"} <= set(CONFIGS)
    assert {"configs/classify/lenet5.py", "configs/studies/batch_norm.py"} <= set(CONFIGS)
    assert len(CONFIGS) == len(set(CONFIGS)) and {path.partition(":")[0] for path in CONFIGS} == set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_config_says_what_it_is_and_what_was_measured(file):
    doc = ast.get_docstring(ast.parse((ROOT / file).read_text(encoding="utf-8")))
    first = doc.partition("\n\n")[0]
    assert first.endswith("."), "a config's docstring begins with a sentence"
    for name, words in choices(file).items():
        missing = [word for word in words if not re.search(rf"^ +{word} ", doc, re.MULTILINE)]
        assert re.search(rf"^ +{name} ", doc, re.MULTILINE) and not missing, f"{file}: no row of a table for {missing}"


@pytest.mark.parametrize("path", CONFIGS)
def test_config_loads_and_says_how_to_run_it(path):
    config, smoke = configs.load(path), configs.load(smoke_of(path))
    configs.check(config)
    assert smoke.total_steps == (0 if config.total_steps == 0 else 2) and smoke.batch_size <= 16
    assert config.data.get("name") or "every_epochs" not in config.eval  # smoke runs have an interval of their own
    assert config.experiment == smoke.experiment and config.model.get("name") == smoke.model.get("name")
    assert importlib.util.find_spec(f"experiments.{config.experiment}") is not None
    doc = ast.get_docstring(ast.parse((ROOT / path.partition(":")[0]).read_text(encoding="utf-8")))
    command = f"python launch.py --config {path} --workdir runs/"
    assert command in doc, f"{path}: its docstring must show the command {command}..."
    assert configs.digest(configs.load(path)) == configs.digest(config)  # no clock, no random number in it


@pytest.mark.long
@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("path", [config for config in CONFIGS if config not in TRACED])
def test_smoke_run_trains_two_steps_and_evaluates(path, tmp_path, capsys):
    workdir = tmp_path / "run"
    assert launch.main([f"--config={smoke_of(path)}", f"--workdir={workdir}"]) == 0, capsys.readouterr().err
    assert (workdir / "DONE").exists() and not (workdir / "FAILED.json").exists()
    config = configs.load(smoke_of(path))
    rows = read(workdir / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, config.total_steps + 1))  # none in an analysis
    assert all(math.isfinite(value) for row in rows for value in row.values())
    results = json.loads((workdir / "results.json").read_text())
    assert results["step"] == config.total_steps and results["metrics"]
    assert all(math.isfinite(value) for value in results["metrics"].values())
    evaluated = {name.partition("/")[0] for name in results["metrics"]}
    periodic = {name for name in evaluated if rows and any(key.startswith(f"{name}/") for key in rows[-1])}
    assert (periodic or not rows) and "test" not in periodic  # evaluated during training too; test only at the end
    if config.select.metric:
        assert rows[-1][config.select.metric] == results["metrics"][config.select.metric]
    if config.experiment == "classify":
        assert evaluated == {split for split in ("validation", "test") if config.data.get(split)}
        assert all((workdir / "predictions" / f"{name}.npz").exists() for name in evaluated)


@pytest.mark.long
@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("path", TRACED)
def test_smoke_run_of_other_data_traces_every_step(path):
    config = configs.load(smoke_of(path))
    built = build(config)
    program = make_program(built)  # traces a training step
    preflight.check_metrics(config, program)
    known = preflight.metrics(program, [*built.task.evals])  # traces the evaluations
    assert known and all(names is None or names for names in known.values())

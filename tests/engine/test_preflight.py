"""What evaluations report is known before they run: the names that tracing gives are those of the run itself."""

import jax
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.task import Eval, Task
from cvdl_jax.engine import evaluate, preflight, runs
from cvdl_jax.engine.build import build, make_program
from cvdl_jax.errors import ConfigError


def program_of(config, *overrides):
    built = build(configs.load(config, overrides))
    return built, make_program(built)


@pytest.mark.parametrize(
    "config",
    [
        "configs/toy/mlp.py:smoke",  # intervals, counted from the mean
        "configs/sequence/char_rnn.py:cell=rnn,smoke",  # `finalise` refuses another number of characters
        "configs/studies/approximation.py:smoke",  # means as they are
        "configs/toy/logistic.py:smoke",  # two evaluations, one of the training split
    ],
)
def test_the_metrics_of_tracing_are_those_of_the_run(config):
    built, program = program_of(config)
    known = preflight.metrics(program, list(built.task.evals))
    runs.compile_functions(program, ["create", *(f"eval {name}" for name in built.task.evals)])
    state = program.create()
    for name, evaluation in built.task.evals.items():
        split = built.data.splits[evaluation.data] if isinstance(evaluation.data, str) else None
        values, _ = evaluate.evaluate(program, name, state, split, 0)
        assert set(known[name]) == set(values) and len(values) > 1
    assert program.traces["eval"] == len(built.task.evals)  # once each, compilation included


@pytest.mark.parametrize(
    ("config", "overrides", "words"),
    [
        ("classify/softmax", ["entries=('labl',)"], "entries: 'labl' is no entry of .*digits; did you mean 'label'"),
        (
            "classify/softmax",
            ["entries=('image',)"],
            "'image' has no single class, text .*known: id, label",
        ),
        ("classify/softmax", ["entries=('label',)", "positive=10"], "positive=10 is not one of 10 classes, 0 to 9"),
        ("classify/softmax", ["positive=1"], "'positive': 1} names no entry of the data set"),
        ("classify/softmax", ["entry=label"], "subgroups.entry is not a key of .*: did you mean 'entries'"),
        ("classify/linear", [], None),
        ("generate/vae", ["entries=('label',)"], "experiment 'autoencode' evaluates none; leave it empty"),
        ("studies/approximation", ["entries=('label',)"], "'studies.approximation' evaluates none"),
        ("classify/softmax", ["entries=('label',)", "positive=9"], None),
    ],
)
def test_groups_that_cannot_be_compared_are_refused(config, overrides, words):
    overrides = [f"--config.subgroups.{override}" for override in overrides]
    if words is None:
        return preflight.check_subgroups(*program_of(f"configs/{config}.py:smoke", *overrides))
    with pytest.raises(ConfigError, match=words):
        preflight.check_subgroups(*program_of(f"configs/{config}.py:smoke", *overrides))


def finalised(finalize):
    """The metrics of an evaluation whose step gives a pair and an array."""
    outputs = {"loss": (jax.ShapeDtypeStruct((), np.float32),) * 2, "rows": jax.ShapeDtypeStruct((4, 3), np.int32)}
    return preflight._of_one(Eval(lambda *_: None, finalize), outputs)


def test_a_finalize_that_needs_real_numbers_is_not_known():
    assert finalised(lambda means, rows: {**means, "n": len(rows["rows"])}) == ("loss", "n")
    assert finalised(lambda means, rows: {"ratio": 1 / (means["loss"] - 1)}) == ("ratio",)  # by the second stand-in
    assert finalised(lambda means, rows: {"x": [][int(means["loss"])]}) is None
    known = {"validation": None, "train": ("loss",)}
    preflight.check_reported("validation/anything", known, "config.select.metric")
    with pytest.raises(ConfigError, match=r"metric='train/los' is not reported; did you mean 'train/loss'"):
        preflight.check_reported("train/los", known, "config.select.metric")


def test_an_analysis_is_not_run_to_learn_its_metrics():
    def finalize(means, rows):
        raise AssertionError("this is all the work of an analysis")

    class Traced:
        task = Task(lambda key, batch: {"params": {}}, None, {"study": Eval(lambda *_: {}, finalize, data=1)})

    assert preflight.metrics(Traced, ["study"]) == {"study": None}


@pytest.mark.parametrize("metric", ["train/loss", "train/accuracy", "train/gradient_norm", "epoch", "validation/loss"])
def test_feedback_may_use_all_that_a_row_has(metric):
    built, program = program_of("configs/toy/mlp.py:smoke", f"config.plateau.metric={metric}")
    preflight.check_metrics(built.config, program)


def test_the_average_of_a_schedule_free_rule_needs_statistics_of_its_own():
    """It was evaluated by the running statistics of the weights that are trained, which are another function's."""
    flags = {"optim.name": "schedule_free_adamw", "model.norm": "batch"}
    config = configs.load("configs/classify/mlp.py:smoke", [f"--config.{key}={x}" for key, x in flags.items()])
    program = make_program(build(config))
    with pytest.raises(ConfigError, match=r"--config\.batch_stats=exact"):
        preflight.check_averages(config, program, begun=False)
    with pytest.warns(UserWarning, match="for figures of the average"):
        preflight.check_averages(config, program, begun=True)
    for changed in ({"batch_stats": "exact"}, {"optim.name": "adamw"}, {"model.norm": "layer"}):
        overrides = [f"--config.{key}={x}" for key, x in {**flags, **changed}.items()]
        config = configs.load("configs/classify/mlp.py:smoke", overrides)
        preflight.check_averages(config, make_program(build(config)), begun=False)

"""Accuracies that are printed carry their interval: rows of a run, its end, the lines of a table's runs."""

import io
import json
import math

import numpy as np
import pytest
from tables_for_tests import finish, planned

from cvdl_jax.cli.tables.execute import Pool
from cvdl_jax.engine.finish import describe_metrics
from cvdl_jax.engine.progress import Progress
from cvdl_jax.metrics.stats.intervals import student_t, wilson, with_wilson


@pytest.mark.curriculum("N32")
def test_with_wilson_gives_every_accuracy_its_ends():
    means = {"loss": 0.3, "a/accuracy": 0.9, "accuracy": 0.25, "accuracy_gap": 0.1}
    found = with_wilson(means, 40)
    assert list(found) == [*means, "a/accuracy_low", "a/accuracy_high", "accuracy_low", "accuracy_high"]
    assert (found["a/accuracy_low"], found["a/accuracy_high"]) == wilson(36, 40)
    assert with_wilson({"accuracy_16": 0.5}, 10, ["accuracy_16"])["accuracy_16_low"] == wilson(5, 10)[0]
    assert means.keys() == {"loss", "a/accuracy", "accuracy", "accuracy_gap"}  # the argument stays


@pytest.mark.curriculum("N32")
def test_a_row_on_the_console_has_the_interval_beside_the_accuracy():
    stream = io.StringIO()
    low, high = wilson(353, 360)
    Progress(10, 0, 8, stream=stream, process=0).row(
        4,
        {
            "train/loss": 0.5, "train/accuracy": 0.96875, "validation/accuracy": 353 / 360,
            "validation/accuracy_low": low, "validation/accuracy_high": high, "validation/examples": 360,
        },
    )  # fmt: skip
    line = stream.getvalue()
    assert f"validation/accuracy 0.9806 [{low:.4g}, {high:.4g}]" in line
    assert "train/accuracy 0.9688  validation" in line  # of a moving model on what it learns from: no interval
    assert "accuracy_low" not in line and "examples" not in line


def test_the_end_of_a_run_calls_wilson_what_is_wilsons():
    low, high = wilson(353, 360)
    ends = {"test/accuracy_low": low, "test/accuracy_high": high}
    metrics = {"test/accuracy": 353 / 360, **ends, "test/examples": 360.0}
    assert describe_metrics(metrics) == [
        "  test/accuracy = 98.06 %, 95 % interval [96.04, 99.05] (Wilson, 360 examples)"
    ]
    low, high = student_t([0.9, 0.92, 0.94])
    of_seeds = {"gains/mixup": 0.92, "gains/mixup_low": low, "gains/mixup_high": high}
    assert describe_metrics(of_seeds) == [f"  gains/mixup = 0.9200, 95 % interval [{low:.4f}, {high:.4f}]"]
    both = of_seeds | {"gains/examples": 360.0}  # another interval is not called Wilson's because of a count
    assert "Wilson" not in describe_metrics(both)[0]
    assert describe_metrics({"a/accuracy": math.nan, "a/accuracy_low": 0.0, "a/accuracy_high": 1.0, "a/examples": 3.0})


def test_a_run_of_a_table_ends_with_its_interval(tmp_path):
    run = planned(tmp_path)
    finish(run, np.arange(100) < 90)
    low, high = wilson(90, 100)
    pool = Pool([run], 1, lambda text: None, "test/accuracy")
    assert pool._value(run) == f": test/accuracy = 0.9 [{low:.4g}, {high:.4g}]"
    pool.metric = "test/loss"
    assert pool._value(run) == ": no test/loss"
    results = json.loads((run.workdir / "results.json").read_text())
    assert results["metrics"]["test/accuracy_low"] == low

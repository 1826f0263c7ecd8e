"""Whole runs with auxiliary classifiers: their losses are trained on, and nothing that comes after knows them."""

import json

import jax
import numpy as np
import pytest

import launch
from cvdl_jax.engine import runs
from cvdl_jax.workdir.checkpoint import read_step

MODULE = (12, 12, 12, 12, 12, 12)
MODEL = {"name": "googlenet_tiny", "stem": (12, 12, 12), "modules": ((MODULE,), (MODULE,))}
FLAGS = [
    "--config=configs/classify/resnet20.py", "--config.data.image_size=(32,32)", "--config.augment=",
    "--config.batch_size=16", "--config.log.every_steps=1", "--config.eval.every_steps=2",
    "--config.log.tensorboard=False", "--config.optim.schedule={}", "--config.optim.lr=0.01",
]  # fmt: skip
HEADS = ["--config.auxiliary_weight=0.3"]


def run(workdir, steps, **model):
    """The rows of the log, the final metrics and what meta.json says of the model."""
    more = HEADS if model else []
    flags = [*FLAGS, *more, f"--config.model={MODEL | model}", f"--config.total_steps={steps}", f"--workdir={workdir}"]
    assert launch.main(flags) == 0
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    results, meta = (json.loads((workdir / f"{name}.json").read_text()) for name in ("results", "meta"))
    return rows, results["metrics"], meta["model"]


@pytest.mark.long
@pytest.mark.curriculum("H41")
def test_a_run_with_auxiliary_classifiers(tmp_path, capsys):
    """A loss that begins at about log 10 grows by 0.6 times as much or more, in training alone."""
    plain, _, small = run(tmp_path / "plain", 2)
    with_heads = {"auxiliary": True, "heads": ((0, 0), (1, 0))}
    rows, metrics, large = run(tmp_path / "heads", 4, **with_heads)
    first = plain[0]["train/loss"]
    assert 0.5 * np.log(10) < rows[0]["train/loss"] - first < 1.2 * np.log(10)  # random heads are worse than chance
    assert rows[1]["validation/loss"] == pytest.approx(np.log(10), rel=0.3)  # not 1.6 times that
    assert large["macs"] == small["macs"] and large["parameters"] > 2 * small["parameters"]
    state = runs.load(tmp_path / "heads")[1]
    names = {name for name in state.params if name.startswith("head")}
    assert names == {"head", "head0_0", "head1_0"}
    begun = read_step(tmp_path / "heads" / "checkpoints" / "4")["state"]["params"]
    assert all(np.asarray(leaf).any() for name in names for leaf in jax.tree.leaves(begun[name]))  # biases too: trained

    out = tmp_path / "metrics.json"
    assert launch.main(["--mode=eval", f"--workdir={tmp_path / 'heads'}", f"--out={out}", "--again"]) == 0
    again = json.loads(out.read_text())["metrics"]
    for name in ("test/accuracy", "test/loss"):
        assert again[name] == pytest.approx(metrics[name], rel=1e-6)

    run(tmp_path / "continued", 2, **with_heads)
    run(tmp_path / "continued", 4, **with_heads)
    one, two = (read_step(tmp_path / name / "checkpoints" / "4") for name in ("heads", "continued"))
    jax.tree.map(np.testing.assert_array_equal, one["state"]["params"], two["state"]["params"])
    assert launch.main([*FLAGS, f"--config.model={MODEL | with_heads}", f"--workdir={tmp_path / 'refused'}"]) == 2
    assert "set both config.model.auxiliary=True and a weight" in capsys.readouterr().err

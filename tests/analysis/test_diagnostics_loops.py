"""Diagnostics of models that run inside loops over time: gates of recurrent layers, language models, Q-learning."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from cvdl_jax.nn import observe, recurrent
from cvdl_jax.nn.recurrent import CELLS, Recurrent
from cvdl_jax.workdir.metric_log import read

BOTH = ["--config.diagnostics.activations=True", "--config.diagnostics.gradients=True"]


@pytest.mark.curriculum("B29")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_gates_are_those_the_cell_computes(cell, reverse):
    """A step of NumPy from the gates' inputs alone leads to the layer's next state."""
    layer = Recurrent(cell, 5, reverse=reverse)
    x = np.random.default_rng(1).normal(size=(3, 4, 2)).astype(np.float32)
    variables = layer.init(jax.random.key(0), x)
    assert variables.keys() == {"params"} and not any("gates" in name for name in variables["params"])

    def run(variables, x):
        with observe.observing() as seen:
            states, _ = observe.apply(layer, variables, x)
        return states, seen

    states, seen = jax.tree.map(np.asarray, jax.jit(run)(variables, x))
    z = {gate.name: seen[f"gates/{gate.name}"]["input"][0] for gate in recurrent.GATES[cell]}  # [t, b, u]
    slopes = {"sigmoid": lambda v: 1 / (2 + np.exp(v) + np.exp(-v)), "tanh": lambda v: 1 - np.tanh(v) ** 2}
    slopes["relu"] = lambda v: (v > 0).astype(float)
    for gate in recurrent.GATES[cell]:
        slope = seen[f"gates/{gate.name}"]["slope"][0]
        np.testing.assert_allclose(slope, slopes[gate.function](z[gate.name]), atol=1e-6)
    h, c, sigmoid = np.zeros((3, 5)), np.zeros((3, 5)), lambda v: 1 / (1 + np.exp(-v))
    for t in range(4)[:: -1 if reverse else 1]:
        now = {name: each[t] for name, each in z.items()}
        if "state" in now:  # of a vanilla cell
            functions = {"rnn": np.tanh, "rnn_sigmoid": sigmoid, "rnn_relu": lambda v: np.maximum(v, 0)}
            h = functions[cell](now["state"])
        elif cell == "lstm":
            c = sigmoid(now["forget_gate"]) * c + sigmoid(now["input_gate"]) * np.tanh(now["candidate"])
            h = sigmoid(now["output_gate"]) * np.tanh(c)
        else:
            update = sigmoid(now["update_gate"])
            h = (1 - update) * np.tanh(now["candidate"]) + update * h
        np.testing.assert_allclose(states[:, t], h, atol=1e-5)


@pytest.mark.long
@pytest.mark.curriculum("B29", "B30")
@pytest.mark.parametrize(
    ("config", "layer", "activation", "more"),
    [
        ("sequence/char_rnn", "layer0/input", "layer0/gates/forget_gate", []),
        ("rl/dqn", "dense0", "activation0", []),
        ("rl/qlearn", "head", None, []),
        ("classify/vit_tiny", "block0/attention/proj", "block0/activation0", ["--config.model.depth=2"]),
    ],
)
def test_runs_whose_models_work_in_loops_are_seen(config, layer, activation, more, tmp_path):
    assert launch.main([f"--config=configs/{config}.py:smoke", *BOTH, *more, f"--workdir={tmp_path / 'run'}"]) == 0
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    seen = sorted(name for name in metrics if name.endswith("output_std"))
    assert metrics.get(f"validation/{layer}/output_std", -1) >= 0, seen
    if activation:
        assert 0 <= metrics[f"validation/{activation}/saturated"] <= 1
    assert any(name.endswith("/gradient_norm") for name in read(tmp_path / "run" / "metrics.jsonl")[-1])
    assert (tmp_path / "run" / "figures" / "diagnostics.png").exists()
    assert jnp.isfinite(metrics[f"validation/{layer}/output_drift"])

"""The study of effective receptive fields: their growth by theory, and the layers of a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.receptive_field import extent
from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.engine import build, runs
from cvdl_jax.errors import ConfigError
from experiments.studies import effective_field as study


@pytest.mark.curriculum("H27")
def test_fields_of_uniform_and_of_random_weights_are_as_wide_as_random_walks():
    """Uniform weights: a Gaussian of variance 2n / 3; random ones: wider by sqrt(2), and ReLU changes little."""
    n, settings = 12, study.Study(channels=4, draws=12)
    fields = {kind: study.field_of(settings, n, kind, jax.random.key(0)) for kind in study.KINDS}
    assert [extent(field) for field in fields.values()] == [(2 * n + 1,) * 2] * 3
    offsets = np.arange(-n - 2, n + 3)
    for kind, power in (("uniform", 1), ("random", 2)):
        line = (fields[kind] ** power).sum(0)
        variance = (line * offsets**2).sum() / line.sum()
        assert variance == pytest.approx(2 * n / 3, rel=0.01 if power == 1 else 0.1)
    sizes = {kind: study.effective_size(field) for kind, field in fields.items()}
    assert sizes["uniform"] == pytest.approx(study.theory(n, "uniform"), rel=0.06)
    assert sizes["random"] == pytest.approx(study.theory(n, "random"), rel=0.12)
    assert sizes["relu"] == pytest.approx(sizes["random"], rel=0.1)
    assert study.theory(4 * n, "relu") == pytest.approx(2 * study.theory(n, "relu"))


@pytest.mark.curriculum("H27")
def test_layers_of_a_run_are_measured_with_new_weights_and_with_its_own(monkeypatch):
    config = configs.load("configs/classify/mlp.py:smoke")
    config.model = {"name": "convnet", "channels": (2, 2), "kernel": 3, "units": ()}
    built = build.build(config)
    made = jax.jit(built.task.init)(jax.random.key(1), {"image": jnp.zeros((1, 8, 8, 1))})
    one = jnp.zeros((3, 3, 2, 2)).at[1, 1].set(1.0)  # the second layer of the run looks at one place
    params = {**made["params"], "conv1": {**made["params"]["conv1"], "kernel": one}}
    state = State(jnp.int32(0), params, {}, made["extra"])
    monkeypatch.setattr(runs, "load_evaluated", lambda workdir, with_data: (built, state, 0))
    settings = study.Study(depths=(1,), draws=1, channels=1, workdir="run", layers=("stages.0", "stages.1"), images=32)
    metrics, found = study.measure(settings, 0)
    new, trained = (extent(found[1][f"stages.1, {name}"]) for name in ("new", "trained"))
    assert max(trained) <= 6 < min(new)  # 4 pixels and the rim of conv0, or all 8
    assert metrics["stages.0_new"] > 0 and "uniform_power" not in metrics
    figures = study.draw(settings, found)
    assert figures.keys() == {"growth", "fields"} and len(figures["fields"].axes) >= 7
    with pytest.raises(ConfigError, match=r"config.study.layer='stages.7' is not one of stages.0, stages.1"):
        study.fields_of_run(settings._replace(layers=("stages.7",)), jax.random.key(0))


def test_the_power_of_depth_is_that_of_the_three_deepest(monkeypatch):
    monkeypatch.setattr(study, "field_of", lambda settings, depth, kind, key: np.ones((depth, depth)))
    metrics, _ = study.measure(study.Study(depths=(16, 4, 8)), 0)
    assert metrics["random_16"] == 16 and metrics["relu_power"] == pytest.approx(1)
    assert metrics["uniform_share"] == pytest.approx(16 / 33)

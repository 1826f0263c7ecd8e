"""The study of ensembles: which networks are averaged, and that an average is of probabilities."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from configs.studies import ensembles as config_file
from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.apply import apply_params
from experiments.studies import ensembles
from experiments.studies.ensembles import Study

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("H57")
def test_errors_are_those_of_mean_probabilities_in_every_repeat():
    study = Study(architectures={"a": {}, "b": {}, "c": {}}, sizes=(1, 2, 3), repeats=2)
    n, label = 40, RNG.integers(4, size=40)
    rows = {f"{name}_scores": RNG.normal(size=(n, 2, 4)) * 3 for name in "abc"}
    rows |= {"same_scores": RNG.normal(size=(n, 6, 4)) * 3, "label": label}
    members = {
        ("same", 0): [rows["same_scores"][:, i] for i in (0, 1, 2)],
        ("same", 1): [rows["same_scores"][:, i] for i in (3, 4, 5)],
        ("different", 0): [rows[f"{name}_scores"][:, 0] for name in "abc"],
        ("different", 1): [rows[f"{name}_scores"][:, 1] for name in "bca"],  # the second begins at the second
    }
    expected = {
        (kind, k, r): np.mean(sum(softmax(s, -1) for s in of[:k]).argmax(-1) != label)
        for (kind, r), of in members.items() for k in (1, 2, 3)
    }  # fmt: skip
    logits = {key: np.mean(sum(of).argmax(-1) != label) for key, of in members.items()}
    assert any(logits[kind, r] != expected[kind, 3, r] for kind, r in logits)  # it would show
    metrics = ensembles.finalise(study, {}, rows)
    for kind in ensembles.KINDS:
        for k in (1, 2, 3):
            values = [expected[kind, k, r] for r in range(2)]
            assert metrics[f"{kind}_{k}_error"] == pytest.approx(np.mean(values))
    gain = np.mean([expected["same", 3, r] - expected["same", 1, r] for r in range(2)])
    assert metrics["same_3_error_gain"] == pytest.approx(gain) and "same_1_error_gain" not in metrics
    figures = ensembles.draw(study, metrics, rows)
    lines = figures["error"].axes[0].lines
    np.testing.assert_allclose(lines[0].get_ydata(), [metrics[f"same_{k}_error"] for k in (1, 2, 3)])


@pytest.mark.curriculum("H57")
def test_members_have_weights_and_examples_of_their_own():
    config = config_file.get_config("smoke")
    built = build(configs.from_plain(configs.to_plain(config)))
    batch = {"image": jnp.asarray(RNG.random((16, 8, 8, 1)), jnp.float32), "label": jnp.arange(16) % 10}
    state = jax.jit(lambda b: State(jnp.zeros((), int), **built.task.init(jax.random.key(0), b)))(batch)
    kernels = [tree["head"]["kernel"] for tree in state.params.values()]
    assert [k.shape[0] for k in kernels] == [4, 2, 2]
    assert all(not np.array_equal(k[0], k[1]) for k in kernels)
    rows = jax.jit(partial(built.task.evals["test"].step, state))(batch, jax.random.key(0))
    model = ensembles.registry.create(config.study.architectures["tanh"], "", num_classes=10, dtype="float32")
    one = jax.tree.map(lambda x: x[1], state.params["tanh"])
    x = ensembles.recipe.normalisation(config)(batch["image"])
    np.testing.assert_allclose(rows["tanh_scores"][:, 1], apply_params(model, one, x, False)[0], atol=1e-5)


def test_impossible_studies_are_refused():
    for key, value in {"sizes": (3, 5), "architectures": {"same": {"name": "mlp"}}}.items():
        config = config_file.get_config("smoke")
        config.study[key] = value
        with pytest.raises(ConfigError, match=r"config\.study\.sizes=.* must begin with 1 and not exceed"):
            build(configs.from_plain(configs.to_plain(config)))

"""SimCLR: the glue around the loss, on an encoder that is a table, and a step of the smoke run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.task import State, create_state
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.self_supervised import Method
from experiments import contrastive

CONFIG = "configs/regimes/simclr.py:smoke"


class Tabled:
    """Stands for a module: what it gives of a row is a row of a table by the row's first number."""

    def __init__(self, table, scores=False):
        self.table, self.scores, self.keys = jnp.asarray(table, jnp.float32), scores, []

    def apply(self, variables, x, train, mutable=None, rngs=None, **how):
        self.keys += [tuple(np.asarray(jax.random.key_data(rngs["dropout"])).tolist())] if rngs else []
        features = self.table[x.reshape(len(x), -1)[:, 0].astype(int)]
        out = (features, {"pre_logits": features}) if self.scores else features
        return (out, {}) if mutable else out


def images(*numbers):
    return jnp.broadcast_to(jnp.asarray(numbers, jnp.float32)[:, None, None, None], (len(numbers), 2, 2, 1))


@pytest.mark.curriculum("I17")
def test_the_views_of_an_image_find_each_other():
    """A loop over the 2 n vectors, of any length: view a of image i has view b of image i as its positive."""
    table = np.random.default_rng(0).normal(size=(8, 3)) * np.asarray([1, 5, 2, 1, 3, 1, 9, 1])[:, None]
    method = Method(Tabled(np.arange(8)[:, None], True), Tabled(table), lambda x: x, None, None)
    state = State(0, {"encoder": {}, "projector": {}}, {}, {"batch_stats": {"encoder": {}, "projector": {}}})
    batch = {"views": (images(0, 1, 2), images(3, 4, 5))}
    _, sums = contrastive.training_loss(method, state, batch, jax.random.key(0), 0.3)
    z = table[:6] / np.linalg.norm(table[:6], axis=1, keepdims=True)
    total, right = 0.0, 0
    for i in range(6):
        s = {k: z[i] @ z[k] / 0.3 for k in range(6) if k != i}
        total += (np.log(sum(np.exp(v) for v in s.values())) - s[(i + 3) % 6]) / 2
        right += (max(s, key=s.get) == (i + 3) % 6) / 2
    np.testing.assert_allclose(sums["loss"], (total, 3), rtol=1e-5)
    np.testing.assert_allclose(sums["batch_accuracy"], (right, 3))
    keys = method.encoder.keys + method.projector.keys
    assert len(keys) == 4 == len(set(keys))  # what is dropped of one view says nothing of the other


def of_table(table, *views, **more):
    """The sums of the loss of a table's rows."""
    method = Method(Tabled(np.arange(len(table))[:, None], True), Tabled(table), lambda x: x, None, None)
    state = State(0, {"encoder": {}, "projector": {}}, {}, {"batch_stats": {"encoder": {}, "projector": {}}})
    batch = {"views": tuple(images(*view) for view in views), **more}
    return contrastive.training_loss(method, state, batch, jax.random.key(0), 0.3)[1]


@pytest.mark.curriculum("I17")
def test_an_image_that_comes_twice_is_no_negative_of_itself():
    """Rows 0 and 2 show image 5: of the other vectors, those of row 1 and the positive are left to each of them."""
    table = np.random.default_rng(0).normal(size=(6, 3))
    sums = of_table(table, (0, 1, 2), (3, 4, 5), index=jnp.asarray([5, 8, 5]))
    z, total = table / np.linalg.norm(table, axis=1, keepdims=True), 0.0
    for i in range(6):
        positive = (i + 3) % 6
        among = [k for k in range(6) if k != i and (k == positive or k % 3 == 1 or i % 3 == 1)]
        total += (np.log(sum(np.exp(z[i] @ z[k] / 0.3) for k in among)) - z[i] @ z[positive] / 0.3) / 2
    np.testing.assert_allclose(sums["loss"], (total, 3), rtol=1e-5)
    apart = of_table(table, (0, 1, 2), (3, 4, 5), index=jnp.asarray([5, 8, 6]))["loss"][0]
    np.testing.assert_allclose(apart, of_table(table, (0, 1, 2), (3, 4, 5))["loss"][0], rtol=1e-6)


def test_one_image_alone_has_nothing_to_be_told_from():
    with pytest.raises(ConfigError, match="leaves one image in a batch, and no other to tell it from; use larger"):
        of_table(np.ones((2, 3)), (0,), (1,))


@pytest.fixture(scope="module")
def run():
    return build(configs.load(CONFIG, ["--config.model={'name': 'mlp_tiny'}"]))


@pytest.mark.curriculum("I17")
def test_a_step_moves_both_parts_and_leaves_the_probe(run):
    split = run.data.splits["train"]
    batch = {name: jnp.asarray(x) for name, x in split.batch(np.arange(16)).items()}
    batch["image"] = batch["image"] / 255
    state = jax.jit(lambda b: create_state(run.task, jax.random.key(0), b))(batch)
    step = jax.jit(run.task.train.update, compiler_options={"xla_backend_optimization_level": 0})
    after, _, sums = step(state, batch, jax.random.key(1))
    assert sums["loss"][1] == 16
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), state.params, after.params)
    for part in ("encoder", "projector"):
        assert any(jax.tree.leaves(moved[part])), part
    jax.tree.map(np.testing.assert_array_equal, state.extra["probe"], after.extra["probe"])
    changed = {**batch, "label": (batch["label"] + 1) % 10, "index": batch["index"] + 5}
    other = step(state, changed, jax.random.key(1))[0]
    jax.tree.map(np.testing.assert_array_equal, after.params, other.params)  # no label is looked at


def test_each_split_has_its_own_evaluation_and_one_pass(run):
    evals = run.task.evals
    assert {name: (e.data, e.final) for name, e in evals.items()} == {
        "validation": ("validation", False), "test": ("test", True)
    }  # fmt: skip
    assert evals["validation"].before is evals["test"].before and evals["test"].before.data == "train"


def test_a_run_without_a_probe_evaluates_nothing_and_needs_no_numbers():
    task = build(configs.load(CONFIG, ["--config.probe={}", "--config.data.numbered=False"])).task
    assert task.evals == {}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.views=", "config.views is empty"),
        ("--config.contrast.temperature=0", "config.contrast.temperature=0.0 must be positive"),
        ("--config.data.numbered=False", "set config.data.numbered=True, or config.probe.neighbours=0"),
        ("--config.projection.sizes=3", "config.projection.sizes is not an argument of projector"),
    ],
)
def test_mistakes_name_the_key(override, message):
    with pytest.raises(ConfigError, match=message):
        build(configs.load(CONFIG, [override]))

"""The study of shifts: what changes between its distributions, whose weights move whom, and that they help."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from cvdl_jax.config import configs
from cvdl_jax.core.info import Info
from cvdl_jax.core.task import State
from experiments.studies import shift

KEY = jax.random.key(0)


def rate(x, y, side):
    """p(y = 1) where the second coordinate is near the border and the first in a range."""
    near = (np.abs(x[:, 1] - 0.9) < 0.15) & (np.abs(x[:, 0] - 0.8) < 0.15)
    assert near.sum() > 100
    return y[near].mean()


@pytest.mark.curriculum("U1", "U3")
@pytest.mark.parametrize("kind", ["covariate", "concept"])
def test_what_changes_and_what_stays(kind):
    (x, y, ratio), (x2, y2, ratio2) = (jax.device_get(shift.examples(kind, KEY, 40000, test)) for test in (0, 1))
    moved = abs(x2[:, 0].mean() - x[:, 0].mean())
    if kind == "covariate":
        assert moved == pytest.approx(1.2, abs=0.03) and x2[:, 0].std() == pytest.approx(0.5, abs=0.02)
        assert abs(rate(x, y, 0) - rate(x2, y2, 1)) < 0.06  # p(y | x) stays
        np.testing.assert_allclose(ratio.mean(), 1, atol=0.05)  # E_tr[w]
        np.testing.assert_allclose((ratio * x[:, 0]).mean(), 1.2, atol=0.08)  # E_tr[w x] = E_te[x]
    else:
        assert moved < 0.03 and (ratio == 1).all() and (ratio2 == 1).all()
        assert abs(rate(x, y, 0) - rate(x2, y2, 1)) > 0.1


@pytest.mark.curriculum("U2")
def test_under_label_shift_the_classes_keep_their_form():
    (x, y, ratio), (x2, y2, _) = (jax.device_get(shift.examples("label", KEY, 30000, test)) for test in (0, 1))
    np.testing.assert_allclose(np.bincount(y) / len(y), [1 / 3] * 3, atol=0.01)
    np.testing.assert_allclose(np.bincount(y2) / len(y2), [0.1, 0.2, 0.7], atol=0.01)
    for c in range(3):
        np.testing.assert_allclose(x[y == c].mean(0), x2[y2 == c].mean(0), atol=0.05)
    np.testing.assert_allclose(np.bincount(y, ratio) / len(y), [0.1, 0.2, 0.7], atol=0.01)


@pytest.fixture(scope="module", params=["covariate", "label"])
def one_seed(request):
    kind, classes = request.param, {"covariate": 2, "label": 3}[request.param]
    data = {
        name: shift.examples(kind, jax.random.key(i), 40, int(name in ("target", "test")))
        for i, name in enumerate(("train", "held_out", "target", "test"))
    }
    rng = np.random.default_rng(0)
    shapes = {**dict.fromkeys(shift.METHODS, (2, classes)), "ratio": (5, 2)}
    params = {
        name: {"kernel": jnp.asarray(rng.normal(size=s), jnp.float32), "bias": jnp.zeros(s[1])}
        for name, s in shapes.items()
    }
    return kind, params, data


@pytest.mark.curriculum("U4", "U5")
def test_the_loss_by_hand_and_weights_give_no_gradient(one_seed):
    kind, params, data = one_seed
    total, slopes = jax.jit(jax.value_and_grad(partial(shift.loss_of_seed, kind)))(params, data)

    def mean(name, which, weights=1.0, features=lambda x: x):
        x, y, _ = data[which]
        log_p = jax.nn.log_softmax(shift.scores(params[name], features(x)))
        return -(weights * np.asarray(log_p)[np.arange(40), np.asarray(y)]).mean()

    weights = np.asarray(shift.estimated(kind, params, data))
    want = mean("erm", "train") + mean("known", "train", np.asarray(data["train"][2])) + mean("oracle", "target")
    want += mean("estimated", "train", weights)
    both = np.concatenate([data["train"][0], data["target"][0]])
    log_p = np.asarray(jax.nn.log_softmax(shift.scores(params["ratio"], shift.squares(jnp.asarray(both)))))
    want -= (log_p[:40, 0].sum() + log_p[40:, 1].sum()) / 80
    np.testing.assert_allclose(total, want, rtol=1e-5)
    alone = jax.grad(
        lambda p: -(jax.nn.log_softmax(shift.scores(p, data["train"][0]))[jnp.arange(40), data["train"][1]]).mean()
    )(params["erm"])
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), slopes["erm"], alone)


@pytest.mark.curriculum("U1", "U2")
def test_methods_are_evaluated_on_the_test_distribution_by_hand(one_seed):
    kind, params, data = one_seed
    state = State(jnp.int32(0), *(jax.tree.map(lambda x: x[None], tree) for tree in (params, {})), {})
    state = state._replace(extra={"data": jax.tree.map(lambda x: x[None], data)})
    sums = {name: float(x) for name, (x, _) in shift.evaluation_step(kind, state, {}, None).items()}

    def right(method, which):
        x, y, _ = data[which]
        return float((shift.scores(params[method], x).argmax(1) == y).mean())

    for method in shift.METHODS:
        assert sums[f"{method}/0"] == pytest.approx(right(method, "test"))
    assert sums["own/0"] == pytest.approx(right("erm", "held_out"))
    known = np.asarray(data["train"][2])
    assert sums["effective/0"] == pytest.approx(known.sum() ** 2 / (known**2).sum() / 40, rel=1e-5)
    away = np.abs(np.asarray(shift.estimated(kind, params, data)) - known).mean()
    assert sums["weight_error/0"] == pytest.approx(away, rel=1e-5)


@pytest.mark.curriculum("U1")
def test_sets_and_seeds_have_examples_of_their_own():
    config = configs.load("configs/studies/shift.py:smoke")
    init = shift.make(config, Info(None, (), {}, {}, 1, 2, 1.0, 0)).init
    data = jax.jit(lambda key: init(key, {})["extra"]["data"])(jax.random.key(0))
    x = {name: np.asarray(arrays[0]) for name, arrays in data.items()}
    assert all((one[0] != one[1]).all() for one in x.values())
    assert (x["train"] != x["held_out"]).all()
    assert not np.isin(x["target"][..., 1], x["test"][..., 1]).any()
    own, test = (np.concatenate(x[name][..., 0]).mean() for name in ("held_out", "target"))
    assert own < 0.6 < test  # of the training distribution and of the other


def test_estimates_do_not_use_labels_of_the_test_distribution(one_seed):
    kind, params, data = one_seed
    x, y, w = data["target"]
    other = {**data, "target": (x, (y + 1) % 2, w)}
    np.testing.assert_array_equal(shift.estimated(kind, params, data), shift.estimated(kind, params, other))
    if kind == "label":  # under covariate shift they are the trained classifier's
        moved = {**data, "target": (x + 0.5, y, w)}
        assert np.abs(shift.estimated(kind, params, data) - shift.estimated(kind, params, moved)).max() > 1e-3
    slope = jax.jit(jax.grad(partial(shift.loss_of_seed, kind)))
    jax.tree.map(np.testing.assert_array_equal, slope(params, data)["ratio"], slope(params, other)["ratio"])


@pytest.mark.long
@pytest.mark.curriculum("U1", "U2", "U4")
@pytest.mark.parametrize("kind", ["covariate", "label"])
def test_weights_help(kind, tmp_path):
    flags = [
        f"--config=configs/studies/shift.py:kind={kind}", f"--workdir={tmp_path / 'run'}", "--config.total_steps=300",
        "--config.study.seeds=8", "--config.log.tensorboard=False",
    ]  # fmt: skip
    assert launch.main(flags) == 0
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())
    metrics = metrics.get("metrics", metrics)
    low = {name: metrics[f"test/{name}_gain_low"] for name in ("known", "estimated", "oracle")}
    assert min(low.values()) > 0.02

"""The evaluation of an encoder in training: its pass over the training images, in batches, against whole arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.core.info import Info
from cvdl_jax.core.parallel import contents
from cvdl_jax.core.task import State
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import probes, representation

N, CLASSES = 150, 3
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, CLASSES, N).astype(np.int32)
IMAGES = RNG.uniform(size=(N, 2, 2, 1)).astype(np.float32)
IMAGES[:, 0, 0, 0] += LABELS / 2
INFO = Info(CLASSES, (), {"image": 0, "label": 0, "index": 0}, {"train": N, "validation": 30}, 8, 1, 1.0, 0)


def features(state, batch):
    return batch["image"].reshape(len(batch["image"]), -1) * state.params


def batch_of(rows, size):
    """Rows, padded by the first ones of the set, which must not count."""
    mask = np.arange(size) < len(rows)
    index = np.concatenate([rows, np.zeros(size - len(rows), int)]).astype(np.int32)
    return {"image": IMAGES[index], "label": LABELS[index], "index": index, "mask": mask.astype(np.float32)}


def prepared(probe):
    state = State(jnp.zeros((), jnp.int32), jnp.asarray(2.0), {}, representation.empty(probe, 4, CLASSES))
    parts = [representation.look(features, probe, CLASSES, state, batch_of(np.arange(i, min(i + 64, N)), 64), None)
             for i in range(0, N, 64)]  # fmt: skip
    return state, representation.prepare(state, jax.tree.map(lambda *x: sum(x), *parts))


@pytest.mark.curriculum("I21", "I18")
def test_the_state_holds_the_probes_of_the_whole_training_split():
    probe = representation.make_probe({"neighbours": 5, "bank": 70}, INFO)
    before, after = prepared(probe)
    kept, x = after.extra["probe"], 2 * IMAGES.reshape(N, 4)
    places = np.asarray([i * N // 70 for i in range(70)])  # from the first to nearly the last
    assert places[-1] == 147 and len(set(places.tolist())) == 70
    np.testing.assert_allclose(kept["bank"], x[places], rtol=1e-6)
    np.testing.assert_array_equal(kept["labels"], LABELS[places])
    np.testing.assert_array_equal(kept["real"], 1)
    held_out = np.asarray((contents(jnp.asarray(IMAGES)) >> 16) % 10 == 0)
    assert 3 <= held_out.sum() <= 30
    parts = [probes.moments(x[rows], LABELS[rows], np.ones(rows.sum()), CLASSES) for rows in (~held_out, held_out)]
    linear = probes.chosen_ridge(*parts)
    np.testing.assert_allclose(kept["kernel"], linear.kernel, rtol=1e-3, atol=1e-4)
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert [a.shape for a in jax.tree.leaves(before)] == [a.shape for a in jax.tree.leaves(after)]


@pytest.mark.curriculum("I21")
def test_accuracies_are_those_of_the_probes_on_real_rows():
    probe = representation.make_probe({"neighbours": 5, "bank": 70}, INFO)
    _, after = prepared(probe)
    batch = batch_of(np.arange(100, 130), 64)
    out = representation.measure(features, probe, CLASSES, after, batch, None)
    x, y = 2 * IMAGES[100:130].reshape(30, 4), LABELS[100:130]
    places = np.arange(70) * N // 70
    near = probes.knn(x, 2 * IMAGES[places].reshape(70, 4), LABELS[places], CLASSES, 5).argmax(1)
    kept = after.extra["probe"]
    linear = (x @ kept["kernel"] + kept["bias"][None]).argmax(1)
    assert out["knn_accuracy"] == (float((near == y).sum()), 30.0)
    assert out["linear_accuracy"] == (float((linear == y).sum()), 30.0)
    means = {"linear_accuracy": 0.9, "knn_accuracy": 0.8, "strength": 0.1}
    metrics = representation.finalise(means, {"unit": np.asarray([[1.0, 0], [-1, 0], [0, 1], [0, -1]]), "label": 0})
    assert metrics["spread"] == pytest.approx(1.0) and metrics["examples"] == 4
    assert metrics["linear_accuracy_low"] < 0.9 < metrics["linear_accuracy_high"]
    assert representation.finalise(means, {"unit": np.ones((4, 2)), "label": 0})["spread"] == 0


def test_without_neighbours_there_is_no_bank():
    probe = representation.make_probe({"neighbours": 0}, INFO._replace(spec={"image": 0, "label": 0}))
    _, after = prepared(probe)
    assert after.extra["probe"].keys() == {"kernel", "bias", "strength"}
    assert "knn_accuracy" not in representation.measure(
        features, probe, CLASSES, after, batch_of(np.arange(4), 8), None
    )
    assert representation.make_probe({}, INFO) is None and representation.empty(None, 4, None) == {}


@pytest.mark.parametrize(
    ("section", "info", "message"),
    [
        ({"neighbours": 5}, INFO._replace(num_classes=None), "fits classifiers to labelled training images"),
        ({"neighbours": 5}, INFO._replace(spec={"label": 0}), "set config.data.numbered=True"),
        ({"neighbours": 9, "bank": 8}, INFO, "neighbours=9 are asked of a bank of 8 images; choose at most 8"),
        ({"images": 9}, INFO, "config.probe.images is set by the program; remove it"),
        ({"neighbors": 9}, INFO, "config.probe.neighbors is not an argument of Probe: did you mean 'neighbours'"),
    ],
)
def test_probes_that_cannot_be_fitted_are_refused(section, info, message):
    with pytest.raises(ConfigError, match=message):
        representation.make_probe(section, info)

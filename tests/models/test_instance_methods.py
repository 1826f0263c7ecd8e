"""Methods that find objects in a map: perfect maps give back the objects, with their classes, scores and losses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import instance_methods
from cvdl_jax.ops.losses import segmentation

quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def touching():
    """Two objects side by side, of classes 1 and 0, a third one that is not to be found, and a row without pixels."""
    ids = np.zeros((2, 16, 20), np.int32)
    ids[0, 2:9, 2:8], ids[0, 2:9, 8:15], ids[0, 11:15, 3:9] = 1, 2, 3
    return {
        "ids": jnp.asarray(ids), "labels": jnp.asarray([[1, 0, 1, 1]] * 2, jnp.int32),
        "mask": jnp.asarray([[1.0, 1, 0, 1], [0, 0, 0, 0]]),
    }  # fmt: skip


@pytest.fixture(scope="module")
def methods():
    made = {}
    for name, more in (("watershed", {}), ("embedding", {"size": 2})):
        section = {"name": name, "most": 5, "least": 2, **more}
        choose = configs.named(instance_methods, section, "config.method", "num_classes", "pixel_loss")
        method = choose(num_classes=2, pixel_loss=segmentation.cross_entropy)
        made[name] = method._replace(segments=quick_jit(method.segments), losses=quick_jit(method.losses))
    return made


def pixel_labels(truth):
    """Background 0, class plus one, and 255 where an object is not to be found, by a loop."""
    ids, labels = np.asarray(truth["ids"]), np.zeros(truth["ids"].shape, int)
    for b, y, x in zip(*np.nonzero(ids), strict=True):
        row = ids[b, y, x] - 1
        labels[b, y, x] = truth["labels"][b, row] + 1 if truth["mask"][b, row] > 0 else 255
    return labels


def confident(labels, k):
    return 20.0 * np.eye(k)[np.where(labels == 255, 0, labels)]


@pytest.mark.curriculum("M18")
def test_the_watershed_cuts_objects_that_touch(methods):
    truth, method = touching(), methods["watershed"]
    assert method.outputs == 4
    labels, ids = pixel_labels(truth), np.asarray(truth["ids"])
    labels = np.where((labels % 255 > 0) & _beside(ids), 3, labels)  # borders
    logits = jnp.asarray(confident(labels, 4), jnp.float32)
    parts, weight = method.losses(logits, None, truth)
    assert (np.abs(parts["loss"]) < 1e-6).all() and weight.tolist() == [1, 1]
    found = method.segments(None, logits, None, None)
    assert np.array_equal(found["ids"], np.where(ids == 3, 0, ids)) and found["ids"].dtype == jnp.int16
    assert found["mask"].tolist() == [[1, 1, 0, 0, 0], [0] * 5] and found["classes"][0, :2].tolist() == [1, 0]
    assert (found["scores"][0, :2] > 0.99).all() and not found["scores"][:, 2:].any() and not found["left"].any()


@pytest.mark.parametrize("name", ["watershed", "embedding"])
def test_an_image_whose_scores_are_no_numbers_is_none_without_objects(methods, name):
    method = methods[name]
    logits = jnp.zeros((2, 8, 8, method.outputs)).at[1, 2, 3, 1].set(jnp.nan)
    found = method.segments(None, logits, None, None)
    assert jnp.isnan(found["scores"][1]).all() and found["mask"][1].all() and not jnp.isnan(found["scores"][0]).any()


def _beside(ids):
    """Pixels with a neighbour of another number."""
    p = np.pad(ids, ((0, 0), (1, 1), (1, 1)), mode="edge")
    return np.any([p[:, :-2, 1:-1] != ids, p[:, 2:, 1:-1] != ids, p[:, 1:-1, :-2] != ids, p[:, 1:-1, 2:] != ids], 0)


@pytest.mark.curriculum("M18")
def test_pixels_with_near_vectors_are_an_object(methods):
    truth, method = touching(), methods["embedding"]
    assert method.outputs == 5
    ids, labels = np.asarray(truth["ids"]), pixel_labels(truth)
    vectors = np.array([[0, 0], [4.0, 0], [0, 4.0], [9, 9]])[ids]
    logits = jnp.asarray(np.concatenate([vectors, confident(labels, 3)], -1), jnp.float32)
    parts, _ = method.losses(logits, None, truth)
    # two means 4 sqrt(2) apart, both 4 from 0: only the regularisation is left, 0.001 (4 + 4) / 2
    np.testing.assert_allclose(parts["loss"], [0.004, 0], atol=1e-6)
    np.testing.assert_allclose(parts["regularisation_loss"], [0.004, 0], atol=1e-6)
    assert set(parts) == {"loss", "pixel_loss", "variance_loss", "distance_loss", "regularisation_loss"}
    found = method.segments(None, logits, None, None)
    numbers = np.asarray(found["ids"][0])
    pairs = {(a, b) for a, b in zip(ids[0].ravel().tolist(), numbers.ravel().tolist(), strict=True) if a != 3}
    assert len(pairs) == 3 and (0, 0) in pairs and not found["ids"][1].any()
    of_first = dict(pairs)[1]
    assert found["classes"][0, of_first - 1] == 1 and found["mask"].sum() == 2 and not found["left"].any()


def test_what_gets_no_number_is_counted(methods):
    labels = np.zeros((2, 16, 20), int)
    labels[0, 1:4, 1::3] = labels[0, 1:4, 2::3] = 1  # seven objects, five numbers
    logits = jnp.asarray(confident(labels, 4), jnp.float32)
    found = methods["watershed"].segments(None, logits, None, None)
    assert found["left"].tolist() == [2, 0] and found["mask"].sum() == 5 and found["ids"].max() == 5
    with pytest.raises(ConfigError, match=r"config.method.most=40000 must be at most 32767"):
        instance_methods.watershed(2, segmentation.dice, most=40_000)
    with pytest.raises(ConfigError, match=r"did you mean 'watershed'"):
        configs.named(instance_methods, {"name": "watershd"}, "config.method")

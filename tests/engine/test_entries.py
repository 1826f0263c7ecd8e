"""A loaded run takes what its data set stores: bytes are scaled, and numbers that it was not trained on are refused."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.core.task import Task
from cvdl_jax.engine import entries
from cvdl_jax.errors import DataError


def loaded(**stored):
    """A run that was trained on these entries, and predicts the batch it is asked with."""
    split = SimpleNamespace(spec={name: jax.ShapeDtypeStruct(*of) for name, of in stored.items()})
    task = Task(init=None, train=None, evals={}, predict=lambda state, batch: {"state": state, **batch})
    return entries.checked(SimpleNamespace(task=task, data=SimpleNamespace(splits={"train": split})))


BYTES = loaded(image=((2, 2, 1), np.uint8), label=((), np.int32))
UNIT = np.array([0, 51, 255, 102], np.float32).reshape(1, 2, 2, 1) / 255


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray, np.ndarray.tolist], ids=["numpy", "jax", "list"])
def test_bytes_and_floats_in_0_1_are_the_same_image(array):
    seen = BYTES.predict("s", {"image": array(UNIT)})
    np.testing.assert_allclose(seen["image"], UNIT, rtol=1e-6)
    assert seen["state"] == "s"
    if array is not np.ndarray.tolist:
        as_bytes = BYTES.predict("s", {"image": array((UNIT * 255).round().astype(np.uint8))})["image"]
        np.testing.assert_allclose(as_bytes, UNIT, rtol=1e-6)
        assert as_bytes.dtype == jnp.float32


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (UNIT * 255, "'image' has floats from 0 to 255; the run was trained on pixels in 0..1: give bytes"),
        (UNIT * 2 - 1, "floats from -1 to 1; .* x / 255"),
        (UNIT + np.nan, "floats from nan to nan"),
        (UNIT + 0.01, r"floats from 0.01 to 1.01"),
        ((UNIT * 255).astype(int), r"'image' is int64; give bytes, x.astype\(np.uint8\)"),
        (UNIT[0], r"the shape \[2, 2, 1\], the run was trained on \[b, 2, 2, 1\]; one example alone is x\[None\]"),
        (np.zeros((3, 2, 2, 3), np.uint8), r"the shape \[3, 2, 2, 3\], the run was trained on \[b, 2, 2, 1\]"),
    ],
)
def test_what_a_run_was_not_trained_on_is_refused(image, words):
    with pytest.raises(DataError, match=words):
        BYTES.predict(None, {"image": image})


def test_rounding_of_a_resized_image_is_none_of_these():
    BYTES.predict(None, {"image": UNIT + np.float32(2e-6)})


def test_a_batch_without_the_input_is_refused():
    with pytest.raises(DataError, match=r"the batch has \['images'\]; predict needs \['image'\]"):
        BYTES.predict(None, {"images": UNIT})


def test_inside_jit_bytes_are_scaled_and_what_is_out_of_range_is_not_a_number():
    predict = jax.jit(lambda image: BYTES.predict(0, {"image": image})["image"])
    np.testing.assert_allclose(predict((UNIT * 255).round().astype(np.uint8)), UNIT, rtol=1e-6)
    np.testing.assert_array_equal(predict(UNIT), UNIT)
    assert np.isnan(predict(UNIT * 255)).any() and np.isnan(predict(UNIT - 0.1)).any()


def test_floats_of_a_set_that_stores_floats_stay_as_they_are():
    task = loaded(image=((2, 2, 1), np.float32), features=((3,), np.float32))
    np.testing.assert_array_equal(task.predict(0, {"image": UNIT * 900 - 5})["image"], UNIT * 900 - 5)
    np.testing.assert_array_equal(task.predict(0, {"features": np.full((1, 3), 7.0)})["features"], [[7.0] * 3])
    with pytest.raises(DataError, match=r"'image' is uint8, the run was trained on float32 .*x.astype\(np.float32\)"):
        task.predict(0, {"image": UNIT.astype(np.uint8)})


def test_tasks_that_do_not_predict_or_have_no_data_stay_as_they_are():
    nothing = Task(init=None, train=None, evals={})
    assert entries.checked(SimpleNamespace(task=nothing, data=SimpleNamespace(splits={"train": 1}))) is nothing
    assert entries.checked(SimpleNamespace(task=BYTES, data=None)) is BYTES


def test_both_views_of_a_pair_are_scaled():
    pair, x = (
        loaded(image=((2, 2, 1), np.uint8), image_after=((2, 2, 1), np.uint8)),
        (UNIT * 255).round().astype(np.uint8),
    )
    np.testing.assert_allclose(pair.predict(None, {"image": x, "image_after": x})["image_after"], UNIT, rtol=1e-6)

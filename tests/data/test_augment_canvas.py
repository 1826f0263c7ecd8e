"""Large-scale jitter and mosaic: boxes, masks and numbers of objects that follow the pixels, as literal numbers."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.data.augment import canvas, policy
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.images import crops, watershed

KEY = jax.random.key(3)
BOX = [0.25, 0.5, 0.75, 1.0]  # rows 2 to 5, columns 4 to 7 of 8


def scenes(b=4, n=2):
    """Images of 8 x 8 pixels that show their mask; row i has its object in row i % 2 of the objects, with class i."""
    ids = np.zeros((b, 8, 8, 1), np.uint8)
    boxes, labels, real = np.zeros((b, n, 4), np.float32), np.zeros((b, n), np.int32), np.zeros((b, n), np.float32)
    for i in range(b):
        ids[i, 2:6, 4:8] = i % 2 + 1
        boxes[i, i % 2], labels[i, i % 2], real[i, i % 2] = BOX, i, 1
    return {
        "image": jnp.asarray(ids > 0, jnp.float32), "instance_mask": jnp.asarray(ids),
        "segmentation_mask": jnp.asarray((ids > 0).astype(np.uint8)), "objects/bbox": jnp.asarray(boxes),
        "objects/label": jnp.asarray(labels), "objects/mask_id": jnp.asarray([[1, 0], [0, 2]] * (b // 2), jnp.int32),
        "boxes_mask": jnp.asarray(real),
    }  # fmt: skip


quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@cache
def compiled(text):
    return quick_jit(lambda batch: policy.build(text).update(None, batch, KEY)[1])


def run(text, batch):
    return jax.tree.map(np.asarray, compiled(text)(batch))


@cache
def moved(min_visible):
    return quick_jit(lambda batch, sides, places: canvas._on_canvas("test", batch, sides, places, 0.5, min_visible))


def at(sides, places, min_visible=0.25):
    """The first scene, resized to given sides at a given place."""
    first = {name: x[:1] for name, x in scenes().items()}
    out = moved(min_visible)(first, jnp.asarray([sides], jnp.int32), jnp.asarray([places], jnp.int32))
    return {name: np.asarray(x)[0] for name, x in out.items()}


def test_a_region_that_leaves_takes_no_object_with_it():
    first = {name: x[:1] for name, x in scenes().items()}
    first["proposals/bbox"] = jnp.zeros_like(first["objects/bbox"]).at[:, 0].set(jnp.asarray([0, 0, 0.05, 0.05]))
    out = moved(0.25)(first, jnp.asarray([[16, 16]], jnp.int32), jnp.asarray([[0, -8]], jnp.int32))
    assert out["boxes_mask"][0].tolist() == [1, 0] and not out["proposals/bbox"].any()


@pytest.mark.curriculum("M18", "F16")
def test_a_shrunken_image_lies_on_the_canvas_with_its_box_and_its_masks():
    out = at((4, 4), (1, 3))
    np.testing.assert_allclose(out["objects/bbox"][0], [2 / 8, 5 / 8, 4 / 8, 7 / 8])
    rows, columns = np.nonzero(out["instance_mask"][..., 0])
    assert (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1) == (2, 5, 4, 7) and len(rows) == 4
    assert out["image"][0, 0] == 0.5 and out["image"][1, 3] == 0  # the canvas, and the image
    assert out["segmentation_mask"][0, 0] == 255 and out["segmentation_mask"][1, 3] == 0
    assert out["instance_mask"][0, 0] == 0 and out["boxes_mask"].tolist() == [1, 0]


@pytest.mark.curriculum("M18")
def test_a_box_that_leaves_the_enlarged_image_is_padding_not_a_sliver():
    """Twice as large: the object has rows 4 to 11 and columns 8 to 15 of 16."""
    seen = at((16, 16), (0, -8))  # the window shows columns 8 to 15, rows 0 to 7: half of the object
    np.testing.assert_allclose(seen["objects/bbox"][0], [0.5, 0, 1, 1])
    assert (seen["instance_mask"][4:, :, 0] == 1).all() and seen["boxes_mask"][0] == 1
    gone = at((16, 16), (0, 0))  # columns 0 to 7: nothing of it
    assert gone["boxes_mask"].tolist() == [0, 0] and not gone["objects/bbox"].any() and not gone["objects/label"].any()
    assert not gone["instance_mask"].any() and not gone["objects/mask_id"].any()
    little = at((16, 16), (0, -8), min_visible=0.6)
    assert little["boxes_mask"][0] == 0 and little["instance_mask"].any()  # the mask keeps what is seen of it


@pytest.mark.curriculum("M18")
def test_jittered_boxes_are_those_of_the_jittered_masks():
    """At factors whose sides are multiples of the cells', boxes of masks and moved boxes are the same, cut or not."""
    batch = jax.tree.map(lambda x: jnp.tile(x, (8,) + (1,) * (x.ndim - 1)), scenes())
    for low in (0.5, 2.0):
        out = run(f"large_scale_jitter(low={low}, high={low}, min_visible=0.0)", batch)
        places = set()
        for i in range(32):
            k = i % 2
            tight = watershed.boxes_of(out["instance_mask"][i, ..., 0], 2)[k]
            np.testing.assert_allclose(out["objects/bbox"][i, k], tight, atol=1e-6)
            assert out["boxes_mask"][i, k] == tight.any()
            places.add(tuple(tight))
        assert len(places) > 3
    batch = scenes()
    same = run("large_scale_jitter(low=0.1, high=0.2, probability=0.0)", batch)
    jax.tree.map(np.testing.assert_array_equal, same, jax.tree.map(np.asarray, batch))


def test_a_placed_image_is_the_resized_one():
    image = jax.random.uniform(KEY, (2, 9, 7, 3))
    sides, places = jnp.asarray([[5, 6], [14, 10]]), jnp.asarray([[2, -1], [-3, 1]])
    out = np.asarray(crops.placed(image, sides, places, (11, 12), fill=0.25))
    precise = jax.lax.Precision.HIGHEST
    for i, ((h, w), (y, x)) in enumerate(zip(sides.tolist(), places.tolist(), strict=True)):
        whole = np.full((40, 40, 3), 0.25, np.float32)
        resized = jax.image.resize(image[i], (h, w, 3), "bilinear", precision=precise)
        whole[10 + y : 10 + y + h, 10 + x : 10 + x + w] = resized
        np.testing.assert_allclose(out[i], whole[10:21, 10:22], atol=1e-6)


@pytest.mark.curriculum("M18", "F16")
def test_a_mosaic_of_four_halves_has_their_boxes_and_counts_on():
    out = run("mosaic(low=0.5, high=0.5, margin=0.5)", scenes())
    half = np.array([1, 2, 3, 4]) / 8  # the box in a quarter
    expected = {j: half + np.array([j // 2, j % 2] * 2) / 2 for j in range(4)}
    for i in range(4):
        rows = [2 * j + (i ^ j) % 2 for j in range(4)]  # of the quarters' objects among the 8
        assert np.flatnonzero(out["boxes_mask"][i]).tolist() == rows
        for j, row in enumerate(rows):
            np.testing.assert_allclose(out["objects/bbox"][i, row], expected[j], atol=1e-6)
            assert out["objects/label"][i, row] == i ^ j and out["objects/mask_id"][i, row] == row + 1
        tight = watershed.boxes_of(out["instance_mask"][i, ..., 0], 8)
        np.testing.assert_allclose(tight, out["objects/bbox"][i], atol=1e-6)
        np.testing.assert_array_equal(out["instance_mask"][i] > 0, out["image"][i] > 0.5)
    assert out["instance_mask"].dtype == np.int32 and out["objects/bbox"].shape == (4, 8, 4)


@pytest.mark.curriculum("M18")
def test_a_mosaic_cuts_boxes_to_their_quarter():
    """At full size the corner towards the middle is shown: the object loses half, or all."""
    out = run("mosaic(low=1.0, high=1.0, margin=0.5, min_visible=0.5)", scenes())
    np.testing.assert_allclose(out["objects/bbox"][0, 0], [0, 0, 0.25, 0.5])  # upper left: its lower right corner
    np.testing.assert_allclose(out["objects/bbox"][0, 2 + 1], 0)  # upper right: its columns 0 to 3, which are empty
    np.testing.assert_allclose(out["objects/bbox"][0, 4 + 0], [0.75, 0, 1, 0.5])  # lower left: upper right corner
    assert np.flatnonzero(out["boxes_mask"][0]).tolist() == [0, 4]
    assert sorted(np.unique(out["instance_mask"][0])) == [0, 1, 5]
    stayed = run("mosaic(probability=0.0)", scenes())
    np.testing.assert_array_equal(stayed["boxes_mask"], np.pad(scenes()["boxes_mask"], ((0, 0), (0, 6))))
    np.testing.assert_array_equal(stayed["instance_mask"], scenes()["instance_mask"])


def test_mistakes_are_named():
    three = {name: x[:3] for name, x in scenes().items()}
    with pytest.raises(ConfigError, match="mosaic puts four rows together, and a device has 3 rows"):
        run("mosaic", three)
    with pytest.raises(ConfigError, match=r"\['label'\] says one thing of an image"):
        run("mosaic", {**scenes(), "label": jnp.arange(4)})
    with pytest.raises(ConfigError, match=r"large_scale_jitter\(low=2.0\) must be at most high=1.0"):
        policy.build("large_scale_jitter(low=2.0, high=1.0)")
    with pytest.raises(ConfigError, match=r"mosaic\(margin=0.7\) must be between 0 and 0.5"):
        policy.build("mosaic(margin=0.7)")

"""Mask R-CNN: targets cut out, masks put back, the mask loss beside loops, losses and segments of the whole model."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import ConfigError
from cvdl_jax.models import instance_methods, instances, registry
from cvdl_jax.models.criterion import Criterion
from cvdl_jax.ops import instance_masks
from cvdl_jax.ops.suppression import detections

RNG = np.random.default_rng(0)
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
CONFIG = {
    "model": {"name": "mask_rcnn_tiny"}, "method": {"name": "regions", "least_score": 0.3},
    "loss": {"name": "cross_entropy"}, "match": {}, "boxes": {}, "nms": {"keep": 5},
}  # fmt: skip


@pytest.mark.curriculum("M17")
def test_targets_are_the_object_in_the_frame_of_its_region():
    ids = np.zeros((16, 20), np.int32)
    ids[4:12, 5:15], ids[4:12, 10:15] = 1, 2
    box = [4 / 16, 5 / 20, 12 / 16, 15 / 20]
    regions = np.array([box, [0, 0, 1, 1], box, [0] * 4], np.float32)
    numbers = np.array([1, 2, 0, 1])
    masks = np.asarray(
        quick_jit(partial(instance_masks.mask_targets, size=4))(ids, regions.astype(np.float32), numbers)
    )
    np.testing.assert_array_equal(masks[0], [[1, 1, 0, 0]] * 4)  # the left half of its box
    np.testing.assert_array_equal(masks[1], [[0] * 4, [0, 0, 1, 0], [0, 0, 1, 0], [0] * 4])
    assert not masks[2].any()  # no object
    assert instance_masks.mask_targets(jnp.asarray(ids), jnp.zeros((0, 4)), jnp.zeros(0, jnp.int32)).shape == (
        0,
        28,
        28,
    )


@pytest.mark.curriculum("M17")
def test_a_mask_that_is_cut_out_and_put_back_is_the_mask():
    y, x = np.mgrid[:24, :30]
    ids = (((y - 11.5) / 7.2) ** 2 + ((x - 13.2) / 10.4) ** 2 <= 1).astype(np.int32)
    ids[(y > 15) & (x > 20)] = 2
    box = np.array([[2, 1, 22, 27], [16, 21, 24, 30]], np.float32) / np.array([24, 30, 24, 30], np.float32)
    cut = quick_jit(instance_masks.mask_targets)(ids, box, jnp.asarray([1, 2]))
    put = quick_jit(instance_masks.paste, static_argnames="size")
    back = np.asarray(put(cut, box, size=(24, 30)) > 0.5)
    for k in (1, 2):
        true = ids == k
        assert (back[k - 1] & true).sum() / (back[k - 1] | true).sum() > 0.97
    # a patch as large as its box is copied pixel for pixel, and nothing is outside; a box without area has no pixel
    patch = RNG.random((2, 4, 4)).astype(np.float32)
    boxes = np.array([[3 / 8, 2 / 10, 7 / 8, 6 / 10], [0.5] * 4], np.float32)
    out = np.asarray(put(patch, boxes, size=(8, 10)))
    np.testing.assert_allclose(out[0, 3:7, 2:6], patch[0], atol=1e-6)
    assert out.sum() == pytest.approx(patch[0].sum(), rel=1e-5)


@pytest.mark.curriculum("M17")
def test_the_mask_loss_is_that_of_loops_over_the_true_class():
    logits = RNG.normal(0, 2, (2, 3, 4, 4, 5)).astype(np.float32)
    targets, labels = RNG.integers(0, 2, (2, 3, 4, 4)), np.array([[2, 0, 4], [0, -1, 0]])
    expected = []
    for i in range(2):
        losses = []
        for k in (k for k in range(3) if labels[i, k] > 0):
            p = 1 / (1 + np.exp(-logits[i, k, :, :, labels[i, k]].astype(np.float64)))
            losses.append(-(targets[i, k] * np.log(p) + (1 - targets[i, k]) * np.log(1 - p)).mean())
        expected.append(np.mean(losses) if losses else 0)

    def total(x):
        losses = instance_masks.mask_loss(x, targets, labels)
        return losses.sum(), losses

    gradient, ours = quick_jit(jax.grad(total, has_aux=True))(logits)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    touched = np.abs(gradient).sum((2, 3)) > 0
    assert {tuple(place) for place in np.argwhere(touched).tolist()} == {(0, 0, 2), (0, 2, 4)}  # no other class


@pytest.mark.curriculum("M17")
def test_the_sample_s_objects_are_trained_on_the_masks_of_their_matched_rows():
    """The model's shapes without computing them; its losses of a sample that is written down."""
    model, method = instances.segmenter(CONFIG, 3)
    images, truth = jnp.zeros((1, 16, 16, 3)), {
        "ids": jnp.zeros((1, 16, 16), jnp.int32).at[0, 4:12, 4:8].set(2), "boxes": jnp.zeros((1, 2, 4)),
        "labels": jnp.asarray([[0, 2]]), "mask": jnp.asarray([[0.0, 1.0]]),
    }  # fmt: skip
    variables = jax.eval_shape(lambda k: model.init(k, images, False), jax.random.key(0))
    assert (
        sum(x.size for x in jax.tree.leaves(variables["params"])) == registry.variants()["mask_rcnn_tiny"].row["params"]
    )
    more = {"mutable": ["batch_stats"], "rngs": {"dropout": jax.random.key(0)}}
    said = jax.eval_shape(lambda v: model.apply(v, images, True, truth=truth, **more)[0], variables)
    assert said[1]["mask_logits"].shape == (
        1,
        2,
        8,
        8,
        4,
    )  # 8 regions, a quarter of them objects; masks of 2 x 4 pixels
    sample = {
        "index": jnp.arange(4)[None], "labels": jnp.asarray([[3, 0, 0, -1]]), "matched": jnp.asarray([[1, 0, 0, 0]]),
        "targets": jnp.zeros((1, 4, 4)),
    }  # fmt: skip
    region = jnp.asarray([4, 4, 12, 12]) / 16  # its left half is the object
    masks = jnp.asarray(RNG.normal(0, 1, (1, 2, 8, 8, 4)), jnp.float32)
    out = {"chosen": sample, "regions": jnp.tile(region, (1, 4, 1)), "region_deltas": jnp.zeros((1, 4, 3, 4)),
           "mask_logits": masks}  # fmt: skip
    parts, weight = quick_jit(method.losses)(jnp.zeros((1, 4, 4)), out, truth)
    p = 1 / (1 + np.exp(-np.asarray(masks[0, 0, :, :, 3], np.float64)))
    assert float(parts["mask_loss"][0]) == pytest.approx(-np.log(np.where(np.arange(8) < 4, p, 1 - p)).mean(), rel=1e-5)
    assert set(parts) == {"loss", "class_loss", "box_loss", "mask_loss"} and weight.tolist() == [1]
    assert float(parts["loss"][0]) == pytest.approx(np.log(4) + float(parts["mask_loss"][0]), rel=1e-5)
    assert method.reads == ("truth",)


@pytest.mark.curriculum("M17", "M18")
def test_detections_have_masks_in_their_boxes_and_pixels_of_their_own():
    """Three boxes: the best is whole, the second keeps what the best leaves, the third has too low a score."""
    boxes = jnp.asarray([[2, 2, 10, 10], [2, 6, 10, 14], [12, 0, 16, 16]]) / 16
    scores = jnp.asarray([[0.9, 0], [0, 0.8], [0.2, 0]])
    asked = []

    def masks(params, levels, of, classes, image):
        asked.append((params, levels, image))
        return jnp.broadcast_to(jnp.where(classes == 1, 0.75, 0.875)[..., None, None], (*classes.shape, 6, 6))

    thin = partial(detections, keep=4, iou_threshold=0.5)
    criterion = Criterion(None, lambda logits, out: (boxes[None], scores[None]), ("truth",))
    method = instance_methods.regions(SimpleNamespace(masks=masks), criterion, thin, least_score=0.3)
    found = jax.device_get(quick_jit(lambda: method.segments("params", None, {"levels": "maps"}, (16, 16)))())
    assert asked == [("params", "maps", (16, 16))] and found["mask"].tolist() == [[1, 1, 1, 0]]
    assert found["classes"][0, :3].tolist() == [0, 1, 0]
    expected = np.zeros((16, 16), int)
    expected[2:10, 2:10], expected[2:10, 10:14] = 1, 2
    np.testing.assert_array_equal(found["ids"][0], expected)
    answered = instances.answers(found)  # masks as they are, also where they overlap
    assert answered["masks"][0, 1].sum() == 64 and answered["masks"][0, 1][2:10, 6:14].all()
    assert answered["masks"][0].shape == (4, 16, 16) and answered["masks"][0, 2].sum() == 64
    np.testing.assert_allclose(answered["boxes"][0, :3], boxes)


def test_the_published_count_and_mistakes():
    row = registry.variants()["maskrcnn_resnet50_fpn"].row
    assert row["params"] == 44_401_393 + 53_120  # torchvision's, and the batch normalisation that it freezes
    other = {"model": {"name": "retinanet_tiny"}, "loss": {"name": "focal"}}
    with pytest.raises(ConfigError, match=r"'retinanet_tiny' finds boxes without masks.*needs mask_rcnn_small"):
        instances.segmenter({**CONFIG, **other}, 3)
    with pytest.raises(ConfigError, match=r"config.nms=.* is not read by config.method.name='watershed'"):
        more = {"method": {"name": "watershed"}, "loss": {"name": "dice"}, "nms": {"keep": 3}}
        instances.segmenter({**CONFIG, **more}, 3)
    with pytest.raises(ConfigError, match=r"mask_widths=\(\) needs a number"):
        registry.create({"name": "mask_rcnn_tiny", "mask_widths": ()}, "config.model", outputs=4)

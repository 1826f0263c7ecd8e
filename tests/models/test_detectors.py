"""Detectors of every family: one compiled step each, images without objects, perfect answers, the feature pyramid."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.models.criterion import outputs_of
from cvdl_jax.models.detection.localiser import largest_object
from cvdl_jax.models.detection.ssd import default_shapes
from cvdl_jax.nn.necks import FeaturePyramid, enlarge
from cvdl_jax.ops import boxes, points
from cvdl_jax.ops.losses.localisation import classification_localisation
from cvdl_jax.ops.suppression import detections

EMPTY = {"loss": {}, "match": {}, "boxes": {}}
FOCAL, HARD = {**EMPTY, "loss": {"name": "focal"}}, {**EMPTY, "loss": {"name": "hard_negatives"}}
SECTIONS = {
    "retinanet_tiny": FOCAL, "ssd_tiny": HARD, "fcos_tiny": FOCAL, "yolo_v1_tiny": EMPTY, "yolo_anchors_tiny": EMPTY,
    "localiser_tiny": EMPTY, "sliding_window_tiny": {**HARD, "boxes": {"weight": 0.0}},
    "detr_tiny": {**EMPTY, "loss": {"name": "cross_entropy"}},
}  # fmt: skip
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def made(name, classes=3, **fields):
    sections = SECTIONS[name]
    outputs = outputs_of(sections["loss"], classes)
    model = registry.create({"name": name, **fields}, "config.model", kinds=("detection",), outputs=outputs)
    return model, model.criterion(sections)


def truth_of(*rows):
    """Padded truth of images: lists of (box, class)."""
    n = max(map(len, rows))
    arrays = {
        "boxes": np.zeros((len(rows), n, 4)),
        "labels": np.zeros((len(rows), n)),
        "mask": np.zeros((len(rows), n)),
    }
    for i, row in enumerate(rows):
        for k, (box, c) in enumerate(row):
            arrays["boxes"][i, k], arrays["labels"][i, k], arrays["mask"][i, k] = box, c, 1
    return {name: jnp.asarray(x, jnp.int32 if name == "labels" else jnp.float32) for name, x in arrays.items()}


TRUTH = truth_of([((0.1, 0.1, 0.5, 0.4), 2), ((0.5, 0.4, 0.9, 0.9), 0)], [((0.2, 0.3, 0.8, 0.9), 1)], [])


@pytest.fixture(scope="module", params=SECTIONS)
def step(request):
    """A detector, and a function of its parameters and the truth: losses, gradients and boxes."""
    model, criterion = made(request.param)
    size = registry.variants()[request.param].row["input"]
    x = np.random.default_rng(0).normal(size=(3, *size)).astype(np.float32)
    variables = quick_jit(partial(model.init, train=False))(jax.random.key(0), x)

    @quick_jit
    def run(params, truth):
        def loss(params):
            (logits, out), _ = model.apply(
                {**variables, "params": params}, x, True, rngs={"dropout": jax.random.key(0)}, mutable=["batch_stats"]
            )
            parts, weight = criterion.losses(logits, out, truth)
            return parts["loss"].sum() / weight.sum(), (parts, weight, criterion.decode(logits, out), (logits, out))

        return jax.value_and_grad(loss, has_aux=True)(params)

    return SimpleNamespace(params=variables["params"], run=run, losses=quick_jit(criterion.losses))


@pytest.mark.curriculum("L21")
def test_every_family_has_one_contract(step):
    (value, (parts, weight, (made_boxes, scores), _)), grads = step.run(step.params, TRUTH)
    assert np.isfinite(value) and all(part.shape == (3,) for part in parts.values()) and (weight > 0).all()
    assert (parts["loss"] > 0).all() and len(parts) > 2
    added = sum(part for name, part in parts.items() if name.endswith("_loss"))
    np.testing.assert_allclose(parts["loss"], added, rtol=1e-5)
    assert made_boxes.shape == (3, scores.shape[1], 4) and scores.shape[2] == 3
    assert np.isfinite(made_boxes).all() and (scores >= 0).all() and (scores <= 1).all()
    assert all(np.isfinite(grad).all() for grad in jax.tree.leaves(grads))
    still = [jax.tree_util.keystr(p) for p, g in jax.tree_util.tree_leaves_with_path(grads) if not np.any(g)]
    assert len(still) < len(jax.tree.leaves(grads)) / 3, f"no gradient: {still}"  # levels may have no positive anchor


@pytest.mark.curriculum("L17")
def test_images_without_objects_train_and_count(step):
    """Padding of any content costs what no padding at all does."""
    (_, (parts, weight, _, scored)), grads = step.run(step.params, dict(TRUTH, mask=TRUTH["mask"] * 0))
    others, _ = step.losses(*scored, {name: x[:, :0] for name, x in TRUTH.items()})
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3), parts, others)
    assert (weight == 1).all() and (parts["loss"] > 0).all()
    assert any(np.any(grad) for grad in jax.tree.leaves(grads))
    assert all(np.isfinite(grad).all() for grad in jax.tree.leaves(grads))


# What a family decodes is what it was told --------------------------------------------------------------------------


@pytest.mark.curriculum("L22")
def test_perfect_distances_cost_nothing_and_find_everything():
    _, criterion = made("fcos_tiny")
    grids = [points.point_grid(n, n, (64, 64)) for n in (16, 8)]
    place = jnp.asarray(np.concatenate(grids))
    strides = jnp.float32([4] * 256 + [8] * 64)
    ranges = jnp.float32([[0, 16]] * 256 + [[16, np.inf]] * 64)
    out = {"points": place, "strides": strides, "ranges": ranges, "size": jnp.float32([64, 64])}
    target = jax.vmap(partial(points.point_targets, points=place, strides=strides, ranges=ranges))
    label, distance = target(TRUTH["boxes"] * 64, TRUTH["labels"], TRUTH["mask"])
    logits = jnp.where(label[..., None] == jnp.arange(1, 4)[None, None], 12.0, -12.0)
    central = jnp.log(jnp.clip(points.centreness(distance), 1e-4, 0.9999))
    out |= {"distances": distance, "centreness": central - jnp.log1p(-jnp.exp(central))}
    parts, weight = quick_jit(criterion.losses)(logits, out, TRUTH)
    assert parts["box_loss"].max() < 1e-5 and parts["class_loss"].max() < 1e-3
    assert weight.tolist() == np.maximum((label > 0).sum(1), 1).tolist() and (label[:2] > 0).sum(1).min() >= 1
    centreness = np.asarray(points.centreness(distance), np.float64).clip(1e-4, 0.9999)
    entropy = -(centreness * np.log(centreness) + (1 - centreness) * np.log(1 - centreness))  # the least there is
    np.testing.assert_allclose(parts["centreness_loss"], (entropy * (label > 0)).sum(1), rtol=1e-2)
    thin = jax.vmap(partial(detections, keep=4, score_threshold=0.1))
    shown = quick_jit(lambda *scored: thin(*criterion.decode(*scored)))(logits, out)
    assert shown["mask"].sum(1).tolist() == [2, 1, 0]
    for i, box, c in ((1, TRUTH["boxes"][1, 0], 1),):
        np.testing.assert_allclose(shown["boxes"][i, 0], box, atol=1e-5)
        assert shown["classes"][i, 0] == c


@pytest.mark.curriculum("L25", "L26")
def test_the_network_of_the_paper_has_7_x_7_x_30_outputs():  # OR63
    model = registry.create({"name": "yolo_v1"}, "config.model", outputs=20)
    x = jnp.zeros((1, 448, 448, 3))
    (logits, out), variables = jax.eval_shape(partial(model.init_with_output, train=False), jax.random.key(0), x)
    assert logits.shape == (1, 7, 7, 20) and out["places"].shape == (1, 7, 7, 2, 4)
    convolutions = {p["kernel"].shape for s in range(5) for p in variables["params"][f"stage{s}"].values()}
    count = sum(len(variables["params"][f"stage{s}"]) for s in range(5))
    assert count == 24 and (7, 7, 3, 64) in convolutions
    assert variables["params"]["cells"]["kernel"].shape == (4096, 7 * 7 * 30)


@pytest.mark.curriculum("L25")
def test_cells_are_decoded_into_their_places():
    _, criterion = made("yolo_v1_tiny")
    places = jnp.zeros((1, 2, 4, 2, 4)).at[0, 1, 2, 1].set(jnp.float32([0.5, 0.25, 0.6, 0.5]))
    confidence = jnp.zeros((1, 2, 4, 2)).at[0, 1, 2, 1].set(0.5)
    logits = jnp.zeros((1, 2, 4, 3)).at[0, 1, 2].set(jnp.float32([0.1, 0.8, -0.3]))
    shown, scores = criterion.decode(logits, {"places": places, "confidence": confidence})
    k = (1 * 4 + 2) * 2 + 1
    np.testing.assert_allclose(scores[0, k], [0.05, 0.4, 0], rtol=1e-5)  # p(class) times confidence
    assert scores.sum() == scores[0, k].sum()
    np.testing.assert_allclose(boxes.to_centres(shown[0, k]), [1.5 / 2, 2.25 / 4, 0.36, 0.25], rtol=1e-5)


@pytest.mark.curriculum("L27")
def test_anchors_in_cells_are_decoded_into_their_places():
    _, criterion = made("yolo_anchors_tiny", shapes=((0.1, 0.2), (0.4, 0.3)))
    raw = jnp.zeros((1, 2, 4, 2, 5)).at[0, 1, 2, 1].set(jnp.float32([0, 0, np.log(2), 0, 3]))
    shown, scores = criterion.decode(jnp.zeros((1, 2, 4, 2, 3)), {"raw": raw})
    k = (1 * 4 + 2) * 2 + 1
    np.testing.assert_allclose(boxes.to_centres(shown[0, k]), [1.5 / 2, 2.5 / 4, 0.8, 0.3], rtol=1e-5)
    np.testing.assert_allclose(scores[0, k], 1 / (1 + np.exp(-3)) / 3, rtol=1e-5)
    np.testing.assert_allclose(boxes.to_centres(shown[0, 0]), [0.25, 0.125, 0.1, 0.2], rtol=1e-5)


@pytest.mark.curriculum("L23")
def test_default_boxes_of_the_paper():
    """Six maps from 0.2 to 0.9: sizes, ratios and the box between two sizes (equation 4)."""
    shapes = default_shapes(6, 0.2, 0.9, (2.0, 3.0))
    np.testing.assert_allclose([s[0, 0] for s in shapes], [0.2, 0.34, 0.48, 0.62, 0.76, 0.9], rtol=1e-6)
    assert [len(s) for s in shapes] == [6] * 6
    h, w = shapes[0].T
    np.testing.assert_allclose(sorted(h / w), [1 / 3, 1 / 2, 1, 1, 2, 3], rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(h * w), [0.2, np.sqrt(0.2 * 0.34), 0.2, 0.2, 0.2, 0.2], rtol=1e-6)
    wide = default_shapes(6, 0.2, 0.9, (2.0,), aspect=0.5)[0]
    np.testing.assert_allclose(wide[:, 1], default_shapes(6, 0.2, 0.9, (2.0,))[0][:, 1] / 2)


@pytest.mark.curriculum("L4", "C12")
def test_the_largest_object_is_the_target_and_an_empty_image_background():
    label, box = largest_object(**TRUTH)
    assert label.tolist() == [1, 2, 0]  # the second box of the first image is larger
    np.testing.assert_allclose(box[0], [0.5, 0.4, 0.9, 0.9])
    _, criterion = made("localiser_tiny")
    rng = np.random.default_rng(0)
    logits, place = jnp.float32(rng.normal(size=(3, 4))), jnp.float32(rng.uniform(0.2, 0.6, (3, 4)))
    parts, _ = criterion.losses(logits, {"box": place}, TRUTH)
    centres = np.array([[0.7, 0.65, 0.4, 0.5], [0.5, 0.6, 0.6, 0.6], [0, 0, 0, 0]])
    for i, c in enumerate((1, 2, 0)):  # eq 58-59 of the course, in a loop
        expected = -logits[i, c] + np.log(np.exp(logits[i]).sum())
        expected += sum((centres[i, k] - place[i, k]) ** 2 for k in range(4)) if c else 0
        np.testing.assert_allclose(parts["loss"][i], expected, rtol=1e-5)
    whole = classification_localisation(logits, place, jnp.int32([1, 2, 0]), jnp.float32(centres))
    np.testing.assert_allclose(parts["loss"], whole, rtol=1e-6)
    shown, scores = criterion.decode(logits, {"box": place})
    np.testing.assert_allclose(boxes.to_centres(shown[:, 0]), place, rtol=1e-5)
    np.testing.assert_allclose(scores[:, 0], jax.nn.softmax(logits)[:, 1:], rtol=1e-5)


@pytest.mark.curriculum("L5", "L6")
def test_the_convolutional_window_gives_the_scores_of_its_crops():
    model, _ = made("sliding_window_tiny", sizes=(0.6, 1.0))
    x = np.random.default_rng(0).random((2, 24, 28, 3)).astype(np.float32)
    variables = quick_jit(partial(model.init, train=False))(jax.random.key(0), x)
    both = [quick_jit(partial(m.apply, train=False))(variables, x) for m in (model, model.clone(form="crops"))]
    (logits, out), (crops, others) = both
    assert logits.shape == (2, 3 * 4 + 1, 4) and np.ptp(logits[0, :, 0]) > 1e-3
    np.testing.assert_allclose(logits, crops, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(out["anchors"], others["anchors"])
    # windows of 16 pixels in images of 27 x 31 and 16 x 19 pixels, 4 apart
    rows = [[y / 27, x / 31, (y + 16) / 27, (x + 16) / 31] for y in range(0, 9, 4) for x in range(0, 13, 4)]
    np.testing.assert_allclose(out["anchors"][:12], rows, rtol=1e-5)


# The feature pyramid ------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("L24")
def test_a_pyramid_adds_what_is_above_to_each_stage():
    """With 1x1 kernels of ones and 3x3 kernels of a one in the middle, levels are sums; sides may be odd."""
    rng = np.random.default_rng(0)
    stages = [rng.normal(size=(1, n, m, 1)).astype(np.float32) for n, m in ((9, 7), (5, 4), (3, 2))]
    model = FeaturePyramid((0, 1, 2), channels=1, extra=2)
    variables = model.init(jax.random.key(0), stages, False)
    middle = np.zeros((3, 3, 1, 1), np.float32)
    middle[1, 1] = 1
    fill = lambda path, leaf: middle if leaf.shape[:1] == (3,) else np.full(leaf.shape, float(leaf.ndim == 4), "f")  # noqa: E731
    levels = model.apply(jax.tree_util.tree_map_with_path(fill, variables), stages, False)
    expected, above = [], None
    for stage in reversed(stages):
        y = stage[0, ..., 0].copy()
        if above is not None:
            for i, j in np.ndindex(y.shape):
                y[i, j] += above[i // 2, j // 2]
        above = y
        expected.insert(0, y)
    coarse = stages[2][0, ..., 0][::2, ::2]
    expected += [coarse, np.maximum(coarse, 0)[::2, ::2]]
    assert len(levels) == 5
    for level, wanted in zip(levels, expected, strict=True):
        np.testing.assert_allclose(level[0, ..., 0], wanted, atol=1e-6)
    top = FeaturePyramid((0, 1, 2), channels=1, extra=1, extra_from="level")
    levels = top.apply(
        jax.tree_util.tree_map_with_path(fill, top.init(jax.random.key(0), stages, False)), stages, False
    )
    np.testing.assert_allclose(levels[3], levels[2][:, ::2, ::2], atol=1e-6)


@pytest.mark.curriculum("L24")
@pytest.mark.parametrize("backbone", ["resnet18", "vgg11", "mobilenet_v2", "convnext_tiny", "efficientnet_b0"])
def test_a_detector_takes_the_stages_of_any_backbone(backbone):
    section = {"name": "retinanet_small", "backbone": backbone, "levels": (1, 2, 3)}
    model = registry.create(section, "config.model", outputs=3)
    x = jnp.zeros((1, 64, 96, 3))
    (logits, out), _ = jax.eval_shape(partial(model.init_with_output, train=False), jax.random.key(0), x)
    assert logits.shape[1] == out["anchors"].shape[0] == 9 * sum(y.shape[1] * y.shape[2] for y in out["levels"])
    assert {y.shape[-1] for y in out["levels"]} == {64}


@pytest.mark.curriculum("L24")
@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        (
            "retinanet_tiny",
            {"levels": (1, 5)},
            r"levels=\(1, 5\) must name stages of the backbone in rising order, 0 to 2",
        ),
        ("retinanet_tiny", {"levels": (2, 1)}, r"levels=\(2, 1\) must name stages"),
        (
            "retinanet_tiny",
            {"backbone": "resnet8_tony"},
            r"config\.model\.backbone\.name='resnet8_tony' is not a model; did",
        ),
        ("retinanet_tiny", {"backbone": 3}, r"config\.model\.backbone=3 is of type int; expected Mapping"),
        ("retinanet_tiny", {"backbone": "vit_patch4_16_tiny", "levels": (0,)}, "not maps"),
        ("retinanet_tiny", {"backbone": {"width": (4,)}}, r"config\.model\.backbone\.width is not a field.*'widths'"),
        ("yolo_anchors_tiny", {"shapes": ()}, r"shapes=\(\) needs heights and widths"),
        ("yolo_v1_tiny", {"stages": ((),)}, "stages"),
        ("ssd_tiny", {"smallest": 0.9, "largest": 0.5}, "largest=0.5 must be at least smallest=0.9"),
        ("sliding_window_tiny", {"sizes": (1.5,)}, "a window of 1.5 heights does not fit into an image of 24x24"),
        ("sliding_window_tiny", {"classifier": {"norm": "batch"}}, "without running averages"),
        ("sliding_window_tiny", {"classifier": {"name": "resnet8_tiny"}}, "running averages|no dense layer"),
    ],
)
def test_impossible_detectors_are_refused(name, fields, message):
    with pytest.raises(ConfigError, match=message):
        model, _ = made(name, **fields)
        x = jnp.zeros((1, *registry.variants()[name].row["input"]))
        jax.eval_shape(partial(model.init, train=False), jax.random.key(0), x)


@pytest.mark.parametrize(
    ("name", "sections", "message"),
    [
        ("yolo_v1_tiny", {"match": {"positive": 0.5}}, r"config\.match=.* is not read by yolo_v1; set"),
        ("yolo_v1_tiny", {"loss": {"coordinate": 1.0}}, r"config\.loss\.coordinate.*'coordinates'"),
        ("yolo_anchors_tiny", {"loss": {"ignore": 2.0}}, r"config\.loss\.ignore=2\.0 must be in \[0, 1\]"),
        ("fcos_tiny", {"loss": {"name": "hard_negatives"}}, "fcos needs 'focal'"),
        ("fcos_tiny", {"boxes": {"name": "giu"}}, r"config\.boxes\.name='giu' is not known.*'giou'"),
        ("fcos_tiny", {"match": {"radius": 0.0}}, r"config\.match\.radius=0\.0 must be positive"),
        ("retinanet_tiny", {"boxes": {"name": "giou", "beta": 1.0}}, r"config\.boxes\.beta is not an argument of giou"),
        ("retinanet_tiny", {"boxes": {"weight": -1.0}}, r"config\.boxes\.weight=-1\.0 must be 0 or more"),
        ("sliding_window_tiny", {"boxes": {}}, r"set config\.boxes={'weight': 0\.0}"),
        ("localiser_tiny", {"boxes": {"weight": 1.0}}, "is not read by localiser"),
    ],
)  # fmt: skip
def test_sections_that_do_not_fit_are_refused(name, sections, message):
    model, _ = made(name)
    with pytest.raises(ConfigError, match=message):
        model.criterion({**SECTIONS[name], **sections})


@pytest.mark.curriculum("L16", "L19")
def test_boxes_of_anchors_may_be_judged_by_their_overlap():
    model, _ = made("retinanet_tiny")
    anchors = jnp.float32([[0.1, 0.1, 0.5, 0.5], [0.5, 0.4, 0.9, 0.9], [0, 0, 0.1, 0.1]])
    out = {"anchors": anchors, "deltas": jnp.zeros((3, 3, 4))}
    logits = jnp.zeros((3, 3, 3))
    by = {
        n: quick_jit(model.criterion({**FOCAL, "boxes": {"name": n, "weight": 2.0}}).losses)(logits, out, TRUTH)[0]
        for n in ("iou", "diou")
    }
    # the first anchor has 3/4 of its area in the first box, its centre 0.05 off; the second is exact
    np.testing.assert_allclose(by["iou"]["box_loss"][0], 2 * 0.25, rtol=1e-4)
    np.testing.assert_allclose(by["diou"]["box_loss"][0], 2 * (0.25 + 0.05**2 / 0.32), rtol=1e-4)


def test_a_map_is_not_made_smaller():
    with pytest.raises(ConfigError, match=r"a map of \[4, 4\] pixels cannot be enlarged to \[3, 8\]"):
        enlarge(jnp.zeros((1, 4, 4, 1)), (3, 8))

"""Policies of the literature: tables, each operation against Pillow, and the distribution of what is drawn."""

import hashlib
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy.stats import chisquare

from cvdl_jax.data.augment import _policy_slots as slots
from cvdl_jax.data.augment import _policy_tables as tables
from cvdl_jax.data.augment import policies, policy
from cvdl_jax.errors import ConfigError

KEY = jax.random.key(7)
RNG = np.random.default_rng(0)
SIDE = 24  # 576 pixels: enough for Pillow's equalize to do something
PIXELS = RNG.integers(0, 256, (4, SIDE, SIDE, 3)).astype(np.uint8)
PIXELS[1] = PIXELS[1] // 3 + 60  # low contrast
PIXELS[2] = np.broadcast_to(np.arange(SIDE)[:, None, None] * 10, PIXELS[2].shape)  # smooth


# Compilation is most of the time here, and these tests do not ask for fast code.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
RANGES = {"standard": tables.STANDARD, "wide": tables.WIDE}
SLOTS = (slots._at_once, slots._in_turn)
apply_slot = quick_jit(partial(slots.apply, fill=0.5))


def value_of(name, share, sign=1, ranges="standard", side=(SIDE, SIDE)):
    """The parameter of an operation at a share of its highest level."""
    arguments = jnp.full(1, tables.OPERATIONS.index(name)), jnp.full(1, share), jnp.full(1, float(sign))
    return float(_values(ranges, side)(*arguments)[0])


@cache
def _values(ranges, side):
    return quick_jit(lambda *arguments: slots.values(RANGES[ranges], *arguments, side))


def ours(name, value):
    """The images changed by one operation, in 0..255."""
    image = jnp.asarray(PIXELS / 255.0, jnp.float32)
    return np.asarray(apply_slot(image, jnp.full(4, tables.OPERATIONS.index(name)), jnp.full(4, value))) * 255


def pillow(name, pixels, value):
    """The same operation with the same parameter, by Pillow, on one image."""
    image, grey = Image.fromarray(pixels), (128, 128, 128)
    affine = {
        "shear_x": (1, -value, 0, 0, 1, 0), "shear_y": (1, 0, 0, -value, 1, 0),
        "translate_x": (1, 0, -value, 0, 1, 0), "translate_y": (1, 0, 0, 0, 1, -value),
    }  # fmt: skip
    if name in affine:
        return image.transform(
            image.size, Image.Transform.AFFINE, affine[name], Image.Resampling.NEAREST, fillcolor=grey
        )
    return {
        "identity": lambda: image,
        "rotate": lambda: image.rotate(value, Image.Resampling.NEAREST, fillcolor=grey),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(1 + value),
        "color": lambda: ImageEnhance.Color(image).enhance(1 + value),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(1 + value),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(1 + value),
        "posterize": lambda: ImageOps.posterize(image, int(value)),
        "solarize": lambda: ImageOps.solarize(image, value),
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "invert": lambda: ImageOps.invert(image),
    }[name]()


# Tables -----------------------------------------------------------------------------------------------------------


def test_tables_have_25_sub_policies_of_known_operations():
    assert len(tables.OPERATIONS) == 15 and len(tables.RANDOM) == 14 and "invert" not in tables.RANDOM
    for rows in tables.POLICIES.values():
        assert len(rows) == 25
        for first, p, level, second, q, other in rows:
            assert {first, second} <= set(tables.OPERATIONS)
            assert 0 <= p <= 1 and 0 <= q <= 1 and 0 <= level <= 9 and 0 <= other <= 9
            assert all(lev == 0 for name, lev in ((first, level), (second, other)) if name not in tables.STANDARD)


@pytest.mark.parametrize(
    ("name", "digest"),
    [("cifar10", "155ed2930176bb01"), ("imagenet", "2fbc9fccf9ccad9f"), ("svhn", "b4e1a13315dace06")],
)
def test_every_number_of_the_tables_is_as_it_was_checked(name, digest):
    """All three tables were compared, row by row, with `AutoAugment.policies` of torchvision 0.28: they were equal."""
    assert hashlib.sha256(repr(tables.POLICIES[name]).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("cifar10", 0, ("invert", 0.1, 0, "contrast", 0.2, 6)),
        ("cifar10", 1, ("rotate", 0.7, 2, "translate_x", 0.3, 9)),
        ("cifar10", 24, ("translate_y", 0.7, 9, "autocontrast", 0.9, 0)),
        ("imagenet", 0, ("posterize", 0.4, 8, "rotate", 0.6, 9)),
        ("imagenet", 18, ("shear_x", 0.6, 5, "equalize", 1.0, 0)),
        ("svhn", 0, ("shear_x", 0.9, 4, "invert", 0.2, 0)),
        ("svhn", 14, ("contrast", 0.3, 3, "rotate", 0.8, 4)),
    ],
)
def test_selected_sub_policies_are_those_of_the_paper(name, row, expected):
    assert tables.POLICIES[name][row] == expected


@pytest.mark.parametrize(
    ("ranges", "name", "level", "expected"),
    [  # at the last level, the ends of the papers' ranges; between, by hand
        ("standard", "shear_x", 30, 0.3), ("standard", "translate_x", 30, 10), ("standard", "rotate", 9, 9.0),
        ("standard", "brightness", 30, 0.9), ("standard", "posterize", 30, 4), ("standard", "posterize", 9, 7),
        ("standard", "solarize", 30, 0), ("standard", "solarize", 0, 255), ("standard", "equalize", 30, 0),
        ("wide", "shear_y", 30, 0.99), ("wide", "translate_y", 30, 32), ("wide", "rotate", 30, 135.0),
        ("wide", "posterize", 30, 2), ("wide", "contrast", 30, 0.99), ("wide", "translate_y", 16, 17),
    ],
)  # fmt: skip
def test_magnitudes(ranges, name, level, expected):
    assert value_of(name, level / 30, 1, ranges) == pytest.approx(expected, abs=1e-4)
    signed = name in tables.STANDARD and tables.STANDARD[name].signed
    assert value_of(name, level / 30, -1, ranges) == pytest.approx(-expected if signed else expected, abs=1e-4)


# Operations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [1 / 9, 0.7, 1.0])
@pytest.mark.parametrize("name", tables.OPERATIONS)
def test_operations_are_those_of_pillow(name, share):
    """Within the rounding of bytes, once for the result and once for what Pillow blends the image with."""
    for sign in (1, -1) if name in tables.STANDARD and tables.STANDARD[name].signed else (1,):
        value = value_of(name, share, sign)
        tolerance = 1.01 + (0.5 * abs(value) if name in ("color", "contrast", "sharpness") else 0)
        for row, pixels in zip(ours(name, value), PIXELS, strict=True):
            wrong = np.abs(row - np.asarray(pillow(name, pixels, value), np.float64)) > tolerance
            # Where a turned pixel's centre falls between two pixels, both are nearest
            assert wrong.mean() <= (0.01 if name in tables.GEOMETRIC else 0), (name, value)


def test_every_row_gets_its_own_operation():
    names = ("invert", "identity", "shear_x", "posterize")
    image = jnp.asarray(PIXELS / 255.0, jnp.float32)
    value = jnp.asarray([0, 0, 0.2, 5])
    mixed = apply_slot(image, jnp.asarray([tables.OPERATIONS.index(n) for n in names]), value)
    for i, name in enumerate(names):
        np.testing.assert_allclose(mixed[i] * 255, ours(name, value[i])[i], atol=1e-4)
    np.testing.assert_array_equal(mixed[1], image[1])


def test_all_operations_at_once_are_those_one_after_the_other():
    """What accelerators compute is what CPUs do."""
    image = jnp.asarray(np.concatenate([PIXELS] * 4)[:15, :8, :8] / 255.0, jnp.float32)
    operation = jnp.arange(15)
    value = quick_jit(lambda: slots.values(tables.STANDARD, operation, jnp.ones(15), -jnp.ones(15), (8, 8)))()
    at_once, in_turn = (quick_jit(f, static_argnums=3)(image, operation, value, 0.5) for f in SLOTS)
    np.testing.assert_allclose(at_once, in_turn, atol=1e-6)


def test_grey_images_keep_their_colour():
    grey = jnp.asarray(PIXELS[:1, :4, :4, :1] / 255.0, jnp.float32)
    out = apply_slot(grey, jnp.full(1, tables.OPERATIONS.index("color")), jnp.full(1, 0.9))
    np.testing.assert_array_equal(out, grey)
    at_once = jax.eval_shape(lambda: slots._at_once(grey, jnp.zeros(1, jnp.int32), jnp.zeros(1), 0.5))
    assert at_once.shape == grey.shape


# What is drawn ----------------------------------------------------------------------------------------------------


@pytest.fixture
def draw(monkeypatch):
    """(policy, rows) -> [(operation [rows], value [rows])] of its slots, which are noted and not applied."""

    def note(image, operation, value, fill):
        assert fill == 0.25
        return jnp.concatenate([image, operation[:, None, None, None], value[:, None, None, None]], 1)

    monkeypatch.setattr(slots, "apply", note)

    def run(text, rows):
        update = policy.build(text.replace(")", ", fill=0.25)")).update
        out = quick_jit(lambda key: update(None, {"image": jnp.zeros((rows, 1, 1, 1))}, key)[1]["image"])(KEY)
        drawn = np.asarray(out)[:, 1:, 0, 0].T  # [2 n, rows]
        return [(drawn[i].astype(int), drawn[i + 1]) for i in range(0, len(drawn), 2)]

    return run


@pytest.mark.parametrize("n", [1, 3])
def test_rand_augment_draws_n_operations_uniformly_at_one_level(draw, n):
    drawn = draw(f"rand_augment(n={n}, m=15)", 2000)
    assert len(drawn) == n
    for operation, value in drawn:
        counts = np.bincount(operation, minlength=15)
        assert counts[tables.OPERATIONS.index("invert")] == 0
        assert chisquare(counts[:14]).pvalue > 0.001
        shears = value[operation == tables.OPERATIONS.index("shear_x")]
        np.testing.assert_allclose(np.abs(shears), 0.15, rtol=1e-5)
        assert 0.3 < (shears > 0).mean() < 0.7
    if n > 1:
        assert not np.array_equal(drawn[0][0], drawn[1][0])


def test_each_operation_may_be_left_out_by_itself(draw):
    drawn = draw("rand_augment(n=2, m=15, per_operation=0.3)", 4000)
    identity = tables.OPERATIONS.index("identity")
    left = [operation == identity for operation, _ in drawn]
    for one in left:  # 0.7 left out, and one in 14 of the rest is the identity itself
        assert one.mean() == pytest.approx(0.7 + 0.3 / 14, abs=0.03)
    assert (left[0] & left[1]).mean() == pytest.approx((0.7 + 0.3 / 14) ** 2, abs=0.03)  # one does not decide for both
    counts = np.bincount(drawn[0][0], minlength=15)[:14]
    assert chisquare(np.delete(counts, identity)).pvalue > 0.001


def test_trivial_augment_draws_one_operation_and_its_level_uniformly(draw):
    ((operation, value),) = draw("trivial_augment(wide=True)", 6000)
    assert chisquare(np.bincount(operation, minlength=15)[:14]).pvalue > 0.001
    turned = np.abs(value[operation == tables.OPERATIONS.index("rotate")])
    levels = np.round(turned / 4.5).astype(int)  # 135 degrees in 30 steps
    np.testing.assert_allclose(turned, 4.5 * levels, atol=1e-3)
    assert chisquare(np.bincount(levels, minlength=31)).pvalue > 0.001
    ((operation, value),) = draw("trivial_augment(wide=False)", 6000)
    assert 29 <= np.abs(value[operation == tables.OPERATIONS.index("rotate")]).max() <= 30


@pytest.mark.parametrize("name", ["cifar10", "imagenet", "svhn"])
def test_auto_augment_draws_operations_as_often_as_its_table_says(draw, name):
    rows = 5000
    drawn = draw(f"auto_augment(policy={name!r})", rows)
    assert len(drawn) == 2
    for slot, (operation, _) in enumerate(drawn):
        expected = np.zeros(15)
        for row in tables.POLICIES[name]:
            what, p = row[3 * slot], row[3 * slot + 1]
            expected[tables.OPERATIONS.index(what)] += p / 25
        expected[0] += 1 - expected.sum()
        counts = np.bincount(operation, minlength=15)
        possible = expected > 0
        assert counts[~possible].sum() == 0
        assert chisquare(counts[possible], rows * expected[possible]).pvalue > 0.001


def test_both_operations_of_auto_augment_come_from_one_sub_policy(draw):
    (first, _), (second, _) = draw("auto_augment('cifar10')", 3000)
    possible = {(row[0], row[3]) for row in tables.POLICIES["cifar10"]}
    both = {(tables.OPERATIONS[a], tables.OPERATIONS[b]) for a, b in zip(first, second, strict=True) if a and b}
    assert both <= possible and len(both) > 15


def test_boxes_and_masks_go_where_the_pixels_go():
    """A bright rectangle on black, its mask and its box, turned, sheared and moved: the box holds it, and is tight."""
    mask = np.zeros((64, 32, 32, 1), np.uint8)
    mask[:, 10:20, 12:18] = 1
    box = np.tile(np.asarray([[[10, 12, 20, 18]]], np.float32) / 32, (64, 1, 1))
    batch = {"image": mask.astype(np.float32), "segmentation_mask": mask, "objects/bbox": box}
    update = policy.build("trivial_augment(wide=False, fill=0.0)").update
    out = jax.tree.map(np.asarray, quick_jit(lambda b: update(None, b, KEY)[1])(jax.tree.map(jnp.asarray, batch)))
    moved = 0
    for image, shown, (follows,) in zip(out["image"], out["segmentation_mask"], out["objects/bbox"], strict=True):
        y, x, _ = np.nonzero(shown == 1)
        if not np.array_equal(shown, mask[0]):
            moved += 1
            np.testing.assert_array_equal(image[shown == 1], 1)  # a geometric operation changes no colour
        tight = np.asarray([y.min(), x.min(), y.max() + 1, x.max() + 1]) / 32
        assert np.all(tight[:2] >= follows[:2] - 0.02) and np.all(tight[2:] <= follows[2:] + 0.02)
        assert np.abs(tight - follows).max() < 4 / 32
    assert 10 < moved < 40  # 5 of 14 operations move


# Repeated augmentation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3])
def test_repeated_augmentation_repeats_one_row_of_each_group(n):
    rows = np.arange(24)
    repeat = quick_jit(lambda batch, key: policy.build(f"repeated_augmentation(n={n})").update(None, batch, key)[1])
    batch = {
        "image": jnp.asarray(np.tile(rows[:, None, None, None], (1, 2, 2, 1)), jnp.float32),
        "label": jnp.asarray(rows),
    }
    seen = set()
    for seed in range(20):
        out = repeat(batch, jax.random.key(seed))
        label = np.asarray(out["label"])
        np.testing.assert_array_equal(out["image"][:, 0, 0, 0], label)  # image and label stay together
        groups = label.reshape(-1, n, 2).swapaxes(1, 2).reshape(-1, n)  # two groups take turns
        assert np.all(groups == groups[:, :1])
        np.testing.assert_array_equal(groups[:, 0] // n, np.arange(24 // n))
        seen |= set(label.tolist())
    assert seen == set(rows)  # every example has its turn


def test_repeated_rows_are_changed_differently():
    images = np.broadcast_to(RNG.random((8, 1, 1, 1), np.float32), (8, 6, 6, 1))
    text = "repeated_augmentation(n=4) | padded_crop(padding=2)"
    out = np.asarray(policy.build(text).update(None, {"image": jnp.asarray(images)}, KEY)[1]["image"])
    values = out.max((1, 2, 3)).reshape(4, 2)
    np.testing.assert_array_equal(values, np.broadcast_to(values[:1], (4, 2)))
    assert all(len({x.tobytes() for x in group}) > 1 for group in out.reshape(4, 2, -1).swapaxes(0, 1))


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("mix", ["mixup(1000.0)", "cutmix(1.0)", "mixup_or_cutmix(0.8, 1.0)"])
def test_an_example_is_not_mixed_with_its_own_copy(n, mix):
    b = 24 * n
    batch = {"image": jnp.zeros((b, 4, 4, 3)) + jnp.arange(b)[:, None, None, None] / b, "label": jnp.arange(b)}
    label = policy.build(f"repeated_augmentation({n}) | {mix}", b).update(None, batch, KEY)[1]["label"]
    mixed = ((np.asarray(label) > 1e-6).sum(1) > 1).mean()
    assert mixed == 1 if mix == "mixup(1000.0)" else mixed > 0.6  # a box of CutMix may be empty


# Mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("auto_augment('cifar')", "did you mean 'cifar10'"),
        ("auto_augment(fill=2.0)", r"auto_augment\(fill=2.0\) must be between 0 and 1"),
        ("rand_augment(n=0)", r"rand_augment\(n=0\) must be at least 1"),
        ("rand_augment(m=31)", r"rand_augment\(m=31\) must be between 0 and 30"),
        ("rand_augment(m=2.5)", "m=2.5"),
        ("trivial_augment(probability=-1.0)", "between 0 and 1"),
        ("rand_augment(per_operation=1.5)", r"rand_augment\(per_operation=1.5\) must be between 0 and 1"),
        ("repeated_augmentation(n=0)", "at least 1"),
    ],
)
def test_mistakes_name_the_thing_and_the_fix(text, message):
    with pytest.raises(ConfigError, match=message):
        policy.build(text, 4)


def test_mistakes_that_show_in_the_batch():
    with pytest.raises(ConfigError, match=r"repeated_augmentation\(n=2\) takes 4 rows at a time, .* the 6 rows of a"):
        policy.build("repeated_augmentation(n=2)").update(None, {"image": jnp.zeros((6, 2, 2, 1))}, KEY)
    with pytest.raises(ConfigError, match="rand_augment needs images with 1 or 3 channels"):
        policies.rand_augment()(None, {"image": jnp.zeros((4, 2, 2, 2))}, KEY)
    small = {"image": jnp.zeros((4, 2, 2, 3)), "segmentation_mask": jnp.zeros((4, 1, 1, 1), jnp.uint8)}
    with pytest.raises(ConfigError, match="trivial_augment moves image and masks together"):
        policies.trivial_augment()(None, small, KEY)

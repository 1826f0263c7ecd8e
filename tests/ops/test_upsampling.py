"""Upsampling against worked numbers, torch's printed numbers, SciPy and a loop over pixels."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.upsampling import sample, upsample

ROOT = Path(__file__).resolve().parent.parent.parent
RNG = np.random.default_rng(0)
FOUR = np.array([[1, 2], [3, 4]], np.float32)[None, ..., None]
SIX = np.array([[1, 5, -2], [4, 0, 3]], np.float32)[None, ..., None]


def run(x, *args, **how):
    return np.asarray(jax.jit(lambda x: upsample(x, *args, **how))(x))


@pytest.mark.curriculum("M6", "M7")
def test_the_worked_examples():
    """OR54: every pixel twice; OR56: half-pixel centres and a clamped edge. OR55: values between four pixels."""
    four = np.array([[4, 5], [10, 20]], np.float32)[None, ..., None]
    expected = [[4, 4, 5, 5], [4, 4, 5, 5], [10, 10, 20, 20], [10, 10, 20, 20]]
    for how in ({"scale_factor": 2}, {"size": (4, 4)}, {"size": 4, "mode": "nearest-exact"}):
        np.testing.assert_array_equal(run(four, **how)[0, ..., 0], expected)
    tens = np.array([[10, 20], [30, 40]], np.float32)[None, ..., None]
    expected = [[10, 12.5, 17.5, 20], [15, 17.5, 22.5, 25], [25, 27.5, 32.5, 35], [30, 32.5, 37.5, 40]]
    np.testing.assert_array_equal(run(tens, scale_factor=2, mode="bilinear", align_corners=False)[0, ..., 0], expected)
    corners = run(tens, size=3, mode="bilinear", align_corners=True)[0, ..., 0]
    np.testing.assert_array_equal(corners, [[10, 15, 20], [20, 25, 30], [30, 35, 40]])
    image = np.zeros((1, 22, 16, 1), np.float32)
    image[0, 20:, 14:, 0] = [[91, 210], [162, 95]]
    points = np.array([[[20, 14.5], [21, 14.5], [20.2, 14.5]]], np.float32)
    np.testing.assert_allclose(sample(image, points)[0, :, 0], [150.5, 128.5, 146.1], rtol=1e-6)


@pytest.mark.curriculum("M7", "M9")
@pytest.mark.parametrize("sides", [(1,), (5,), (4, 3), (3, 4, 2), (2, 3, 2, 3)])
def test_points_between_pixels_equal_scipy(sides):
    """In any number of dimensions, beyond the border too; and upsampling is sampling at the places of its pixels."""
    x, n = RNG.normal(size=(2, *sides, 2)).astype(np.float32), len(sides)
    points = RNG.uniform(-1.5, 5, size=(2, 7, n)).astype(np.float32)
    result = np.asarray(jax.jit(sample)(x, points))
    for b, c in np.ndindex(2, 2):
        expected = ndimage.map_coordinates(x[b, ..., c], points[b].T, order=1, mode="nearest")
        np.testing.assert_allclose(result[b, :, c], expected, atol=1e-5)
    grid = np.stack(np.meshgrid(*[(np.arange(2 * m) + 0.5) / 2 - 0.5 for m in sides], indexing="ij"), -1)
    grid = np.broadcast_to(grid.reshape(1, -1, n), (2, grid.size // n, n)).astype(np.float32)
    larger = run(x, scale_factor=2, mode="multilinear")
    np.testing.assert_allclose(sample(x, grid), larger.reshape(2, -1, 2), atol=1e-5)


def test_points_that_are_none_of_the_image_are_refused():
    for shape in [(1, 5, 1), (2, 5, 2), (5, 2)]:
        with pytest.raises(ConfigError, match=r"points \[b, n, d\] with d coordinates for d sides"):
            sample(FOUR, np.zeros(shape))
    half = sample(FOUR.astype(jnp.bfloat16), np.full((1, 1, 2), 0.5))
    assert half.dtype == jnp.bfloat16 and float(half[0, 0, 0]) == 2.5
    assert sample(FOUR.astype(int), np.full((1, 1, 2), 0.5)).dtype == jnp.float32


@pytest.mark.curriculum("X18")
def test_the_numbers_of_torch_documentation():
    nearest = run(FOUR, scale_factor=2)[0, ..., 0]
    np.testing.assert_array_equal(nearest, np.repeat(np.repeat([[1, 2], [3, 4]], 2, 0), 2, 1))
    bilinear = run(FOUR, scale_factor=2, mode="bilinear")[0, ..., 0]
    expected = [[1, 1.25, 1.75, 2], [1.5, 1.75, 2.25, 2.5], [2.5, 2.75, 3.25, 3.5], [3, 3.25, 3.75, 4]]
    np.testing.assert_allclose(bilinear, expected, atol=1e-6)
    aligned = run(FOUR, scale_factor=2, mode="bilinear", align_corners=True)[0, ..., 0]
    thirds = 1 + (np.arange(4)[None] + 2 * np.arange(4)[:, None]) / 3
    np.testing.assert_allclose(aligned, thirds, atol=1e-6)


OF_TORCH = [  # printed by torch.nn.Upsample of torch 2.13 for SIX
    (
        {"size": (3, 5), "mode": "bicubic"},
        [[0.28892, 3.12753, 5.43403, 0.95678, -3.18936], [2.5, 2.644, 2.5, 1.276, 0.308],
         [4.71108, 2.16047, -0.43403, 1.59522, 3.80536]],
    ),
    (
        {"size": (3, 5), "mode": "bicubic", "align_corners": True},
        [[1, 3.65625, 5, 1.875, -2], [2.5, 2.6875, 2.5, 1.5, 0.5], [4, 1.71875, 0, 1.125, 3]],
    ),
    (
        {"scale_factor": 1.7, "mode": "bilinear"},
        [[1, 2.52941, 4.88235, 1.08823, -2], [2.14706, 2.50692, 3.06055, 1.31315, -0.08824],
         [3.91176, 2.47232, 0.25778, 1.65917, 2.85294]],
    ),
    (
        {"scale_factor": 1.7, "mode": "bilinear", "recompute_scale_factor": True},
        [[1, 2.6, 5, 0.8, -2], [2.5, 2.5, 2.5, 1.3, 0.5], [4, 2.4, 0, 1.8, 3]],
    ),
    ({"size": (1, 2), "mode": "bilinear"}, [[2.5, 1]]),
    ({"size": (1, 2), "mode": "bicubic", "align_corners": True}, [[1, -2]]),
    ({"size": (3, 5), "mode": "nearest"}, [[1, 1, 5, 5, -2], [1, 1, 5, 5, -2], [4, 4, 0, 0, 3]]),
    ({"size": (3, 5), "mode": "nearest-exact"}, [[1, 1, 5, -2, -2], [4, 4, 0, 3, 3], [4, 4, 0, 3, 3]]),
    ({"scale_factor": (2.9, 1.3), "mode": "nearest"}, [[1, 5, -2]] * 3 + [[4, 0, 3]] * 2),
    ({"scale_factor": (2.9, 1.3), "mode": "nearest-exact"}, [[1, 5, 5]] * 3 + [[4, 0, 0]] * 2),
]  # fmt: skip


@pytest.mark.curriculum("X18")
@pytest.mark.parametrize(("how", "expected"), OF_TORCH, ids=[str(how) for how, _ in OF_TORCH])
def test_numbers_that_torch_printed(how, expected):
    np.testing.assert_allclose(run(SIX, **how)[0, ..., 0], expected, atol=1e-5)


@pytest.mark.curriculum("X18", "M7", "M9")
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize(
    ("mode", "sides", "size"),
    [("linear", (5,), (9,)), ("bilinear", (4, 7), (9, 3)), ("trilinear", (3, 2, 4), (4, 1, 7))],
)
def test_linear_interpolation_equals_scipy(mode, sides, size, align):
    x = RNG.normal(size=sides).astype(np.float32)
    places = [
        np.arange(m) * (n - 1) / max(m - 1, 1) if align else (np.arange(m) + 0.5) * n / m - 0.5
        for n, m in zip(sides, size, strict=True)
    ]
    grid = np.stack(np.meshgrid(*places, indexing="ij"))
    expected = ndimage.map_coordinates(x, grid, order=1, mode="nearest")
    both = np.stack([x, 2 - x], -1)[None]  # channels are interpolated for themselves
    result = run(both, size, mode=mode, align_corners=align)
    np.testing.assert_allclose(result[0], np.stack([expected, 2 - expected], -1), atol=1e-5)


@pytest.mark.curriculum("X18", "M8")
@pytest.mark.parametrize("align", [None, True])
def test_bicubic_interpolation_by_loops(align):
    """Keys' piecewise cubic with a = -3/4 for every pixel of a 4 x 4 window, the border repeated."""

    def keys(d):
        d = abs(d)
        return 1.25 * d**3 - 2.25 * d**2 + 1 if d <= 1 else -0.75 * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0

    x = RNG.normal(size=(4, 3)).astype(np.float32)
    size, y = (6, 7), np.zeros((6, 7))
    for i, j in np.ndindex(size):
        at = [
            k * (n - 1) / (m - 1) if align else (k + 0.5) * n / m - 0.5
            for k, n, m in zip((i, j), x.shape, size, strict=True)
        ]
        for r in range(-3, 8):
            for c in range(-3, 8):
                y[i, j] += keys(at[0] - r) * keys(at[1] - c) * x[min(max(r, 0), 3), min(max(c, 0), 2)]
    result = run(x[None, ..., None], size, mode="bicubic", align_corners=align)
    np.testing.assert_allclose(result[0, ..., 0], y, atol=1e-5)


def test_types_gradients_and_sides_that_stay():
    assert upsample(np.arange(4).reshape(1, 4, 1), 8).dtype == jnp.int32
    assert upsample(np.arange(4).reshape(1, 4, 1), 8, mode="linear").dtype == jnp.float32
    half = FOUR.astype(jnp.bfloat16)
    assert upsample(half, 4, mode="bicubic").dtype == jnp.bfloat16
    x = RNG.normal(size=(2, 3, 4, 2)).astype(np.float32)
    for mode in ("nearest", "nearest-exact", "bilinear", "bicubic"):
        np.testing.assert_allclose(upsample(x, (3, 4), mode=mode), x, atol=1e-6)
    slope = jax.jit(jax.grad(lambda x: upsample(x, scale_factor=3, mode="bilinear").sum()))(x)
    np.testing.assert_allclose(slope, np.full(x.shape, 9), atol=1e-4)  # every new pixel is a mean of old ones


def test_factors_that_are_not_whole_are_the_distance_of_pixels():
    """Torch copies a side that stays, and halves one that doubles, only where its own code looks for that: of images
    [b, h, w, c], and for "nearest".
    """
    line = np.arange(5, dtype=np.float32)
    assert run(line[None, :, None], scale_factor=2.09)[0, :, 0].tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3, 4]
    image = run(line[None, :, None, None], scale_factor=(2.09, 1))[0, :, 0, 0]
    assert image.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    again = run(line[None, :, None], scale_factor=2.09, recompute_scale_factor=True)[0, :, 0]
    np.testing.assert_array_equal(again, image)
    same = run(line[None, :, None], scale_factor=1.15, mode="linear")[0, :, 0]
    np.testing.assert_array_equal(same, line)


@pytest.mark.parametrize(
    ("shape", "how", "message"),
    [
        ((1, 4, 4, 1), {"size": 8, "mode": "cubic"}, "mode='cubic' is not known; did you mean 'bicubic'"),
        ((1, 4, 1), {"size": 8, "mode": "bilinear"}, r"mode='bilinear' takes \[b, h, w, c\] with a pixel or more, got"),
        ((1, 0, 4, 1), {"size": 8}, r"takes \[b, \*sides, c\] with a pixel or more, got \[1, 0, 4, 1\]"),
        ((1, 4, 4, 1), {}, "give either size or scale_factor, got size=None and scale_factor=None"),
        ((1, 4, 4, 1), {"size": 8, "scale_factor": 2}, "give either size or scale_factor"),
        ((1, 4, 4, 1), {"size": (8, 0)}, r"size=\(8, 0\) must be whole numbers of 1 or more"),
        ((1, 4, 4, 1), {"scale_factor": (2, 2, 2)}, "must be positive, one number for all sides or one for each of 2"),
        ((1, 4, 4, 1), {"scale_factor": 0.2}, "leaves no pixel of an image of"),
        ((1, 4, 4, 1), {"size": 8, "align_corners": False}, "align_corners=False says nothing to mode='nearest'"),
    ],
)
def test_what_does_not_fit_is_refused(shape, how, message):
    with pytest.raises(ConfigError, match=message):
        upsample(np.zeros(shape, np.float32), **how)


@pytest.mark.curriculum("X18")
def test_the_table_of_torch_has_every_item_and_a_test_for_it():
    """`tests/test_documents.py` asks whether the files and definitions exist that the table names."""
    page = (ROOT / "docs" / "convolution.md").read_text(encoding="utf-8").partition("## What torch calls it")[2]
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `") or "their `" in line]
    items = (
        "Linear Conv2d ConvTranspose2d MaxPool2d AvgPool2d BatchNorm2d Dropout Upsample AdaptiveAvgPool2d "
        "AdaptiveMaxPool2d CosineSimilarity SGD Adam lr_scheduler init"
    )
    named = " ".join(row[0] for row in rows)
    assert [item for item in items.split() if not re.search(rf"\b{item}\b", named)] == []
    for name, ours, tests in rows:
        places = re.findall(r"`(tests/[\w/]+\.py)(?::(\w+))?`", tests)
        assert places and ours.strip(), name
        for file, test in places:
            assert not test or f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), (name, test)

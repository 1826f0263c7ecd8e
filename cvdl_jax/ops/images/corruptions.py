"""Fifteen common corruptions of images in five severities, with the numbers of CIFAR-10-C.

The forms are those of Hendrycks and Dietterich 2019; they are written anew, with these differences: motion blur and
the streaks of snow are a Gaussian along a line of whole pixels, as ImageMagick draws them; frost is drawn, where theirs
are six photographs; fog is noise of all scales by interpolation; glass blur exchanges neighbouring pixels, where theirs
overwrites one by the other; pixels are not rounded to bytes but by JPEG. Results are thus not comparable with those on
the published files. Lengths are pixels of images of 32 x 32, and stay for others but in the elastic transform.

What is drawn for an example comes from the seed, the corruption, the severity and the example's number alone.

Reference: Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", section 3 and appendix A.
"""

import io
from collections.abc import Callable, Sequence

import numpy as np

from cvdl_jax.config.binding import check_name
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.images.host_warps import affine, fractal, grid, motion_blurred, sampled, zoomed

SEVERITIES = (1, 2, 3, 4, 5)
Randoms = Sequence[np.random.Generator]  # one for each image


def corrupt(images: np.ndarray, name: str, severity: int, seed: int = 0, first: int = 0) -> np.ndarray:
    """Images under one corruption.

    Args:
        images: float [b, h, w, c] in 0..1, c 1 or 3.
        name: of KINDS.
        severity: 1 ... 5.
        seed: of all that is drawn.
        first: number of the first image; row i is example first + i.

    Returns:
        float32 [b, h, w, c] in 0..1.

    Raises:
        ConfigError: for an unknown name or severity, or images of another form.
    """
    check_name(name, KINDS, f"there is no corruption {name!r}")
    if severity not in SEVERITIES:
        raise ConfigError(f"severity={severity!r} must be one of {', '.join(map(str, SEVERITIES))}")
    x = np.asarray(images)
    if x.ndim != 4 or x.shape[-1] not in (1, 3) or not np.issubdtype(x.dtype, np.floating):
        raise ConfigError(f"corruptions take float images [b, h, w, 1 or 3] in 0..1, got {x.dtype}{list(x.shape)}")
    apply, levels = KINDS[name]
    kind = list(KINDS).index(name)
    randoms = [np.random.default_rng((seed, kind, severity, first + i)) for i in range(len(x))]
    return np.clip(apply(x.astype(np.float64), levels[severity - 1], randoms), 0, 1).astype(np.float32)


def _drawn(draw: Callable[[np.random.Generator], np.ndarray], randoms: Randoms) -> np.ndarray:
    return np.stack([draw(random) for random in randoms])


def _blurred(x: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur of [b, h, w, c] or [b, h, w]; the border is repeated."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(x, (0, sigma, sigma, 0)[: x.ndim], mode="nearest", truncate=4)


def _gaussian_noise(x: np.ndarray, std: float, randoms: Randoms) -> np.ndarray:
    return x + std * _drawn(lambda r: r.normal(size=x.shape[1:]), randoms)


def _shot_noise(x: np.ndarray, photons: float, randoms: Randoms) -> np.ndarray:
    """Poisson counts of `photons` for a white pixel."""
    return np.stack([r.poisson(image * photons) / photons for image, r in zip(x, randoms, strict=True)])


def _impulse_noise(x: np.ndarray, share: float, randoms: Randoms) -> np.ndarray:
    """A share of the values becomes 0 or 1, as often the one as the other."""
    u = _drawn(lambda r: r.uniform(size=x.shape[1:]), randoms)
    return np.where(u < share / 2, 0.0, np.where(u < share, 1.0, x))


def _defocus_blur(x: np.ndarray, level: tuple[float, float], randoms: Randoms) -> np.ndarray:
    """The mean over a disc, whose edge is softened by a Gaussian of 3 x 3."""
    from scipy.ndimage import convolve

    radius, soft = level
    side = np.arange(-3, 4)
    disc = (side[:, None] ** 2 + side[None] ** 2 <= radius**2).astype(np.float64)
    line = np.exp(-(np.arange(-1, 2) ** 2) / (2 * soft**2))
    edge = np.outer(line, line) / line.sum() ** 2
    kernel = convolve(disc / disc.sum(), edge, mode="constant")
    return convolve(x, kernel[None, :, :, None], mode="mirror")


def _glass_blur(x: np.ndarray, level: tuple[float, int, int], randoms: Randoms) -> np.ndarray:
    """Pixels change places with neighbours at most `reach` away, `times` times over the image, between two blurs."""
    sigma, reach, times = level
    x, (b, h, w, _) = _blurred(x, sigma), x.shape
    rows, columns = range(h - 1 - reach, reach - 1, -1), range(w - 1 - reach, reach - 1, -1)
    moves = _drawn(lambda r: r.integers(-reach, reach + 1, (times, h, w, 2)), randoms)
    i = np.arange(b)
    for k in range(times):
        for row in rows:
            for column in columns:
                other = row + moves[:, k, row, column, 0], column + moves[:, k, row, column, 1]
                kept = x[i, row, column].copy()
                x[i, row, column] = x[i, other[0], other[1]]
                x[i, other[0], other[1]] = kept
    return _blurred(x, sigma)


def _motion_blur(x: np.ndarray, level: tuple[int, float], randoms: Randoms) -> np.ndarray:
    return motion_blurred(x, *level, _drawn(lambda r: r.uniform(-45, 45), randoms))


def _zoom_blur(x: np.ndarray, most: float, randoms: Randoms) -> np.ndarray:
    """The mean of the image and its enlargements by 1, 1.01 ... `most`."""
    factors = 1 + 0.01 * np.arange(round((most - 1) / 0.01) + 1)
    return (x + sum(zoomed(x, factor) for factor in factors)) / (len(factors) + 1)


def _snow(x: np.ndarray, level: tuple, randoms: Randoms) -> np.ndarray:
    """Flakes, drawn out by the wind and once more from the other side, over a brightened image."""
    mean, std, zoom, least, radius, sigma, keep = level
    flakes = zoomed(_drawn(lambda r: r.normal(mean, std, (*x.shape[1:3], 1)), randoms), zoom)
    flakes = np.clip(np.where(flakes < least, 0, flakes), 0, 1)
    flakes = motion_blurred(flakes, radius, sigma, _drawn(lambda r: r.uniform(-135, -45), randoms))
    grey = x @ [[0.299], [0.587], [0.114]] if x.shape[-1] == 3 else x
    return keep * x + (1 - keep) * np.maximum(x, 1.5 * grey + 0.5) + flakes + flakes[:, ::-1, ::-1]


def _frost(x: np.ndarray, level: tuple[float, float], randoms: Randoms) -> np.ndarray:
    """Crystals: bright ridges where noise of all scales crosses its middle, bluish in colour images."""
    keep, amount = level
    h, w = x.shape[1:3]
    crystals = _drawn(lambda r: 1 - np.abs(2 * fractal(r, h, w, 1.6) - 1), randoms)[..., None]
    tint = np.array([0.85, 0.95, 1.0]) if x.shape[-1] == 3 else np.array([0.95])
    return keep * x + amount * crystals * tint


def _fog(x: np.ndarray, level: tuple[float, float], randoms: Randoms) -> np.ndarray:
    amount, decay = level
    clouds = _drawn(lambda r: fractal(r, *x.shape[1:3], decay), randoms)[..., None]
    most = x.max((1, 2, 3), keepdims=True)
    return (x + amount * clouds) * most / (most + amount)


def _brightness(x: np.ndarray, amount: float, randoms: Randoms) -> np.ndarray:
    """The value of HSV plus an amount, hue and saturation kept."""
    value = x.max(-1, keepdims=True)
    new = np.minimum(value + amount, 1)
    return np.where(value > 0, x * new / np.where(value > 0, value, 1), new)


def _contrast(x: np.ndarray, factor: float, randoms: Randoms) -> np.ndarray:
    mean = x.mean((1, 2), keepdims=True)
    return (x - mean) * factor + mean


def _elastic(x: np.ndarray, level: tuple[float, float, float], randoms: Randoms) -> np.ndarray:
    """Three points move at random, and with them the image; then all pixels, their neighbours with them.

    Args:
        x: float [b, h, w, c].
        level: strength of the fields, their smoothness, reach of the points, in sides of the image.
        randoms: as of all corruptions.

    Reference: Simard et al. 2003, section 2, for the fields.
    """
    b, h, w, _ = x.shape
    side = min(h, w)
    strength, smooth, reach = (side * value for value in level)
    away = side // 3
    points = np.array([[away, away], [away, -away], [-away, -away]], np.float64)  # about the centre
    moved = points + _drawn(lambda r: r.uniform(-reach, reach, (3, 2)), randoms)
    system = np.concatenate([moved, np.ones((b, 3, 1))], -1)  # back from the moved points: [b, 3, 3]
    matrices = np.linalg.solve(system, np.broadcast_to(points, (b, 3, 2))).transpose(0, 2, 1)
    x = affine(x, matrices)
    if not strength:
        return x
    fields = _drawn(lambda r: r.uniform(-1, 1, (2, h, w)), randoms)
    rows, columns = grid(b, h, w)
    return sampled(
        x, rows + strength * _blurred(fields[:, 0], smooth), columns + strength * _blurred(fields[:, 1], smooth)
    )


def _pixelate(x: np.ndarray, factor: float, randoms: Randoms) -> np.ndarray:
    """Made smaller and larger again, by means over boxes."""
    from PIL import Image

    h, w = x.shape[1:3]
    small = max(int(w * factor), 1), max(int(h * factor), 1)

    def one(channel: np.ndarray) -> np.ndarray:
        image = Image.fromarray(channel.astype(np.float32))
        return np.asarray(image.resize(small, Image.Resampling.BOX).resize((w, h), Image.Resampling.BOX))

    return np.stack([np.stack([one(image[..., i]) for i in range(x.shape[-1])], -1) for image in x])


def _jpeg(x: np.ndarray, quality: int, randoms: Randoms) -> np.ndarray:
    from PIL import Image

    def one(image: np.ndarray) -> np.ndarray:
        buffer = io.BytesIO()
        pixels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer)).reshape(image.shape) / 255

    return np.stack([one(image) for image in x])


# The function of each corruption, and its five levels as in the authors' make_cifar_c.py
KINDS: dict[str, tuple[Callable, tuple]] = {
    "gaussian_noise": (_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": (_shot_noise, (500, 250, 100, 75, 50)),
    "impulse_noise": (_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "defocus_blur": (_defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
    "glass_blur": (_glass_blur, ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))),
    "motion_blur": (_motion_blur, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
    "zoom_blur": (_zoom_blur, (1.05, 1.10, 1.15, 1.20, 1.25)),
    "snow": (
        _snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    ),
    "frost": (_frost, ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))),
    "fog": (_fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
    "brightness": (_brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": (_contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "elastic": (
        _elastic, ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
    ),
    "pixelate": (_pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg": (_jpeg, (80, 65, 58, 50, 40)),
}  # fmt: skip

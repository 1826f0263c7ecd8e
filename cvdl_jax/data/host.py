"""The host stage, which does what a compiled step cannot: images of different sizes become arrays of one shape.

The crop window, the resize and the channels of a decoded example are applied in one resampling. Everything random is a
function of (seed, epoch, index). Later augmentation (flips, padded crops, mixup ...) happens on the device.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from cvdl_jax.config.binding import partially
from cvdl_jax.data import boxes, captions, order
from cvdl_jax.data.pairs import OTHER
from cvdl_jax.data.schema import Feature, beyond, check_fits
from cvdl_jax.errors import ConfigError, DataError, nearest
from cvdl_jax.ops.selective_search import selective_search

CROPS = ("none", "pad", "center", "random", "random_resized")
FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
INDEX = "index"  # the entry of numbered examples
_TRIES = 10


@dataclass(frozen=True)
class HostStage:
    """The settings of the host stage, and the stage itself.

    Attributes:
        image_size: (h, w) in pixels; None leaves images as they are.
        channels: 1 (ITU-R 601 luma) or 3 (grey repeated); None leaves them.
        resize: Pillow's filter for images, antialiased; masks use nearest.
        crop: the window that is resized. none: the whole image, whose aspect changes. pad: the whole image with its
            aspect, and borders of black (of 255, ignore, in masks; of 0 in masks of instances). center, random: a
            window with the target's aspect, as large as `crop_fraction` allows. random_resized: a window of random area
            and aspect.
        crop_fraction: side of the center or random window, as a fraction of the largest that fits.
        crop_scale: smallest and largest area of a random_resized window, as fractions of the image.
        crop_ratio: smallest and largest width / height of a random_resized window.
        max_boxes: number that boxes of varying number are padded to; 0 for no padding.
        drop_degenerate: drop boxes without area instead of refusing them.
        pixel_range: (low, high) of float images, which become 0 and 1; None leaves them.
        proposals: adds `boxes.PROPOSALS`, as many regions of `ops.selective_search` as `count` says (and its other
            arguments), of the image as it then is; they are cached with it. {} for none.
        captions: how texts become ids, from `captions.prepared`; {} for texts that stay on the host.
        numbered: adds the entry "index", int32 [], the example's place in its split.

    Raises:
        ConfigError: for an unknown word or an impossible number.

    Reference: random_resized: Szegedy et al. 2015, "Going Deeper with Convolutions", section 6.
    """

    image_size: tuple[int, int] | None = None
    channels: int | None = None
    resize: str = "bilinear"
    crop: str = "none"
    crop_fraction: float = 1.0
    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    max_boxes: int = 0
    drop_degenerate: bool = False
    pixel_range: tuple[float, float] | None = None
    proposals: Mapping[str, Any] = field(default_factory=dict)
    captions: Mapping[str, Any] = field(default_factory=dict)
    numbered: bool = False

    def __post_init__(self):
        if self.pixel_range is not None and not -math.inf < self.pixel_range[0] < self.pixel_range[1] < math.inf:
            raise ConfigError(f"config.data.pixel_range={self.pixel_range} must be (low, high), finite, low < high")
        for key, value, known in (("crop", self.crop, CROPS), ("resize", self.resize, FILTERS)):
            if value not in known:
                raise ConfigError(f"config.data.{key}={value!r} is not known; {nearest(value, known)}")
        if self.proposals:
            self.search()
            if not self.proposals.get("scales", (1,)):
                raise ConfigError("config.data.proposals.scales=() makes no regions; the usual ones are (50.0, 150.0)")
        if self.channels not in (None, 1, 3):
            raise ConfigError(f"config.data.channels={self.channels} must be 1 or 3, or None to leave them")
        if self.image_size is None and self.crop != "none":
            raise ConfigError(f"config.data.crop={self.crop!r} needs config.data.image_size=(h, w)")
        if self.image_size is not None and (len(self.image_size) != 2 or min(self.image_size) < 1):
            raise ConfigError(f"config.data.image_size={self.image_size} must be two positive numbers, (h, w)")
        if not 0 < self.crop_fraction <= 1:
            raise ConfigError(f"config.data.crop_fraction={self.crop_fraction} must be in (0, 1]")
        for key, (low, high), most in (("crop_scale", self.crop_scale, 1), ("crop_ratio", self.crop_ratio, math.inf)):
            if not 0 < low <= high <= most:
                raise ConfigError(
                    f"config.data.{key}=({low}, {high}) must be (low, high) with 0 < low <= high <= {most}"
                )

    @property
    def random(self) -> bool:
        """Whether the result changes from epoch to epoch."""
        return self.crop in ("random", "random_resized")

    def settings(self) -> dict[str, Any]:
        """The attributes by name, as values that JSON has; proposals, captions and numbers only where there are any."""
        return {k: x for k, x in asdict(self).items() if x or k not in ("proposals", "captions", "numbered")}

    def search(self) -> Callable[[np.ndarray], np.ndarray]:
        """Selective search with the arguments of `proposals`: image [h, w, c] -> [n, 4]. Raises ConfigError."""
        return partially(selective_search, self.proposals, "config.data.proposals", "image")

    def added(self) -> dict[str, Feature]:
        """The entries that this stage adds to an example."""
        numbers = {INDEX: Feature("tensor", (), "int32")} if self.numbered else {}
        if not self.proposals:
            return numbers
        count = self.proposals.get("count", inspect.signature(selective_search).parameters["count"].default)
        return {boxes.PROPOSALS: Feature("box", (count, 4), "float32"), **numbers}

    def for_evaluation(self) -> "HostStage":
        """The stage without randomness: a random window becomes the center one."""
        return replace(self, crop="center") if self.random else self

    def describe(self, feature: Feature) -> Feature:
        """The description of a feature after this stage."""
        if feature.kind == "text":
            return Feature("tokens", (self.captions["count"], self.captions["length"]), "int32")
        if feature.kind not in ("image", "mask"):
            return feature
        h, w, c = feature.shape
        if self.image_size is not None:
            h, w = self.image_size
        if self.channels is not None and feature.kind == "image":
            c = self.channels
        return replace(feature, shape=(h, w, c))

    def check(self, features: Mapping[str, Feature]) -> None:
        """Refuses a crop of images with boxes, which would not move, or settings without effect. Raises ConfigError."""
        left = [name for name, feature in features.items() if feature.kind == "box"]
        if left and self.crop != "none":
            raise ConfigError(
                f"config.data.crop={self.crop!r} would move the image but not its boxes {left}; use crop='none', or "
                "choose other entries with config.data.features"
            )
        floats = [k for k, f in features.items() if k.startswith("image") and np.issubdtype(f.dtype, np.floating)]
        if self.pixel_range and not floats:
            raise ConfigError(f"config.data.pixel_range={self.pixel_range}: there are no float images; leave it out")
        boxes.check(features, self.max_boxes, self.drop_degenerate)
        if self.numbered and INDEX in features:
            raise ConfigError(
                f"config.data.numbered adds the entry {INDEX!r}, which these examples have already; leave theirs out "
                "with config.data.features"
            )
        if self.proposals and "image" not in features:
            raise ConfigError("config.data.proposals are regions of an 'image', which config.data.features leaves out")

    def __call__(
        self, example: Mapping[str, Any], features: Mapping[str, Feature], seed: int, epoch: int, index: int
    ) -> dict[str, np.ndarray]:
        """Applies the stage.

        Args:
            example: {name: decoded array}.
            features: the entries to keep, as they are in the source.
            seed: of the run; random numbers depend on it, on the epoch and on the index.
            epoch: counted from 0.
            index: the example's place in the split.

        Returns:
            {name: array}, images uint8 [h, w, c].

        Raises:
            DataError: if the images of one example have different sizes where a window is cropped.
        """
        images = [k for k, f in features.items() if f.kind in ("image", "mask") and k != OTHER]
        sizes = {example[k].shape[:2] for k in images}
        if self.crop != "none" and len(sizes) > 1:
            raise DataError(f"the images {images} of one example have different sizes {sorted(sizes)}; use crop='none'")
        out = {}
        units = order.random_unit(seed, order.HOST, epoch, index, 8 * _TRIES) if self.random else None
        unit, apart = (
            (None, None) if units is None else np.split(units, 2)
        )  # an image of another set has its own window
        for name, feature in features.items():
            value = example[name]
            if feature.kind == "text":
                out[captions.NAME] = captions.rows(value, self.captions)
                continue
            check_fits(name, value, feature)
            if feature.kind in ("image", "mask"):
                value = self._image(name, value, feature.kind, apart if name == OTHER else unit)
            elif self.pixel_range and name.startswith("image") and np.issubdtype(value.dtype, np.floating):
                low, high = self.pixel_range
                value = ((value - low) / (high - low)).astype(value.dtype)
            out[name] = value
        for name, feature in self.added().items():
            if name == INDEX:
                out[name] = np.asarray(index, np.int32)
                continue
            regions = self.search()(out["image"])
            out[name] = np.concatenate([regions, np.zeros((feature.shape[0] - len(regions), 4), np.float32)])
        return out

    def _image(self, name: str, image: np.ndarray, kind: str, unit: np.ndarray | None) -> np.ndarray:
        from PIL import Image

        if self.channels is not None and kind == "image" and image.shape[-1] != self.channels:
            image = convert_channels(image, self.channels)
        if self.image_size is None:
            return image
        box = self.window(*image.shape[:2], unit)
        h, w = self.image_size
        if box == (0, 0, image.shape[1], image.shape[0]) and image.shape[:2] == (h, w):
            return image
        resample = Image.Resampling[("nearest" if kind == "mask" else self.resize).upper()]
        planes = image[..., 0] if image.shape[-1] == 1 else image
        inner = fitting(*image.shape[:2], h, w) if self.crop == "pad" else (h, w)
        resized = np.asarray(Image.fromarray(planes).resize(inner[::-1], resample, box=box))
        resized = resized[..., None] if resized.ndim == 2 else resized  # [h, w, c]
        return resized if inner == (h, w) else bordered(resized, h, w, beyond(name) if kind == "mask" else 0)

    def window(self, height: int, width: int, unit: np.ndarray | None) -> tuple[float, float, float, float]:
        """The part of an image that becomes the result.

        Args:
            height: of the image in pixels.
            width: of the image in pixels.
            unit: float [40] in [0, 1), for a random stage.

        Returns:
            (left, top, right, bottom) in pixels. The offset is whole, so that a window of the target's size is cut out
            without resampling.
        """
        if self.crop in ("none", "pad"):
            return 0, 0, width, height
        if self.crop == "random_resized":
            for u in unit.reshape(_TRIES, 4):
                area = height * width * (self.crop_scale[0] + u[0] * (self.crop_scale[1] - self.crop_scale[0]))
                low, high = np.log(self.crop_ratio)
                ratio = math.exp(low + u[1] * (high - low))
                w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
                if w <= width and h <= height:
                    return _place(h, w, height, width, u[2], u[3])
        target_h, target_w = self.image_size
        zoom = max(target_h / height, target_w / width)
        h, w = (min(t / zoom * self.crop_fraction, size) for t, size in ((target_h, height), (target_w, width)))
        if self.crop == "random":
            return _place(h, w, height, width, unit[0], unit[1])
        return _place(h, w, height, width, 0.5, 0.5)


def fitting(height: int, width: int, most_h: int, most_w: int) -> tuple[int, int]:
    """The largest size (h, w) with an image's aspect that fits into (most_h, most_w); at least one pixel each."""
    zoom = min(most_h / height, most_w / width)
    return max(1, min(most_h, round(height * zoom))), max(1, min(most_w, round(width * zoom)))


def bordered(image: np.ndarray, height: int, width: int, value: int) -> np.ndarray:
    """An image [h, w, c] in the middle of a larger one; an odd border is one pixel wider below and to the right."""
    top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
    out = np.full((height, width, image.shape[2]), value, image.dtype)
    out[top : top + image.shape[0], left : left + image.shape[1]] = image
    return out


def _place(h: float, w: float, height: int, width: int, v: float, u: float) -> tuple[float, float, float, float]:
    """A window of h x w pixels in an image, at the fractions v down and u to the right: (left, top, right, bottom)."""
    top, left = math.floor(v * (math.floor(height - h) + 1)), math.floor(u * (math.floor(width - w) + 1))
    return left, top, min(left + w, width), min(top + h, height)


def convert_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Grey to RGB by repetition, RGB to grey by ITU-R 601 luma, alpha dropped.

    Args:
        image: uint8 [h, w, 1, 3 or 4].
        channels: 1 or 3.

    Returns:
        uint8 [h, w, channels].

    Raises:
        DataError: for any other number of channels.
    """
    from PIL import Image

    have = image.shape[-1]
    if have == channels:
        return image
    if have == 1:
        return np.repeat(image, channels, axis=-1)
    if have not in (3, 4):
        raise DataError(f"an image has {have} channels; config.data.channels converts 1, 3 or 4")
    rgb = image[..., :3]
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).convert("L"))[..., None] if channels == 1 else rgb

"""Test-time augmentation: the mean prediction of several views of an image, `mean_k f(aug_k(x))`.

    config.test_time = dict(views="identity | flip")                              # the image and its mirror image
    config.test_time = dict(views="ten_crop(padding=4)", average="logits")
    config.test_time = dict(views="sampled(policy='flip | padded_crop(4)', samples=8)")

Each function here returns a map `images [b, h, w, c] -> views [b, k, h', w', c]`. Several are joined by "|", and all
views have the same weight. The views of an image are neighbouring rows, so that they stay on its device.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, Size, build_calls
from cvdl_jax.config.parsing import parse_calls
from cvdl_jax.core import parallel
from cvdl_jax.data.augment import policy as policies
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.images import crops

MIXING = {"repeated_augmentation", "mixup", "cutmix"}
View = Callable[[jax.Array], jax.Array]


def identity() -> View:
    """The image itself."""
    return lambda images: images[:, None]


def flip() -> View:
    """The mirror image, left and right exchanged."""
    return lambda images: images[:, None, :, ::-1]


def vertical_flip() -> View:
    """The mirror image, top and bottom exchanged."""
    return lambda images: images[:, None, ::-1]


def five_crop(size: Counted = 0, padding: Counted = 0) -> View:
    """Square windows in the four corners and in the centre.

    Args:
        size: side of a window; 0 for a window as large as the image, which needs padding.
        padding: black pixels added on each side first, as by `padded_crop` in training.

    Reference: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section 4.1.
    """
    if size < 0 or padding < 0 or size == padding == 0:
        raise ConfigError(
            f"config.test_time.views: five_crop(size={size}, padding={padding}) must have a size, padding or both; "
            "write five_crop(padding=4)"
        )

    def view(images: jax.Array) -> jax.Array:
        h, w = images.shape[1:3]
        window = (size, size) if size else (h, w)
        padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        if min(padded.shape[1] - window[0], padded.shape[2] - window[1]) < 0:
            raise ConfigError(
                f"config.test_time.views: five_crop(size={size}) must fit into the images of {h}x{w} pixels with "
                f"padding={padding}; use a size of at most {min(h, w) + 2 * padding}"
            )
        return crops.five_crop(padded, window)

    return view


def ten_crop(size: Counted = 0, padding: Counted = 0) -> View:
    """The windows of `five_crop` and their mirror images.

    Args:
        size: see `five_crop`.
        padding: see `five_crop`.

    Reference: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section 4.1.
    """
    five = five_crop(size, padding)

    def view(images: jax.Array) -> jax.Array:
        windows = five(images)  # [b, 5, h', w', c]
        return jnp.concatenate([windows, windows[:, :, :, ::-1]], 1)

    return view


def sampled(policy: str, samples: Size = 8, seed: Counted = 0) -> View:
    """Random views by an augmentation policy, the same for an image in every evaluation.

    What is drawn depends on the seed and on the image itself, not on its place in a batch.

    Args:
        policy: as `config.augment`, of operations that need no label.
        samples: number of views of each image.
        seed: of the draws.
    """
    mixing = sorted(MIXING & {name for name, *_ in parse_calls(policy, "config.test_time.views")})
    if mixing:
        raise ConfigError(
            f"config.test_time.views: sampled(policy={policy!r}) must change each image by itself, and {mixing[0]} "
            "takes from other images; remove it"
        )
    transform = policies.build(policy, path="config.test_time.views: sampled")
    if transform is None or samples < 1:
        raise ConfigError(
            f"config.test_time.views: sampled(policy={policy!r}, samples={samples}) must have an operation and at "
            "least one sample; write sampled(policy='padded_crop(4)', samples=8)"
        )

    def view(images: jax.Array) -> jax.Array:
        key = jax.random.key(seed)
        with parallel.rows_known_by(parallel.contents(images)):
            views = [transform.update(None, {"image": images}, jax.random.fold_in(key, i))[1] for i in range(samples)]
        return jnp.stack([v["image"] for v in views], 1)

    return view


VIEWS = {f.__name__: f for f in (identity, flip, vertical_flip, five_crop, ten_crop, sampled)}


def mean_prediction(logits: jax.Array, average: str = "probabilities") -> jax.Array:
    """One prediction from several: the logarithm of the mean probability, or the mean of the logits.

        log mean_k softmax(l_k),    or    mean_k l_k

    Args:
        logits: [b, k, c].
        average: "probabilities" or "logits"; the second is for scores that are no logarithms of probabilities.

    Returns:
        [b, c].
    """
    if average == "logits":
        return logits.mean(1)
    return jax.nn.logsumexp(jax.nn.log_softmax(logits), 1) - jnp.log(jnp.asarray(logits.shape[1], logits.dtype))


def averaged(
    logits_fn: Callable[[Any, Mapping], jax.Array],
    views: str = "identity | flip",
    average: Literal["probabilities", "logits"] = "probabilities",
) -> Callable[[Any, Mapping], jax.Array]:
    """A classifier that averages its predictions over several views of each image.

    `logits_fn` is called once for each view function, with the k views of every image as rows of one batch.

    Args:
        logits_fn: (state, batch with "image" [b, h, w, c]) -> [b, c].
        views: functions of this file with their arguments, separated by "|".
        average: see `mean_prediction`.

    Returns:
        A function like `logits_fn`.

    Raises:
        ConfigError: for no or unknown views, wrong arguments, or data that are no images.
    """
    parts: list[View] = build_calls(views, VIEWS, "config.test_time.views")
    if not parts:
        raise ConfigError("config.test_time.views is empty; write 'identity | flip', or clear config.test_time")

    def mean_logits(state: Any, batch: Mapping) -> jax.Array:
        if "image" not in batch:
            raise ConfigError("config.test_time makes views of images, and the batch has none; clear config.test_time")
        logits = []
        for part in parts:
            x = part(batch["image"])  # [b, k, h', w', c]
            b, k = x.shape[:2]
            logits.append(logits_fn(state, {"image": x.reshape(b * k, *x.shape[2:])}).reshape(b, k, -1))
        return mean_prediction(jnp.concatenate(logits, 1), average)

    return mean_logits

"""Judges of generated images that are files of weights, and the training images that are nearest to samples.

    config.judge = {"file": "lenet5_mnist", "layer": "pre_logits", "samples": 10000}

The eight first digits of a file's SHA-256 are part of the name of every distance. `classifiers.py` reads the files.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.core.task import Eval
from cvdl_jax.data import load as data_load
from cvdl_jax.engine import classifiers
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics import feature_distances
from cvdl_jax.metrics.generation import Judge, Sampler

LARGEST = 50_000  # training images that samples are compared with, at most
SHOWN = 16  # samples that are drawn beside their nearest training images
_BLOCK = 4096


def from_file(file: str, sha256: str, channels: int, samples: int, layer: str) -> Judge:
    """The judge of a file.

    Args:
        file: see `classifiers.read`.
        sha256: see the same.
        channels: of the images to be judged.
        samples: how many samples it is shown.
        layer: of which features are taken; "" for none.

    Raises:
        ConfigError: see the same; also for images of other channels, and unknown layers.
    """
    net = classifiers.read(file, sha256)
    if net.shape[2] != channels:
        raise ConfigError(
            f"config.judge.file={file!r} judges images with {net.shape[2]} channels, the samples have {channels}"
        )
    variables = jax.tree.map(jnp.asarray, net.variables)

    def outputs(images: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        return net.outputs(variables, sized(images, net.shape))

    if layer:  # a wrong name is refused before anything is trained
        out = jax.eval_shape(outputs, jax.ShapeDtypeStruct((1, *net.shape), jnp.float32))[1]
        layer_of(out, layer, "config.judge")

    def features(images: jax.Array) -> jax.Array:
        return layer_of(outputs(images)[1], layer, "config.judge").reshape(len(images), -1)

    probabilities = lambda images: jax.nn.softmax(outputs(images)[0], -1)  # noqa: E731
    return Judge(probabilities, samples, features if layer else None, f"{layer}_{net.sha256[:8]}" if layer else "")


def sized(images: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Images [b, h, w, c] in 0..1 at the size of a judge's, by Pillow's bilinear weights, as its own were resized."""
    return jnp.clip(jax.image.resize(images, (images.shape[0], *shape), "bilinear"), 0, 1)


def layer_of(out: Mapping[str, Any], layer: str, path: str) -> jax.Array:
    """A named intermediate of a model.

    Args:
        out: what the model returned beside its scores.
        layer: such as "stages.1" or "pre_logits".
        path: of the section, for messages.

    Raises:
        ConfigError: saying which there are.
    """
    name, _, place = layer.partition(".")
    several = isinstance(out.get(name), tuple)
    known = [f"{k}.{i}" for k, v in out.items() if isinstance(v, tuple) for i in range(len(v))]
    known += [k for k, v in out.items() if isinstance(v, jax.Array | jax.ShapeDtypeStruct)]
    if layer not in known:
        raise ConfigError(f"{path}.layer={layer!r} is not one of {', '.join(known)}")
    return out[name][int(place)] if several else out[name]


# The nearest training images ------------------------------------------------------------------------------------------


def nearest_training(sample: Sampler, config: Any, rows: int) -> Eval:
    """Samples beside the training images that are nearest to them in pixels: are they copies?

    Metrics: `nearest`, the mean Euclidean distance of a sample to the nearest training image, `nearest_unseen`, that of
    as many validation images where there are some, and `among`, how many training images were looked at, the first
    50,000 at most. Samples that are much nearer than images that were not trained on are copies.

    Args:
        sample: the sampler.
        config: of the run, whose data are opened when the samples are there.
        rows: samples, those of one batch of an evaluation.
    """

    def finalise(means: dict, given: dict) -> dict[str, float]:
        training, unseen = _images(config, len(given["image"]))
        metrics = {"nearest": float(_nearest(given["image"], training)[1].mean()), "among": float(len(training))}
        if len(unseen):
            metrics["nearest_unseen"] = float(_nearest(unseen, training)[1].mean())
        return metrics

    def draw(metrics: dict, given: dict) -> dict[str, Any]:
        from cvdl_jax.analysis.figures.codes import pairs

        shown, training = given["image"][:SHOWN], _images(config, 0)[0]
        return {"nearest_training_images": pairs(shown, training[_nearest(shown, training)[0]] / 255, SHOWN)}

    return Eval(lambda state, batch, key: {"image": sample(state, key, rows)}, finalise, 1, final=True, draw=draw)


def _images(config: Any, unseen: int) -> tuple[np.ndarray, np.ndarray]:
    """Training images uint8 [n, h, w, c], and so many of the validation split, in 0..1; none where there is none."""
    data = configs.call(data_load.load, config.data, "config.data")
    if "train" not in data.splits:
        raise DataError("the nearest training images need config.data.train; name the split that was trained on")

    def images(name: str, most: int) -> np.ndarray:
        split = data.splits[name].for_evaluation()
        image = split.batch(np.arange(min(most, split.size)))["image"]
        return image if image.dtype == np.uint8 else np.round(255 * image).astype(np.uint8)

    few = images("validation", unseen) / np.float32(255) if unseen and "validation" in data.splits else np.zeros(0)
    return images("train", LARGEST), few


def _nearest(queries: np.ndarray, training: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the nearest training images [q], and the distances [q]; in blocks, of which float64 needs less memory."""
    flat = np.asarray(queries).reshape(len(queries), -1)
    best, where = np.full(len(flat), np.inf), np.zeros(len(flat), np.int64)
    for start in range(0, len(training), _BLOCK):
        block = training[start : start + _BLOCK].reshape(-1, flat.shape[1]) / 255
        rows, far = feature_distances.nearest(flat, block)
        closer = far < best
        best, where = np.where(closer, far, best), np.where(closer, rows + start, where)
    return where, best

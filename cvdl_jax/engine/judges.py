"""Judges of generated images that are files of weights, and the training images that are nearest to samples.

    config.judge = {"file": "lenet5_mnist", "layer": "pre_logits", "samples": 10000}

A file is written by `--mode export --out NAME.safetensors` of a classifier: its metadata say which model it is and what
pixels it expects. The files of `cvdl_jax/metrics/feature_nets` are named without folder and ending; the JSON file
beside each says how it was made and its SHA-256, of which eight digits are part of the name of every distance.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.core.task import Eval
from cvdl_jax.core.trees import path_name
from cvdl_jax.data import load as data_load
from cvdl_jax.data import pixels
from cvdl_jax.engine.build import Run
from cvdl_jax.errors import ConfigError, DataError, nearest
from cvdl_jax.metrics import feature_distances
from cvdl_jax.metrics.generation import Judge, Sampler
from cvdl_jax.models import pretrained, registry, tensor_files
from cvdl_jax.optim.ema import averaged

OURS = Path(__file__).parents[1] / "metrics" / "feature_nets"
ENTRY = "classifier"  # of a file's metadata
LARGEST = 50_000  # training images that samples are compared with, at most
SHOWN = 16  # samples that are drawn beside their nearest training images
_BLOCK = 4096


class FileJudge(NamedTuple):
    """What a file of a classifier holds.

    Attributes:
        model: the Flax module.
        variables: {"params", "batch_stats"} of it.
        normalise: images in 0..1 -> its inputs.
        shape: (h, w, c) of its images.
        sha256: of the file.
        about: what the file says of itself: model, normalise, image_shape and num_classes.
    """

    model: Any
    variables: Mapping[str, Any]
    normalise: Callable[[jax.Array], jax.Array]
    shape: tuple[int, int, int]
    sha256: str
    about: Mapping[str, Any]


def described(built: Run, state: Any) -> dict[str, str]:
    """The metadata that make a file of weights a judge; {} of a run that is not `config.model` behind `normalise`.

    Args:
        built: of `runs.load_built`; its data are not read.
        state: of the same.
    """
    classes, spec = built.info.num_classes, built.info.spec.get("image")
    if built.task.predict is None or classes is None or spec is None or built.config.get("test_time"):
        return {}
    predicted = jax.eval_shape(built.task.predict, state, dict(built.info.spec))
    if "scores" not in predicted or predicted["scores"].shape != (built.info.batch_size, classes):
        return {}
    section = built.config.model.to_dict()
    normalise, shape = configs.to_plain(built.fitted).get("normalise", {}), spec.shape[1:]
    model = registry.create(section, "config.model", kinds=("backbones",), num_classes=classes)
    shown = averaged(state)
    variables = {"params": shown.params, "batch_stats": shown.extra.get("batch_stats", {})}
    images = jax.random.uniform(jax.random.key(0), (4, *shape))
    seen = configs.partially(pixels.normalise, normalise, "config.normalise", "image")(images)
    ours, theirs = model.apply(variables, seen, False)[0], built.task.predict(state, {"image": images})["scores"]
    if not np.allclose(ours, theirs, rtol=1e-3, atol=1e-3):
        return {}
    about = {"model": section, "normalise": normalise, "image_shape": list(shape), "num_classes": classes}
    return {ENTRY: json.dumps(about)}


def find(file: str, sha256: str = "", section: str = "config.judge") -> tuple[Path, str]:
    """The path of a file, and the digest that it is to have ("" for any).

    Args:
        file: a path, or the name of one of OURS.
        sha256: as `config.judge.sha256` says.
        section: that names the file, for messages.

    Raises:
        ConfigError: for a name that is neither.
    """
    if tensor_files.is_named(file):
        return Path(file).expanduser(), sha256
    known = sorted(path.stem for path in OURS.glob("*.safetensors"))
    if file not in known:
        raise ConfigError(
            f"{section}.file={file!r} is no file that ends with .safetensors and none of our feature nets; "
            f"{nearest(file, known)}"
        )
    stated = json.loads((OURS / f"{file}.json").read_text(encoding="utf-8"))["sha256"]
    return OURS / f"{file}.safetensors", sha256 or stated


def read(file: str, sha256: str = "", section: str = "config.judge") -> FileJudge:
    """The classifier of a file.

    Args:
        file: a path, or the name of one of OURS.
        sha256: the digest that it must have, or its first digits, at least eight; "" for any (ours have theirs).
        section: that names the file, for messages.

    Raises:
        ConfigError: for another digest, a file that does not say which model it is, or arrays that are not its own.
        DataError: for a file that is missing or damaged.
    """
    path, wanted = find(file, sha256, section)
    if wanted and len(wanted) < 8:
        raise ConfigError(f"{section}.sha256={wanted!r} needs at least the first eight digits")
    opened = tensor_files.read(path)
    if not opened.sha256.startswith(wanted.lower()):
        raise ConfigError(
            f"{section}.file={file!r} has the SHA-256 {opened.sha256}, and {wanted} is expected: it is another "
            f"network, whose results do not compare; put the right file there, or remove {section}.sha256"
        )
    if ENTRY not in opened.metadata:
        raise ConfigError(
            f"{section}.file={file!r} does not say which classifier it is; write it anew: "
            "python launch.py --mode export --workdir RUN --out NAME.safetensors"
        )
    about = json.loads(opened.metadata[ENTRY])
    model = registry.create(about["model"], f"{section}.file", kinds=("backbones",), num_classes=about["num_classes"])
    shape = tuple(about["image_shape"])
    expected = jax.eval_shape(lambda key: model.init(key, jnp.zeros((1, *shape)), False), jax.random.key(0))
    arrays = pretrained.imported(opened.tensors, about["model"], f"{section}.file").arrays

    def place(key_path: Any, wanted: jax.ShapeDtypeStruct) -> jax.Array:
        array = arrays.pop(path_name(key_path), None)
        if array is None or array.shape != wanted.shape:
            raise ConfigError(f"{section}.file={file!r} lacks {path_name(key_path)} of shape {wanted.shape}")
        return jnp.asarray(array, wanted.dtype)

    variables = jax.tree_util.tree_map_with_path(place, expected)
    if arrays:
        raise ConfigError(f"{section}.file={file!r} has arrays that are not of its model, {min(arrays)!r} first")
    normalise = configs.partially(pixels.normalise, about["normalise"], f"{section}.file", "image")
    return FileJudge(model, variables, normalise, shape, opened.sha256, about)


def from_file(file: str, sha256: str, channels: int, samples: int, layer: str) -> Judge:
    """The judge of a file.

    Args:
        file: see `read`.
        sha256: see `read`.
        channels: of the images to be judged.
        samples: how many samples it is shown.
        layer: of which features are taken; "" for none.

    Raises:
        ConfigError: see `read`; also for images of other channels, and unknown layers.
    """
    net = read(file, sha256)
    if net.shape[2] != channels:
        raise ConfigError(
            f"config.judge.file={file!r} judges images with {net.shape[2]} channels, the samples have {channels}"
        )

    def outputs(images: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        return net.model.apply(net.variables, net.normalise(sized(images, net.shape)), False)

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
        split = data.splits[name]
        split = replace(split, stage=split.stage.for_evaluation())  # without random windows
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

"""Classifiers of finished runs and of files, through which another run looks: its teacher, judge or encoder.

A file is written by `--mode export --out NAME.safetensors` of a classifier: its metadata say which model it is and what
pixels it expects. The files of `cvdl_jax/metrics/feature_nets` are named without folder and ending; the JSON file
beside each says how it was made and its SHA-256.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.core.trees import path_name
from cvdl_jax.data import opened, pixels
from cvdl_jax.engine.build import Run
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.models import pretrained, registry, tensor_files
from cvdl_jax.optim.ema import averaged

OURS = Path(__file__).parents[1] / "metrics" / "feature_nets"
ENTRY = "classifier"  # of a file's metadata


class Classifier(NamedTuple):
    """A classifier of images that does not change.

    Attributes:
        model: the Flax module.
        variables: {"params", "batch_stats"} of it.
        normalise: images in 0..1 -> its inputs.
        shape: (h, w, c) of its images.
        about: what JSON holds of it: model, normalise, image_shape, num_classes, and class_names where they are known.
        sha256: of its file; "" of a run.
    """

    model: Any
    variables: Mapping[str, Any]
    normalise: Callable[[jax.Array], jax.Array]
    shape: tuple[int, int, int]
    about: Mapping[str, Any]
    sha256: str = ""

    def outputs(self, variables: Mapping[str, Any], image: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        """Scores [b, classes] and intermediates, in evaluation mode.

        The module is applied by itself, so that nobody who looks at the layers of a run's own network, or collects the
        statistics of its batch normalisation, sees those of this one.

        Args:
            variables: its own, or a copy of them in a state.
            image: [b, h, w, c] in 0..1.
        """
        return self.model.apply(variables, self.normalise(image), False)


def assembled(
    about: Mapping[str, Any], variables: Mapping[str, Any] | None, path: str, sha256: str = "", **context: Any
) -> Classifier:
    """The classifier that is described.

    Args:
        about: see `Classifier`.
        variables: its own; None for zeros, in whose place those of a checkpoint come.
        path: of the section that names it, for messages.
        sha256: of its file.
        **context: such as the dtype of the computation.
    """
    shape = tuple(about["image_shape"])
    model = registry.create(about["model"], path, kinds=("backbones",), num_classes=about["num_classes"], **context)
    if variables is None:
        variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes(model, shape))
    normalise = configs.partially(pixels.normalise, about["normalise"], path, "image")
    return Classifier(model, variables, normalise, shape, about, sha256)


def shapes(model: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Shapes and dtypes of a classifier's {"params", "batch_stats"}."""
    init = jax.eval_shape(lambda key: model.init(key, jnp.zeros((1, *shape)), False), jax.random.key(0))
    return {"params": init["params"], "batch_stats": init.get("batch_stats", {})}


def kept(name: str, make: Callable[[], tuple[dict[str, Any], Any]], path: str, **context: Any) -> Classifier:
    """A classifier whose weights are in the state of the run that looks through it.

    The run keeps which classifier it was: it is read again without the source, with zeros for weights.

    Args:
        name: of what is remembered.
        make: () -> (about, variables on the host), which opens the source.
        path: of the section that names it, for messages.
        **context: see `assembled`.
    """
    about, variables = opened.remembered(name), None
    if about is None:
        about, variables = make()
        leaves = jax.tree.leaves(variables)
        digest = hashlib.sha256(b"".join(np.ascontiguousarray(x).tobytes() for x in leaves)).hexdigest()
        opened.note(name, digest[:16], **about)
    return assembled(about, variables, path, **context)


def weights(state: Any) -> dict[str, Any]:
    """{"params", "batch_stats"} of a state on the host, averaged where it has averages."""
    shown = averaged(jax.device_get(state))
    return jax.tree.map(np.asarray, {"params": shown.params, "batch_stats": shown.extra.get("batch_stats", {})})


def about_run(built: Run) -> dict[str, Any]:
    """What `Classifier.about` is of a run of one model of images, whatever it predicts."""
    return {
        "model": configs.to_plain(built.config.model),
        "normalise": configs.to_plain(built.fitted).get("normalise", {}),
        "image_shape": list(built.info.spec["image"].shape[1:]),
        "num_classes": built.info.num_classes,
        "class_names": list(built.info.class_names or ()),
    }


def described(built: Run, state: Any) -> dict[str, Any]:
    """What a file of weights, or a student, says of a run; {} where it is not `config.model` behind `normalise`.

    Args:
        built: of `runs.load_built`; its data are not read.
        state: of the same.
    """
    classes = built.info.num_classes
    if built.task.predict is None or classes is None or "image" not in built.info.spec or built.config.get("test_time"):
        return {}
    predicted = jax.eval_shape(built.task.predict, state, dict(built.info.spec))
    if "scores" not in predicted or predicted["scores"].shape != (built.info.batch_size, classes):
        return {}
    net = assembled(about_run(built), weights(state), "config.model")
    if jax.tree.structure(shapes(net.model, net.shape)) != jax.tree.structure(net.variables):
        return {}  # its network is a part of something larger
    images = jax.random.uniform(jax.random.key(0), (4, *net.shape))
    ours, theirs = net.outputs(net.variables, images)[0], built.task.predict(state, {"image": images})["scores"]
    return dict(net.about) if np.allclose(ours, theirs, rtol=1e-3, atol=1e-3) else {}


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


def read(file: str, sha256: str = "", section: str = "config.judge") -> Classifier:
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
    stored = tensor_files.read(path)
    if not stored.sha256.startswith(wanted.lower()):
        raise ConfigError(
            f"{section}.file={file!r} has the SHA-256 {stored.sha256}, and {wanted} is expected: it is another "
            f"network, whose results do not compare; put the right file there, or remove {section}.sha256"
        )
    if ENTRY not in stored.metadata:
        raise ConfigError(
            f"{section}.file={file!r} does not say which classifier it is; write it anew: "
            "python launch.py --mode export --workdir RUN --out NAME.safetensors"
        )
    about = json.loads(stored.metadata[ENTRY])
    net = assembled(about, None, f"{section}.file", stored.sha256)
    arrays = pretrained.imported(stored.tensors, about["model"], f"{section}.file").arrays

    def place(key_path: Any, wanted: jax.ShapeDtypeStruct) -> np.ndarray:
        array = arrays.pop(path_name(key_path), None)
        if array is None or array.shape != wanted.shape:
            raise ConfigError(f"{section}.file={file!r} lacks {path_name(key_path)} of shape {wanted.shape}")
        return np.asarray(array, wanted.dtype)

    variables = jax.tree_util.tree_map_with_path(place, shapes(net.model, net.shape))
    if arrays:
        raise ConfigError(f"{section}.file={file!r} has arrays that are not of its model, {min(arrays)!r} first")
    return net._replace(variables=variables)

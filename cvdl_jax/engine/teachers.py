"""The classifier of another run, or of a file, as the teacher of a student: `config.distill = {"workdir": "runs/big"}`.

A teacher sees the same images as its student, behind its own normalisation, in evaluation mode, and never changes.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.core.info import Info
from cvdl_jax.data import opened, pixels
from cvdl_jax.engine import judges, runs
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.optim.ema import averaged

EXTRA = "teacher"  # the key of its weights in the state's `extra`


class Teacher(NamedTuple):
    """A classifier that gives targets.

    Attributes:
        model: the Flax module.
        normalise: images in 0..1 -> its inputs.
        variables: {"params", "batch_stats"} for `extra` at first.
    """

    model: Any
    normalise: Any
    variables: Mapping[str, Any]

    def logits(self, variables: Mapping[str, Any], image: jax.Array) -> jax.Array:
        """Scores [b, classes], without a gradient, of images [b, h, w, c] in 0..1.

        The module is applied by itself, so that nobody who looks at the student's layers or collects the statistics of
        its batch normalisation sees those of the teacher.

        Args:
            variables: `state.extra["teacher"]`.
            image: as the student sees them, before its normalisation.
        """
        return jax.lax.stop_gradient(self.model.apply(variables, self.normalise(image), False)[0])


def load(section: Mapping[str, Any], info: Info, path: str = "config.distill") -> Teacher:
    """The teacher of a section.

    A run keeps which teacher it had, and the weights are in its state: it is read again without the source.

    Args:
        section: workdir of a run, and checkpoint ("best", "latest" or a step); or file, of weights that `--mode export`
            wrote or the name of one of ours, and sha256, see `judges.py`.
        info: of the student's run.
        path: of the section, for messages.

    Raises:
        ConfigError: for none or two sources, a run that does not classify images, other classes, or images of another
            shape.
        UserError: if the folder holds no run.
    """
    workdir, file = section.get("workdir", ""), section.get("file", "")
    if bool(workdir) == bool(file):
        what = f"={workdir!r} stands beside {path}.file={file!r}" if file else " is missing"
        raise ConfigError(f"{path}.workdir{what}; name the run of a classifier, or a file of one, and not both")
    if "image" not in info.spec:
        raise ConfigError(f"config.data: a teacher sees images, and these examples have {', '.join(info.spec)}")
    name = f"teacher {workdir or file}"
    about = opened.remembered(name)
    variables = None
    if about is None:
        about, variables = _of_run(section, info, path) if workdir else _of_file(section, path)
        arrays = jax.tree.leaves(variables)
        digest = hashlib.sha256(b"".join(np.ascontiguousarray(x).tobytes() for x in arrays)).hexdigest()
        opened.note(name, digest[:16], **about)
    classes, shape = about["num_classes"], tuple(about["image_shape"])
    if classes != info.num_classes:
        raise ConfigError(f"{path}: the teacher knows {classes} classes, the data set has {info.num_classes}")
    seen = tuple(info.spec["image"].shape[1:])
    if shape != seen:
        raise ConfigError(
            f"{path}: the teacher was trained on images {list(shape)}, these are {list(seen)}; set "
            f"config.data.image_size=({shape[0]},{shape[1]}) and config.data.channels={shape[2]}, or choose another"
        )
    model = registry.create(about["model"], path, kinds=("backbones",), num_classes=classes)
    if variables is None:  # those of the checkpoint take their place
        init = jax.eval_shape(lambda key: model.init(key, jnp.zeros((1, *shape)), False), jax.random.key(0))
        empty = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), dict(init))
        variables = {"params": empty["params"], "batch_stats": empty.get("batch_stats", {})}
    return Teacher(model, configs.partially(pixels.normalise, about["normalise"], path, "image"), variables)


def _of_run(section: Mapping[str, Any], info: Info, path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `judges.described` says of a run, and its weights on the host."""
    where = f"{path}.workdir={section['workdir']!r}"
    if section.get("sha256"):
        raise ConfigError(f"{path}.sha256 is the digest of a file; set {path}.file, or remove it")
    built, state, _ = runs.load_built(section["workdir"], section.get("checkpoint", "best"))
    state = jax.device_get(state)
    described = judges.described(built, state)
    if not described:
        raise ConfigError(
            f"{where} is not the run of a classifier of images that predicts what config.model gives for its "
            "normalised inputs; name one that does, such as one of configs/classify/lenet5.py"
        )
    theirs = tuple(built.info.class_names or ())
    if theirs and info.class_names and theirs != tuple(info.class_names):
        raise ConfigError(f"{where} has the classes {list(theirs)[:10]}, the data set {list(info.class_names)[:10]}")
    shown = averaged(state)
    weights = {"params": shown.params, "batch_stats": shown.extra.get("batch_stats", {})}
    return json.loads(described[judges.ENTRY]), jax.tree.map(np.asarray, weights)


def _of_file(section: Mapping[str, Any], path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a file says of itself, and its weights on the host."""
    if section.get("checkpoint", "best") != "best":
        raise ConfigError(f"{path}.checkpoint is of a run, and the teacher is a file; remove it")
    net = judges.read(section["file"], section.get("sha256", ""), path)
    weights = {"params": net.variables["params"], "batch_stats": net.variables.get("batch_stats", {})}
    return dict(net.about), jax.tree.map(np.asarray, jax.device_get(weights))

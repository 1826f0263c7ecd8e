"""The classifier of another run, or of a file, as the teacher of a student: `config.distill = {"workdir": "runs/big"}`.

A teacher sees the same images as its student, behind its own normalisation, in evaluation mode, and never changes.
"""

from collections.abc import Mapping
from typing import Any

import jax

from cvdl_jax.core.info import Info
from cvdl_jax.engine import classifiers, runs
from cvdl_jax.engine.classifiers import Classifier
from cvdl_jax.errors import ConfigError

EXTRA = "teacher"  # the key of its weights in the state's `extra`


def logits(teacher: Classifier, variables: Mapping[str, Any], image: jax.Array) -> jax.Array:
    """Scores [b, classes], without a gradient, of images [b, h, w, c] in 0..1.

    Args:
        teacher: of `load`.
        variables: `state.extra["teacher"]`.
        image: as the student sees them, before its normalisation.
    """
    return jax.lax.stop_gradient(teacher.outputs(variables, image)[0])


def load(section: Mapping[str, Any], info: Info, path: str = "config.distill") -> Classifier:
    """The teacher of a section.

    A run keeps which teacher it had, and the weights are in its state: it is read again without the source.

    Args:
        section: workdir of a run, and checkpoint ("best", "latest" or a step); or file, of weights that `--mode export`
            wrote or the name of one of ours, and sha256, see `classifiers.py`.
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
    make = lambda: _of_run(section, path) if workdir else _of_file(section, path)  # noqa: E731
    teacher = classifiers.kept(f"teacher {workdir or file}", make, path)
    classes, seen = teacher.about["num_classes"], tuple(info.spec["image"].shape[1:])
    if classes != info.num_classes:
        raise ConfigError(f"{path}: the teacher knows {classes} classes, the data set has {info.num_classes}")
    names, own = list(teacher.about.get("class_names") or ()), list(info.class_names or ())
    if names and own and names != own:
        raise ConfigError(
            f"{path}: the teacher {workdir or file!r} has the classes {names[:10]}, the data set {own[:10]}"
        )
    if teacher.shape != seen:
        height, width, channels = teacher.shape
        raise ConfigError(
            f"{path}: the teacher was trained on images {list(teacher.shape)}, these are {list(seen)}; set "
            f"config.data.image_size=({height},{width}) and config.data.channels={channels}, or choose another"
        )
    return teacher


def _of_run(section: Mapping[str, Any], path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `classifiers.described` says of a run, and its weights on the host."""
    where = f"{path}.workdir={section['workdir']!r}"
    if section.get("sha256"):
        raise ConfigError(f"{path}.sha256 is the digest of a file; set {path}.file, or remove it")
    built, state, _ = runs.load_evaluated(section["workdir"], section.get("checkpoint", "best"))
    about = classifiers.described(built, jax.device_get(state))
    if not about:
        raise ConfigError(
            f"{where} is not the run of a classifier of images that predicts what config.model gives for its "
            "normalised inputs; name one that does, such as one of configs/classify/lenet5.py"
        )
    return about, classifiers.weights(state)


def _of_file(section: Mapping[str, Any], path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a file says of itself, and its weights on the host."""
    if section.get("checkpoint", "best") != "best":
        raise ConfigError(f"{path}.checkpoint is of a run, and the teacher is a file; remove it")
    net = classifiers.read(section["file"], section.get("sha256", ""), path)
    return dict(net.about), dict(net.variables)

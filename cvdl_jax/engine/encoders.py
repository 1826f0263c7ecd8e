"""The frozen classifier of another run, from images to features: `config.encoder = {"workdir": "runs/a"}`."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.engine import classifiers, runs
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry


class Source(NamedTuple):
    """The arguments of `config.encoder`: either a run, or a backbone without training.

    Attributes:
        workdir: of a run of a classifier; its averaged weights are taken where it has them.
        checkpoint: "best", "latest" or a step.
        untrained: the name of a backbone that keeps the random weights of a fixed key: a control.
    """

    workdir: str = ""
    checkpoint: str = "best"
    untrained: str = ""


class Encoder(NamedTuple):
    """Features of images.

    Attributes:
        apply: `(weights, images [b, h, w, c] in 0..1) -> [b, width]`, the input of the classifier's last layer.
        width: number of features.
    """

    apply: Callable[[Any, jax.Array], jax.Array]
    width: int


def encoder(section: Mapping[str, Any], shape: tuple[int, int, int], dtype: Any) -> tuple[Encoder, Any]:
    """The encoder of a configuration, and its weights for the state's `extra`.

    A run keeps which encoder it was, and its weights are in the state: it is read again without the source.

    Args:
        section: `config.encoder`.
        shape: (h, w, c) of the images.
        dtype: of the computation.

    Returns:
        (the encoder, {"params", "batch_stats"}).

    Raises:
        ConfigError: without a run, or for one that is no classifier or takes images of another size.
        UserError: if the folder holds no run.
    """
    source = configs.call(Source, section, "config.encoder")
    if bool(source.workdir) == bool(source.untrained):
        raise ConfigError(
            "config.encoder needs the run of a classifier: set config.encoder.workdir, or, for a control with random "
            "weights, config.encoder.untrained=resnet20, and not both"
        )
    if source.untrained and source.checkpoint != "best":
        raise ConfigError("config.encoder.checkpoint has no effect without config.encoder.workdir; leave it out")
    if source.workdir:
        make = lambda: _load(source, shape)  # noqa: E731
        net = classifiers.kept(f"encoder {source.workdir}", make, "config.encoder", dtype=dtype)
    else:
        about = {"model": {"name": source.untrained}, "normalise": {}, "image_shape": list(shape), "num_classes": 2}
        net = classifiers.assembled(about, None, "config.encoder", dtype=dtype)
        made = net.model.init(jax.random.key(0), jnp.zeros((1, *shape)), False)
        net = net._replace(variables={name: jax.tree.map(np.asarray, made.get(name, {})) for name in net.variables})

    def apply(weights: Any, images: jax.Array) -> jax.Array:
        return net.outputs(weights, images)[1]["pre_logits"]

    seen = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return Encoder(apply, jax.eval_shape(apply, net.variables, seen).shape[-1]), net.variables


def _load(source: Source, shape: tuple[int, int, int]) -> tuple[dict[str, Any], Any]:
    """What `Classifier.about` is of the source, and its weights on the host."""
    built, state, _ = runs.load_evaluated(source.workdir, source.checkpoint)
    where = f"config.encoder.workdir={source.workdir!r}"
    variant = registry.variants().get(built.config.model.get("name", ""))
    if variant is None or variant.kind != "backbones" or "image" not in (built.info.spec or {}):
        raise ConfigError(
            f"{where} is the run of {built.config.model.get('name', 'several models')!r}, which is no classifier of "
            "images; train one, as with configs/classify/multi_label.py"
        )
    about = classifiers.about_run(built)
    if tuple(about["image_shape"]) != tuple(shape):
        raise ConfigError(
            f"{where} is a classifier of images {about['image_shape']}, these are {list(shape)}; name another"
        )
    return about, classifiers.weights(state)

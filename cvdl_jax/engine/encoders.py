"""The frozen classifier of another run, from images to features: `config.encoder = {"workdir": "runs/a"}`."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.data import opened, pixels
from cvdl_jax.engine import runs
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.optim.ema import averaged


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
    name = f"encoder {source.workdir or source.untrained}"
    kept = opened.remembered(name)
    if kept is None and source.workdir:
        about, weights = _load(source, shape)
        leaves = jax.tree.leaves(weights)
        digest = hashlib.sha256(b"".join(np.ascontiguousarray(x).tobytes() for x in leaves)).hexdigest()[:16]
        opened.note(name, digest, **about)
    else:
        about, weights = kept or {"model": {"name": source.untrained}, "classes": 2, "normalise": {}}, None
    model = registry.create(
        about["model"], "config.encoder", kinds=("backbones",), num_classes=about["classes"], dtype=dtype
    )
    zeros = jnp.zeros((1, *shape))
    if weights is None:  # of a run, those of the checkpoint take their place
        made = model.init(jax.random.key(0), zeros, False)
        weights = jax.tree.map(np.asarray, {key: made.get(key, {}) for key in ("params", "batch_stats")})

    def apply(weights: Any, images: jax.Array) -> jax.Array:
        return model.apply(weights, pixels.normalise(images, **about["normalise"]), False)[1]["pre_logits"]

    return Encoder(apply, jax.eval_shape(apply, weights, zeros).shape[-1]), weights


def _load(source: Source, shape: tuple[int, int, int]) -> tuple[dict[str, Any], Any]:
    """{"model", "classes", "normalise"} of the source, and its weights on the host."""
    built, state, _ = runs.load_built(source.workdir, source.checkpoint)
    where = f"config.encoder.workdir={source.workdir!r}"
    variant = registry.variants().get(built.config.model.get("name", ""))
    if variant is None or variant.kind != "backbones" or "image" not in (built.info.spec or {}):
        raise ConfigError(
            f"{where} is the run of {built.config.model.get('name', 'several models')!r}, which is no classifier of "
            "images; train one, as with configs/classify/multi_label.py"
        )
    theirs = tuple(built.info.spec["image"].shape[1:])
    if theirs != tuple(shape):
        raise ConfigError(f"{where} is a classifier of images {list(theirs)}, these are {list(shape)}; name another")
    shown = jax.device_get(averaged(state))
    weights = {"params": shown.params, "batch_stats": shown.extra.get("batch_stats", {})}
    about = {"model": configs.to_plain(built.config.model), "classes": built.info.num_classes}
    return about | {"normalise": configs.to_plain(built.fitted.normalise)}, jax.tree.map(np.asarray, weights)

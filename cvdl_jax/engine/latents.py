"""The autoencoder of another run as the space of a diffusion: `config.autoencoder = {"workdir": "runs/vq_vae"}`."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.data import opened
from cvdl_jax.engine import runs
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry, spaces
from cvdl_jax.models.spaces import Space
from cvdl_jax.optim.ema import averaged


class Source(NamedTuple):
    """The arguments of `config.autoencoder`.

    Attributes:
        workdir: of a run of an autoencoder (`models/generative`); its averaged weights are taken where it has them.
        checkpoint: "best", "latest" or a step.
    """

    workdir: str = ""
    checkpoint: str = "best"


def space(section: Mapping[str, Any], shape: tuple[int, int, int], dtype: Any) -> tuple[Space, dict[str, Any]]:
    """The space of a diffusion, and what the state's `extra` has for it at first.

    A run keeps which autoencoder it was, and its weights are in the state: it is read again without the source.

    Args:
        section: `config.autoencoder`; empty, or without a workdir, for pixels.
        shape: (h, w, c) of the images.
        dtype: of the computation.

    Returns:
        (the space, {"autoencoder", "scale"}, or {} for pixels).

    Raises:
        ConfigError: for a run that is no autoencoder, or one of images of another size.
        UserError: if the folder holds no run.
    """
    source = configs.call(Source, section, "config.autoencoder")
    if not source.workdir:
        if source.checkpoint != "best":
            raise ConfigError("config.autoencoder.checkpoint has no effect without config.autoencoder.workdir; set it")
        return spaces.pixels(shape), {}
    name = f"autoencoder {source.workdir}"
    kept = opened.remembered(name)
    if kept is None:
        about, weights = _load(source, shape)
        digest = hashlib.sha256(b"".join(np.ascontiguousarray(x).tobytes() for x in jax.tree.leaves(weights)))
        opened.note(name, digest.hexdigest()[:16], **about)
    else:
        about, weights = kept, None
    made = {"image_shape": shape, "dtype": dtype}
    model = registry.create(about["model"], "config.autoencoder", kinds=("generative",), **made)
    if weights is None:  # those of the checkpoint take their place
        init = jax.eval_shape(lambda key: model.init(key, jnp.zeros((1, *shape)), False), jax.random.key(0))
        weights = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), init["params"])
    return spaces.codes(model), {"autoencoder": weights, "scale": {"mean": np.float32(0), "std": np.float32(1)}}


def _load(source: Source, shape: tuple[int, int, int]) -> tuple[dict[str, Any], Any]:
    """{"model": the section of the source}, and its weights on the host."""
    built, state, _ = runs.load_evaluated(source.workdir, source.checkpoint)
    where = f"config.autoencoder.workdir={source.workdir!r}"
    variant = registry.variants().get(built.config.model.get("name", ""))
    if variant is None or variant.context != ("image_shape",):
        raise ConfigError(
            f"{where} is the run of {built.config.model.get('name', 'several models')!r}, which is no autoencoder; "
            "train one: python launch.py --config configs/generate/autoencoder.py:form=quantised --workdir runs/codes"
        )
    theirs = tuple(built.info.spec["image"].shape[1:])
    if theirs != tuple(shape):
        raise ConfigError(f"{where} is an autoencoder of images {list(theirs)}, these are {list(shape)}; name another")
    weights = jax.tree.map(np.asarray, jax.device_get(averaged(state).params))
    return {"model": configs.to_plain(built.config.model)}, weights

"""What the pages of self-supervision share: an encoder that is kept, and a projector that only the loss sees.

`params` and `extra["batch_stats"]` are {"encoder", "projector"}. What is probed and transferred are the encoder's
features, the input of the classifier that it would have; `config.init.rename=(("/encoder/", "/"),)` gives its
parameters to a classifier of the same family.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted, Size
from cvdl_jax.core.info import Info
from cvdl_jax.core.task import Eval, State
from cvdl_jax.data import pixels
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import representation
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.nn.projection import Projector
from cvdl_jax.optim.ema import averaged

ENCODER, PROJECTOR = "encoder", "projector"


class Method(NamedTuple):
    """What a configuration chooses.

    Attributes:
        encoder: a backbone without classes, `(x, train) -> (features [b, d], out)`.
        projector: `(features, train) -> [b, e]`; None where the loss is of the features themselves.
        normalise: of images in 0..1.
        probe: of the evaluations; None for none.
        num_classes: of the labels that the probe knows; None for data without.
    """

    encoder: Any
    projector: Any
    normalise: Any
    probe: representation.Probe | None
    num_classes: int | None


def projector(
    hidden: tuple[Size, ...] = (128,),
    size: Size = 64,
    norm: str = "batch",
    activation: str = "relu",
    last_norm: bool = False,
    prototypes: Counted = 0,
    *,
    dtype: str = "float32",
) -> Projector:
    """The projector of `config.projection`; see `nn.projection.Projector`."""
    return Projector(hidden, size, norm, activation, last_norm, prototypes, jnp.dtype(dtype))


def make_method(config: Any, info: Info, classes: int = 0) -> Method:
    """The encoder and the probe of a configuration, without a projector.

    Args:
        config: of the run: model, normalise, probe, compute_dtype, remat.
        info: of the run.
        classes: scores of the encoder, of a pretext task; 0 for its features.

    Raises:
        ConfigError: for data without images, and wrong sections.
    """
    if "image" not in info.spec or "train" not in info.sizes:
        raise ConfigError(f"experiment {config.experiment!r} needs images to train on; set config.data.name and train")
    encoder = registry.create(
        config.model, "config.model", kinds=("backbones",), num_classes=classes, dtype=config.compute_dtype,
        remat=config.remat,
    )  # fmt: skip
    return Method(
        encoder=encoder,
        projector=None,
        normalise=configs.partially(pixels.normalise, config.normalise, "config.normalise", "image"),
        probe=representation.make_probe(config.probe, info),
        num_classes=info.num_classes,
    )


def projecting(config: Any, info: Info) -> Method:
    """The method of `make_method` with the projector of `config.projection`; see there for arguments and errors."""
    method = make_method(config, info)
    made = configs.call(projector, config.projection, "config.projection", dtype=config.compute_dtype)
    return method._replace(projector=made)


def initial(method: Method, key: jax.Array, batch: Any) -> tuple[dict, dict, dict]:
    """The first parameters, statistics and entry of the probe.

    Args:
        method: of `make_method`.
        key: a typed key.
        batch: with "image" [b, h, w, c].

    Returns:
        (params, batch_stats, what the probe adds to `extra`), the first two with an entry for each part.
    """
    keys, x = jax.random.split(key), method.normalise(batch["image"][:1])
    params, stats = {}, {}
    params[ENCODER], stats[ENCODER] = initialise(method.encoder, keys[0], x, False)
    variables = {"params": params[ENCODER], "batch_stats": stats[ENCODER]}
    seen = jax.eval_shape(lambda v: features_of(method.encoder.apply(v, x, False)), variables)
    if method.projector is not None:
        given = (jnp.zeros(seen.shape, seen.dtype), False)
        params[PROJECTOR], stats[PROJECTOR] = initialise(method.projector, keys[1], *given)
    return params, stats, representation.empty(method.probe, seen.shape[-1], method.num_classes)


def features_of(output: tuple[jax.Array, dict]) -> jax.Array:
    """What the classifier of a backbone sees, float [b, d]: its "pre_logits", or its result where it has none.

    Raises:
        ConfigError: for a backbone whose features are no vectors.
    """
    scores, out = output
    features = out.get("pre_logits", scores)
    if features.ndim != 2:
        raise ConfigError(
            f"config.model: its features have the shape {features.shape[1:]}, and this experiment needs a vector for "
            "each image; choose another model, such as resnet20"
        )
    return features


def embed(method: Method, state: State, images: jax.Array, key: jax.Array) -> tuple[jax.Array, State]:
    """What the projector makes of images in training mode: [b, h, w, c] in 0..1 -> [b, e], and the new statistics."""
    keys = jax.random.split(key)
    output, state = apply_train(method.encoder, state, method.normalise(images), keys[0], on=ENCODER)
    return apply_train(method.projector, state, features_of(output), keys[1], on=PROJECTOR)


def features(method: Method, state: State, batch: Any) -> jax.Array:
    """The encoder's features of images as they are, by the weights that an evaluation uses: float [b, d]."""
    return features_of(apply_eval(method.encoder, averaged(state), method.normalise(batch["image"]), on=ENCODER))


def evaluation(method: Method, features_fn: Any) -> dict[str, Eval]:
    """{"validation", "test"}: the probe's evaluation of each, made from one pass over the training split; {} without.

    Args:
        method: of `make_method`.
        features_fn: `(state, batch) -> [b, d]`.
    """
    if method.probe is None:
        return {}
    made = representation.evaluation(features_fn, method.probe, method.num_classes)
    return {split: made._replace(data=split) for split in ("validation", "test")}

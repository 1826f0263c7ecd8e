"""What an experiment does with the autoencoder that a configuration chooses: inputs, losses, a bound, samples."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted
from cvdl_jax.core.info import Info
from cvdl_jax.core.parallel import row_places, row_random
from cvdl_jax.core.task import Transform
from cvdl_jax.data.augment import policy
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import latent_costs, registry
from cvdl_jax.nn.apply import apply_eval
from cvdl_jax.ops.losses import reconstruction
from cvdl_jax.optim.ema import averaged


class Method(NamedTuple):
    """The functions that a configuration chooses."""

    model: Any
    distance: Callable  # (logits, images) -> [b]
    cost: Callable | None  # of the code, out -> [b]
    corrupt: Transform | None
    bound_samples: int


def inputs(method: Method, state: Any, batch: dict[str, jax.Array], key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
    """What the model takes in training: the corrupted images; the noise of a variational one, the label of another.

    Args:
        method: of `make_autoencoder`.
        state: of the run.
        batch: {"image": [b, h, w, c], "label": [b]?}.
        key: of the step.

    Returns:
        images [b, h, w, c]; keyword arguments of the model.
    """
    keys = jax.random.split(key)
    seen = method.corrupt.update(state, batch, keys[0])[1]["image"] if method.corrupt else batch["image"]
    shape = (len(seen), method.model.latent)
    noise = row_random(jax.random.normal, keys[1], shape) if method.model.variational else None
    return seen, {"noise": noise, **label_of(method, batch)}


def label_of(method: Method, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The label of a batch as a keyword argument, for a conditional model; {} for others."""
    return {"label": batch["label"]} if method.model.num_classes else {}


def parts_of(
    method: Method, logits: jax.Array, out: dict[str, jax.Array], batch: dict[str, jax.Array]
) -> dict[str, jax.Array]:
    """The loss of each row and its parts.

    Args:
        method: of `make_autoencoder`.
        logits: of pixels [b, h, w, c].
        out: what the model says of its codes, see `latent_costs.py`.
        batch: {"image": the targets, in 0..1 [b, h, w, c]}.

    Returns:
        {"loss", "reconstruction", "latent" where the code costs something, "squared_error", a mean over pixels: [b]}.
    """
    parts = {"reconstruction": method.distance(logits, batch["image"])}
    if method.cost:
        parts["latent"] = method.cost(out)
    squared = jnp.square(jax.nn.sigmoid(logits) - batch["image"]).mean((1, 2, 3))
    return {"loss": sum(parts.values()), **parts, "squared_error": squared}


def bound(method: Method, state: Any, seen: jax.Array, batch: dict[str, jax.Array], key: jax.Array) -> jax.Array:
    """`log 1/k sum_i p(x | z_i) p(z_i) / q(z_i | x)`, z_i of q(z | x): at most log p(x), and nearer with more samples.

    Args:
        method: of a variational autoencoder; k is its `bound_samples`.
        state: of the run, averaged where it keeps an average.
        seen: what the encoder sees [b, h, w, c].
        batch: {"image": x [b, h, w, c], "label": [b]?}.
        key: each row and sample draws its own noise from it.

    Returns:
        [b], in nats.

    Reference: Burda et al. 2016, "Importance Weighted Autoencoders", equation 8.
    """
    more, shape = label_of(method, batch), (len(seen), method.model.latent)

    def draw(carry, key):
        noise = row_random(jax.random.normal, key, shape)
        logits, out = apply_eval(method.model, state, seen, noise=noise, **more)
        ratio = 0.5 * (noise**2 + out["log_variance"] - out["code"] ** 2).sum(-1)  # log p(z) - log q(z | x)
        return carry, ratio - method.distance(logits, batch["image"])

    weights = lax.scan(draw, 0, jax.random.split(key, method.bound_samples))[1]  # [k, b]
    return jax.nn.logsumexp(weights, 0) - jnp.log(float(method.bound_samples))


def learned(method: Method, state: Any, batch: dict[str, jax.Array]) -> jax.Array:
    """The code, or its mean, in evaluation mode: [b, d]."""
    _, out = apply_eval(method.model, averaged(state), batch["image"])
    code = out.get("mean", out["code"])
    return code.reshape(len(code), -1)


def sample(method: Method, state: Any, key: jax.Array, n: int) -> jax.Array:
    """Images decoded from N(0, 1), by the averaged weights where the run keeps an average.

    Args:
        method: of a variational autoencoder.
        state: of the run.
        key: each row draws its own code from it.
        n: images; a conditional one makes the classes in turn.

    Returns:
        [n, h, w, c] in 0..1.
    """
    z = row_random(jax.random.normal, key, (n, method.model.latent))
    label = {"label": row_places(n) % method.model.num_classes} if method.model.num_classes else {}
    return jax.nn.sigmoid(apply_eval(method.model, averaged(state), z, method="decode", **label))


def make_autoencoder(config: Any, info: Info) -> Method:
    """The functions that a configuration chooses; every section is checked against its function.

    Args:
        config: of the run.
        info: of the run; its spec has "image" [b, h, w, c], and "label" for a conditional one.

    Raises:
        ConfigError: for data or sections that do not fit each other.
    """
    if "image" not in info.spec:
        raise ConfigError("experiment 'autoencode' needs a data set of images; set config.data.name")
    shape = info.spec["image"].shape[1:]
    more = {"image_shape": shape, "dtype": config.compute_dtype, "remat": config.remat}
    model = registry.create(config.model, "config.model", kinds=("generative",), **more)
    if model.num_classes and (info.num_classes != model.num_classes or "label" not in info.spec):
        raise ConfigError(
            f"config.model.num_classes={model.num_classes} must be the classes of the data, {info.num_classes}, "
            "or 0 for a model that is not told the label"
        )
    latent = config.latent or ({"name": "kl"} if model.variational else {})
    if hasattr(model, "words") and latent.get("name") != "quantised":
        raise ConfigError("a VQ-VAE pays for its code by config.latent={'name': 'quantised'}")
    if model.variational and latent["name"] != "kl":
        raise ConfigError("a variational autoencoder pays for its code by config.latent={'name': 'kl'}")
    samples = configs.check_value(config.bound_samples, Counted, "config.bound_samples")
    if samples and not model.variational:
        raise ConfigError("config.bound_samples is of a variational autoencoder; set it to 0")
    if samples and config.loss.get("name") == "squared":
        raise ConfigError(
            "config.bound_samples bounds a likelihood, and config.loss.name='squared' is none; set "
            "config.bound_samples=0, or config.loss={'name': 'gaussian', 'deviation': 0.7071}, the same of a density"
        )
    return Method(
        model=model,
        distance=configs.named(reconstruction, config.loss, "config.loss", "logits", "images"),
        cost=configs.named(latent_costs, latent, "config.latent", "out") if latent else None,
        corrupt=policy.build(config.corruption, info.num_classes, "config.corruption"),
        bound_samples=samples,
    )

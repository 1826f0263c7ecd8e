"""Autoencoders side by side, on the same batches: what their codes, and the features that make them, look like.

`config.study.models` names them, each with "model" and "latent" as of experiment "autoencode"; `config.loss` is that of
all. image: [b, h, w, c] in 0..1; label: [b]. params: {name: of the autoencoder}. Evaluations of each one, "validation"
during training, "test" once: squared_error of a pixel; empty, separation, jump and spread (of the weights of a first
layer that is the only one), see `analysis/latent_space.py`; zero, the share of numbers of the code that are 0, and
activation, the mean of their absolute values; sample and midway, the distance to the nearest image of the split of what
is decoded from a normal distribution with the mean and deviations of the codes, and from halfway between codes of
different classes, both over that of reconstructions.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.analysis import latent_space
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Size
from cvdl_jax.core.info import check_labelled
from cvdl_jax.core.parallel import row_random
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import autoencoding
from cvdl_jax.nn.apply import apply_eval, initialise
from cvdl_jax.ops.latent_walks import lerp
from experiments import autoencode

READS = ("data", "loss", "grad", "optim", "compute_dtype", "remat", "study")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    models: Mapping = {}  # {name: {"model": a section, "latent": a section}}
    steps: Size = 12  # images of a walk


def of(state, name):
    """The state of one autoencoder alone."""
    return state._replace(params=state.params[name], extra={"batch_stats": {}})


def training_loss(method, name, state, batch, key):
    """Sums of one autoencoder, as of experiment "autoencode"."""
    return state, autoencode.training_loss(method, of(state, name), batch, key)[1]


def decoded(method, state, z):
    """Images in 0..1 of codes [n, d]."""
    return jax.nn.sigmoid(apply_eval(method.model, state, z, method="decode"))


def look(method, steps, state, batch, key):
    """What one autoencoder does with a batch: sums, and arrays [b, ...]."""
    keys, image = jax.random.split(key), batch["image"]
    logits, out = apply_eval(method.model, state, image)
    code, mask = out.get("mean", out["code"]), batch["mask"]
    decode = partial(decoded, method, state)
    noise = row_random(jax.random.normal, keys[0], code.shape)
    n = mask.sum()
    mean = (code * mask[:, None]).sum(0, keepdims=True) / n
    deviation = jnp.sqrt((jnp.square(code - mean) * mask[:, None]).sum(0, keepdims=True) / n)
    other = jnp.roll(code, 1, 0)
    ways = lerp(code[:, None], other[:, None], jnp.linspace(0, 1, steps, dtype=code.dtype)[None, :, None])
    walks = decode(ways.reshape(-1, code.shape[1])).reshape(len(code), steps, *image.shape[1:])
    made = {"reconstruction": jax.nn.sigmoid(logits), "sample": decode(mean + deviation * noise)}
    rows = {**made, "midway": decode((code + other) / 2), "code": code}
    rows["apart"] = batch["label"] != jnp.roll(batch["label"], 1)
    squared = jnp.square(made["reconstruction"] - image).mean((1, 2, 3))
    parts = {"squared_error": squared, "jump": latent_space.jumps(walks)}
    parts |= {"zero": (code == 0).mean(1), "activation": jnp.abs(code).mean(1)}
    sums = {name: ((part * mask).sum(), n) for name, part in parts.items()}
    kernel = first_layer(state.params)
    if kernel is not None:
        spread = latent_space.spread_of_weights(kernel)
        sums["spread"] = (spread.sum(), jnp.ones_like(spread).sum())
    return sums | rows


def first_layer(params):
    """The weights [pixels, units] of an encoder that is one dense layer; None of others."""
    plain = not any(name.startswith(("down", "encoder")) for name in params)
    return params["code_layer"]["kernel"] if plain and "code_layer" in params else None


def evaluation_step(methods, steps, state, batch, key):
    """What all do with the same batch; the images and labels of it."""
    rows = {"image": batch["image"], "label": batch["label"]}
    for i, (name, method) in enumerate(methods.items()):
        seen = look(method, steps, of(state, name), batch, jax.random.fold_in(key, i))
        rows |= {f"{name}_{part}": value for part, value in seen.items()}
    return rows


def report(methods, class_names, seed, state, batch, key):
    """Of each one the codes of a batch in the plane, samples, walks, and the features of a dense one."""
    from cvdl_jax.analysis.figures import autoencoders

    figures = {}
    for name, method in methods.items():
        one = of(state, name)
        out = apply_eval(method.model, one, batch["image"])[1]
        code, decode = out.get("mean", out["code"]), partial(decoded, method, one)
        figures |= autoencoders.overview(name, decode, code, batch["label"], class_names, seed)
        kernel = first_layer(one.params)
        if kernel is not None:
            figures[f"{name}_features"] = autoencoders.features(kernel, batch["image"].shape[1:])
    return figures


def make(config, info) -> Task:
    """The study of a configuration."""
    check_labelled(config, info)
    study = configs.call(Study, config.study, "config.study")
    if not study.models:
        raise ConfigError("config.study.models={} is empty; name autoencoders, {'plain': {'model': {'name': ...}}}")
    shared = {"loss": config.loss, "compute_dtype": config.compute_dtype, "remat": config.remat, "corruption": ""}
    methods = {}
    for name, sections in study.models.items():
        if not {"model"} <= set(sections) <= {"model", "latent"}:
            raise ConfigError(
                f"config.study.models.{name} has {sorted(sections)}; expected 'model', and perhaps 'latent'"
            )
        one = configs.from_plain(configs.to_plain({**shared, "latent": {}, "bound_samples": 0, **sections}))
        methods[name] = autoencoding.make_autoencoder(one, info)
        if methods[name].model.num_classes:
            raise ConfigError(
                f"config.study.models.{name} is conditional, and the study tells no label; remove num_classes"
            )

    def init(key: jax.Array, batch: dict) -> dict:
        image = batch["image"][:1]
        made = {name: initialise(m.model, jax.random.fold_in(key, i), image, False)[0]
                for i, (name, m) in enumerate(methods.items())}  # fmt: skip
        return {"params": made, "extra": {}}

    steps = [recipe.descend(config, info, partial(training_loss, m, name), on=name) for name, m in methods.items()]
    step = partial(evaluation_step, methods, study.steps)
    evals = recipe.evaluations(partial(Eval, step, partial(latent_space.finalised, tuple(methods))), info.sizes)
    return Task(init, chain(*steps), evals, partial(report, methods, info.class_names, info.seed))

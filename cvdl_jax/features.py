"""Features of examples, to be embedded: a layer of a restored classifier, or the pixels themselves."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax import configs, models_index
from cvdl_jax.build import Run
from cvdl_jax.data import load as data_load
from cvdl_jax.data import scaling, to_float
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.apply import apply_eval
from cvdl_jax.program import to_unit
from cvdl_jax.task import State

CHUNK = 256  # examples that pass through the model at once


def load(section: Any) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """What is to be embedded.

    Args:
        section: `config.embed`: workdir, checkpoint, layer, data, splits and limit, see `experiments/embed.py`.

    Returns:
        float32 features [n, d], int32 labels [n], names of the classes or ().

    Raises:
        ConfigError: for a run that is no classifier, and unknown layers or splits.
    """
    if section.workdir:
        from cvdl_jax import runs  # restoring needs Orbax, which pixels do not

        built, state, _ = runs.load_built(section.workdir, section.checkpoint)
        data, features_of = built.data, model_features(built, jax.device_get(state), section)
    else:
        data = configs.call(data_load.load, section.data, "config.embed.data")
        features_of = jax.jit(seen)
    missing = [name for name in section.splits if data is None or name not in data.splits]
    if missing or not section.splits:
        raise ConfigError(
            f"config.embed.splits={section.splits}: expected splits of {sorted(data.splits) if data else 'no data'}"
        )
    features, labels, room = [], [], section.limit or np.inf
    for split in (data.splits[name] for name in section.splits):
        if "label" not in split.spec or not {"image", "features"} & split.spec.keys():
            raise ConfigError(f"experiment 'embed' needs 'label' and 'image' or 'features'; {data.name} lacks them")
        size = int(min(split.size, room))
        for start in range(0, size, CHUNK):
            batch = split.batch(np.arange(start, min(start + CHUNK, size)))
            labels.append(np.asarray(batch.pop("label")))
            found = np.asarray(features_of(to_unit({name: jnp.asarray(x) for name, x in batch.items()})))
            features.append(found.reshape(len(found), -1).astype(np.float32))  # [b, d]
        room -= size
    return np.concatenate(features), np.concatenate(labels).astype(np.int32), data.class_names


def seen(batch: dict[str, jax.Array]) -> jax.Array:
    """The images or features of a batch."""
    return batch["image"] if "image" in batch else batch["features"]


def model_features(built: Run, state: State, section: Any) -> Callable[[dict[str, jax.Array]], jax.Array]:
    """`batch -> features [b, ...]`: a layer of a restored classifier, of its averaged weights where it has them."""
    if built.config.experiment != "classify":
        raise ConfigError(f"config.embed.workdir={section.workdir!r} is no run of 'classify'; name one that is")
    model = configs.call(
        models_index.create, built.config.model, "config.model",
        num_classes=built.info.num_classes, dtype=built.config.compute_dtype, remat=False,
    )  # fmt: skip
    normalise = configs.partially(
        to_float.normalise, scaling.resolved(built.config, built.data).normalise, "config.normalise", "image"
    )
    name, _, place = section.layer.partition(".")

    def features(batch: dict[str, jax.Array]) -> jax.Array:
        x = normalise(seen(batch))
        out = apply_eval(model, state, x, params=state.extra.get("ema"))[1]
        count = len(out[name]) if isinstance(out.get(name), tuple) else 0
        known = [f"{k}.{i}" for k, v in out.items() if isinstance(v, tuple) for i in range(len(v))]
        known += [k for k, v in out.items() if isinstance(v, jax.Array)]
        if section.layer not in known:
            raise ConfigError(f"config.embed.layer={section.layer!r} is not one of {', '.join(known)}")
        return out[name][int(place)] if count else out[name]

    return jax.jit(features)

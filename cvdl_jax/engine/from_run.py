"""What one run takes from another that has been trained: its weights, its features, its judgement.

    config.init_from = "runs/source"                     # load_weights: what fits is loaded, and what was not is said
    config.embed = {"workdir": "runs/source", ...}       # load_features: a layer of a classifier, for every example
    config.judge = {"workdir": "runs/source", ...}       # load_judge: a classifier that judges generated images

This is the one module of the engine that knows what a classifier is: what it loads is a model of `config.model` behind
`config.normalise`, as the experiment "classify" trains it, or a task that predicts "scores" from "image".
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.core.trees import path_name
from cvdl_jax.data import load as data_load
from cvdl_jax.data import pixels
from cvdl_jax.engine import runs
from cvdl_jax.engine.build import Run
from cvdl_jax.engine.program import to_unit
from cvdl_jax.errors import CheckpointError, ConfigError
from cvdl_jax.metrics.generation import Judge
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval
from cvdl_jax.optim.ema import AVERAGES, restart_averages
from cvdl_jax.optim.optimizer import averaged_params
from cvdl_jax.workdir.checkpoint import read_step

PARTS = ("params", "extra")  # of a state that are loaded; optimizer states and step counts begin anew
CHUNK = 256  # examples that pass through the model at once

# Weights --------------------------------------------------------------------------------------------------------------


def find(source: str) -> Path:
    """The checkpoint that `config.init_from` names.

    Raises:
        CheckpointError: naming the key.
    """
    try:
        return runs.checkpoint_path(Path(source))
    except CheckpointError as error:
        raise CheckpointError(f"config.init_from={source!r}: {error}") from error


def load_weights(source: str, state: State) -> tuple[State, str]:
    """Replaces the parameters, statistics and averages that the source has under the same name and shape.

    Args:
        source: a workdir (its selected step is taken) or a folder `checkpoints/<step>`.
        state: freshly created.

    Returns:
        (state, a report of what was loaded, skipped and left as initialised).

    Raises:
        CheckpointError: if there is no such checkpoint, or not one parameter fits.
    """
    path = find(source)
    saved = read_step(path)["state"]
    theirs = {
        path_name(p): x for part in PARTS for p, x in jax.tree_util.tree_leaves_with_path({part: saved.get(part, {})})
    }
    loaded, anew = [], []

    def choose(key_path: Any, x: jax.Array) -> jax.Array:
        name = path_name(key_path)
        if name.startswith("extra/feedback"):
            return x
        if name in theirs and theirs[name].shape == x.shape:
            loaded.append(name)
            return jax.device_put(theirs[name].astype(x.dtype), x.sharding)
        anew.append(f"{name} {tuple(x.shape)}" + (f", {tuple(theirs[name].shape)} there" if name in theirs else ""))
        return x

    chosen = jax.tree_util.tree_map_with_path(choose, {part: getattr(state, part) for part in PARTS})
    skipped = sorted(set(theirs) - set(loaded) - {name for name in theirs if name.startswith("extra/feedback")})
    if not any(name.startswith("params/") for name in loaded):
        raise CheckpointError(
            f"config.init_from={source!r}: none of its parameters fits this model (they are called "
            f"{', '.join(sorted(theirs)[:3])} ...); choose a checkpoint of the same architecture"
        )
    state = state._replace(**chosen)
    fresh = tuple(key for key in AVERAGES if key in state.extra and key not in saved.get("extra", {}))
    if fresh:  # not the average of what was just replaced
        state = restart_averages(state, fresh)
        anew = [line for line in anew if not line.startswith(tuple(f"extra/{key}/" for key in fresh))]
    return state, _report(path, loaded, skipped, anew)


def _report(path: Path, loaded: list[str], skipped: list[str], anew: list[str]) -> str:
    lines = [f"initialised from {path}: {len(loaded)} arrays loaded"]
    if skipped:
        lines.append(
            f"  {len(skipped)} of the checkpoint not used: {', '.join(skipped[:6])}{' ...' if len(skipped) > 6 else ''}"
        )
    if anew:
        lines.append(f"  {len(anew)} left as initialised: {', '.join(anew[:6])}{' ...' if len(anew) > 6 else ''}")
    return "\n".join(lines)


# Features -------------------------------------------------------------------------------------------------------------


def load_features(section: Any) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """What is to be embedded: a layer of a restored classifier for every example, or the pixels themselves.

    Args:
        section: `config.embed`: workdir, checkpoint, layer, data, splits and limit, see `experiments/embed.py`.

    Returns:
        float32 features [n, d], int32 labels [n], names of the classes or ().

    Raises:
        ConfigError: for a run that is no classifier, and unknown layers or splits.
    """
    if section.workdir:
        built, state, _ = runs.load_built(section.workdir, section.checkpoint, with_data=True)
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
            part = np.asarray(features_of(to_unit({name: jnp.asarray(x) for name, x in batch.items()})))
            features.append(part.reshape(len(part), -1).astype(np.float32))  # [b, d]
        room -= size
    return np.concatenate(features), np.concatenate(labels).astype(np.int32), data.class_names


def seen(batch: dict[str, jax.Array]) -> jax.Array:
    """The images or features of a batch."""
    return batch["image"] if "image" in batch else batch["features"]


def classifies(built: Run, state: State) -> bool:
    """Whether a run predicts one score for each class of whole examples; nothing is computed."""
    classes, predict = built.info.num_classes, built.task.predict
    if predict is None or classes is None:
        return False
    predicted = jax.eval_shape(predict, state, built.info.spec)
    return "scores" in predicted and predicted["scores"].shape == (built.info.batch_size, classes)


def example_batch(built: Run, n: int = 4) -> dict[str, jax.Array]:
    """The first examples of the training split of a run, as its task sees them."""
    split = built.data.splits["train"]
    stored = split.batch(np.arange(min(n, split.size)))
    return to_unit({name: jnp.asarray(x) for name, x in stored.items()})


def model_features(built: Run, state: State, section: Any) -> Callable[[dict[str, jax.Array]], jax.Array]:
    """`batch -> features [b, ...]`: a layer of a restored classifier, of its averaged weights where it has them.

    Raises:
        ConfigError: for a run that is no classifier, or whose predictions are not those of `config.model` on its
            normalised inputs, so that the layers would see something else than they were trained on.
    """
    if not classifies(built, state):
        raise ConfigError(f"config.embed.workdir={section.workdir!r} is not the run of a classifier; name one that is")
    model = registry.create(
        built.config.model, "config.model", kinds=("backbones",),
        num_classes=built.info.num_classes, dtype=built.config.compute_dtype,
    )  # fmt: skip
    normalise = configs.partially(pixels.normalise, built.fitted.normalise, "config.normalise", "image")
    name, _, place = section.layer.partition(".")
    params = state.extra.get("ema")
    if params is None:
        params = averaged_params(state.opt.get("model"), state.params)  # of a schedule-free optimizer

    def outputs(batch: dict[str, jax.Array]) -> tuple[jax.Array, dict[str, Any]]:
        return apply_eval(model, state, normalise(seen(batch)), params=params)

    if not built.config.test_time:  # else the run predicts the mean over several views
        both = jax.jit(lambda batch: (outputs(batch)[0], built.task.predict(state, batch)["scores"]))
        if not np.allclose(*both(example_batch(built)), rtol=1e-3, atol=1e-3):
            raise ConfigError(
                f"config.embed.workdir={section.workdir!r}: experiment {built.config.experiment!r} does not predict "
                "what config.model gives for its normalised inputs, so its layers cannot be read; name another run"
            )

    def features(batch: dict[str, jax.Array]) -> jax.Array:
        out = outputs(batch)[1]
        count = len(out[name]) if isinstance(out.get(name), tuple) else 0
        known = [f"{k}.{i}" for k, v in out.items() if isinstance(v, tuple) for i in range(len(v))]
        known += [k for k, v in out.items() if isinstance(v, jax.Array)]
        if section.layer not in known:
            raise ConfigError(f"config.embed.layer={section.layer!r} is not one of {', '.join(known)}")
        return out[name][int(place)] if count else out[name]

    return jax.jit(features)


# Judgement ------------------------------------------------------------------------------------------------------------


def load_judge(workdir: str, channels: int, samples: int = 1000, checkpoint: str = "best") -> Judge:
    """The classifier of a finished run as the judge of generated images.

    Args:
        workdir: of a run of a classification experiment.
        channels: of the images to be judged.
        samples: how many samples it is shown.
        checkpoint: "best", "latest" or a step.

    Returns:
        A Judge whose weights are constants of whatever function calls it.

    Raises:
        ConfigError: for a run that does not classify images of as many channels, or fewer than one sample.
        UserError: if the folder holds no run.
    """
    if samples < 1:
        raise ConfigError(f"config.judge.samples={samples} must be at least 1")
    built, state, _ = runs.load_built(workdir, checkpoint)
    predict = built.task.predict
    if not classifies(built, state) or "image" not in built.info.spec:
        raise ConfigError(
            f"config.judge.workdir={workdir!r} is a run that does not classify images; name one that does"
        )
    height, width, made_for = built.info.spec["image"].shape[1:]
    if made_for != channels:
        raise ConfigError(
            f"config.judge.workdir={workdir!r} judges images with {made_for} channels, the samples have {channels}"
        )
    state = jax.device_get(state)

    def probabilities(images: jax.Array) -> jax.Array:
        # the same bilinear weights as Pillow's, with which the judge's own images were resized
        sized = jax.image.resize(images, (images.shape[0], height, width, channels), "bilinear")
        return jax.nn.softmax(predict(state, {"image": jnp.clip(sized, 0, 1)})["scores"], -1)

    return Judge(probabilities, samples)

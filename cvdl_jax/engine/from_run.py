"""What one run takes from another that has been trained: its weights, its features, its judgement.

config.init_from = "runs/source"                     # load_weights: what fits is loaded, and what was not is said
config.embed = {"workdir": "runs/source", ...}       # load_features: a layer of a classifier, for every example
config.judge = {"workdir": "runs/source", ...}       # load_judge: a classifier that judges generated images
config.autoencoder = {"workdir": "runs/source", ...} # load_autoencoder: a space for diffusion
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Size
from cvdl_jax.core.task import Eval, State
from cvdl_jax.core.trees import path_name
from cvdl_jax.data import load as data_load
from cvdl_jax.data import pixels
from cvdl_jax.engine import judges, runs
from cvdl_jax.engine.build import Run
from cvdl_jax.engine.program import to_unit
from cvdl_jax.errors import CheckpointError, ConfigError
from cvdl_jax.metrics import generation
from cvdl_jax.metrics.generation import Judge
from cvdl_jax.models import momentum, pretrained, registry, tensor_files
from cvdl_jax.nn.apply import apply_eval
from cvdl_jax.optim.ema import AVERAGES, averaged, restart_averages
from cvdl_jax.workdir.checkpoint import read_step

PARTS = ("params", "extra")  # of a state that are loaded; optimizer states and step counts begin anew
KEPT = tuple(f"extra/{name}" for name in (  # of the run that begins: its data, networks that it names, what it fits
    "feedback", "teacher/params/", "teacher/batch_stats/", "encoder/", "autoencoder/", "scale", "target/image",
    "target/label", "target_test/", "probe/", "thresholds/",
))  # fmt: skip
LEAST = 0.5  # share of the parameters that a source has to fill, where config.init.least does not say
CHUNK = 256  # examples that pass through the model at once

# Weights --------------------------------------------------------------------------------------------------------------


def find(source: str) -> Path:
    """The checkpoint, or the file of weights, that `config.init_from` names.

    Raises:
        CheckpointError, DataError: naming the key.
    """
    if tensor_files.is_named(source):
        path = Path(source).expanduser()
        if not path.is_file():
            raise CheckpointError(f"config.init_from={source!r}: no such file; name one, or the workdir of a run")
        return path
    try:
        return runs.checkpoint_path(Path(source))
    except CheckpointError as error:
        raise CheckpointError(f"config.init_from={source!r}: {error}") from error


class Source(NamedTuple):
    """What `config.init_from` holds.

    Attributes:
        path: of the checkpoint or the file.
        arrays: {"params/head/bias", "extra/batch_stats/norm0/mean" ...: array}.
        averaged: which of the averages of `optim/ema.py` it has.
        unused: their names of what has no place in our models.
        about: what else to say of it.
    """

    path: Path
    arrays: dict[str, np.ndarray]
    averaged: frozenset[str]
    unused: tuple[str, ...] = ()
    about: str = ""


def open_source(source: str, config: Any) -> Source:
    """The arrays that `config.init_from` names, by our names.

    Args:
        source: see `load_weights`.
        config: of the run that takes them, fitted.

    Raises:
        CheckpointError, ConfigError, DataError: naming the file and what to type.
    """
    path = find(source)
    if path.is_dir():
        saved = read_step(path)["state"]
        leaves = {part: saved.get(part, {}) for part in PARTS}
        arrays = {path_name(p): x for p, x in jax.tree_util.tree_leaves_with_path(leaves)}
        return Source(path, arrays, frozenset(saved.get("extra", {})))
    file = tensor_files.read(path)
    pretrained.check_preprocessing(file.metadata, config.normalise, source)
    named = pretrained.imported(file.tensors, config.model)
    arrays = {f"extra/{name}" if name.startswith("batch_stats/") else name: x for name, x in named.arrays.items()}
    return Source(path, arrays, frozenset(), named.unknown, f" (sha256 {file.sha256})")


def chosen(arrays: dict[str, np.ndarray], rules: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays that `config.init` asks for, under the names that it gives them.

    Args:
        arrays: by our names.
        rules: include and exclude, regular expressions that are looked for in the names after renaming; rename, pairs
            (regular expression, replacement), applied in order.

    Raises:
        ConfigError: for an expression that is none, names that become equal, or rules that leave nothing.
    """
    try:
        renamed: dict[str, np.ndarray] = {}
        for name, x in arrays.items():
            for pattern, new in rules.get("rename", ()):
                name = re.sub(pattern, new, name)
            if name in renamed:
                raise ConfigError(f"config.init.rename={rules['rename']}: two arrays would be called {name!r}")
            renamed[name] = x
        include, exclude = re.compile(rules.get("include", "")), rules.get("exclude", "")
        kept = {n: x for n, x in renamed.items() if include.search(n) and not (exclude and re.search(exclude, n))}
    except re.error as error:
        raise ConfigError(f"config.init={dict(rules)} {error.pattern!r} is no regular expression: {error}") from error
    if not kept:
        raise ConfigError(f"config.init={dict(rules)} leaves none of {len(arrays)} arrays, such as {min(arrays)!r}")
    return kept


def load_weights(source: str, state: State, config: Any) -> tuple[State, str]:
    """Replaces the parameters, statistics and averages that the source has under the same name and shape.

    First kernels of other channels, and positions of another grid, are adapted (`models/pretrained.py`).

    Args:
        source: a workdir (its selected step is taken), a folder `checkpoints/<step>`, or a file of weights by our names
            or those of torchvision and timm.
        state: freshly created.
        config: of the run, fitted: its model, normalisation and `init`.

    Returns:
        (state, a report of what was loaded, skipped and left as initialised).

    Raises:
        CheckpointError: if there is no such checkpoint, or too small a share of the parameters fits.
        ConfigError, DataError: see `open_source` and `chosen`.
    """
    opened = open_source(source, config)
    theirs = chosen(opened.arrays, config.init) if config.init else opened.arrays
    loaded, adapted, anew, counts = [], [], [], {True: 0, False: 0}

    def choose(key_path: Any, x: jax.Array) -> jax.Array:
        name = path_name(key_path)
        if name.startswith(KEPT):
            return x
        value = theirs.get(name)
        if value is not None and value.shape != x.shape:
            value = pretrained.fitted(name, np.asarray(value), x.shape)
            adapted.extend([f"{name} {tuple(x.shape)} of {tuple(theirs[name].shape)}"] if value is not None else [])
        counts[value is not None] += x.size if name.startswith("params/") else 0
        if value is not None:
            loaded.append(name)
            return jax.device_put(value.astype(x.dtype), x.sharding)
        anew.append(f"{name} {tuple(x.shape)}" + (f", {tuple(theirs[name].shape)} there" if name in theirs else ""))
        return x

    new = jax.tree_util.tree_map_with_path(choose, {part: getattr(state, part) for part in PARTS})
    skipped = sorted(set(theirs) - set(loaded) - {name for name in theirs if name.startswith(KEPT)})
    _check_share(source, counts, config.init.get("least", LEAST), theirs)
    state = state._replace(**new)
    fresh = tuple(key for key in AVERAGES if key in state.extra and key not in opened.averaged)
    if fresh:  # not the average of what was just replaced
        state = restart_averages(state, fresh)
        anew = [line for line in anew if not line.startswith(tuple(f"extra/{key}/" for key in fresh))]
    state, loaded, anew = momentum.completed(state, loaded, anew)
    return state, _report(opened, loaded, [*skipped, *opened.unused], anew, adapted)


def _check_share(source: str, counts: dict[bool, int], least: float, theirs: Mapping[str, Any]) -> None:
    """Refuses a source of which too little fits: one bias of another network is no initialisation."""
    share = counts[True] / max(counts[True] + counts[False], 1)
    if counts[True] and share >= least:
        return
    fits = f"{share:.2%} of this model's parameters" if counts[True] else "none of its parameters"
    raise CheckpointError(
        f"config.init_from={source!r}: {fits} fits{' this model' if not counts[True] else ''} (they are called "
        f"{', '.join(sorted(theirs)[:3])} ...); choose a checkpoint of the same architecture"
        + (f", or allow it: --config.init.least={share:.2g}" if counts[True] else "")
    )


def _report(opened: Source, loaded: list[str], skipped: list[str], anew: list[str], adapted: list[str]) -> str:
    path = opened.path.relative_to(Path.cwd()) if opened.path.is_relative_to(Path.cwd()) else opened.path
    lines = [f"initialised from {path}{opened.about}: {len(loaded)} arrays loaded"]
    for names, what in (
        (adapted, "of them adapted"), (skipped, "of the checkpoint not used"), (anew, "left as initialised"),
    ):  # fmt: skip
        if names:
            lines.append(f"  {len(names)} {what}: {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}")
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
        built, state, _ = runs.load_evaluated(section.workdir, section.checkpoint, with_data=True)
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
    for split in (data.splits[name].for_evaluation() for name in section.splits):
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


def model_features(
    built: Run, state: State, section: Any, path: str = "config.embed"
) -> Callable[[dict[str, jax.Array]], jax.Array]:
    """`batch -> features [b, ...]`: a layer of a restored classifier, of its averaged weights where it has them.

    Args:
        built: of `runs.load_built`.
        state: of the same; its weights may be others.
        section: names `workdir`, for messages, and the `layer`, such as "stages.1" or "pre_logits".
        path: of the section, for messages.

    Raises:
        ConfigError: for a run that is no classifier, or whose predictions are not those of `config.model` on its
            normalised inputs, so that the layers would see something else than they were trained on.
    """
    if not classifies(built, state):
        raise ConfigError(f"{path}.workdir={section.workdir!r} is not the run of a classifier; name one that is")
    model = registry.create(
        built.config.model, "config.model", kinds=("backbones",),
        num_classes=built.info.num_classes, dtype=built.config.compute_dtype,
    )  # fmt: skip
    normalise = configs.partially(pixels.normalise, built.fitted.normalise, "config.normalise", "image")
    evaluated = averaged(state)

    def outputs(batch: dict[str, jax.Array]) -> tuple[jax.Array, dict[str, Any]]:
        return apply_eval(model, evaluated, normalise(seen(batch)))

    if not built.config.test_time:  # else the run predicts the mean over several views
        both = jax.jit(lambda batch: (outputs(batch)[0], built.task.predict(state, batch)["scores"]))
        if not np.allclose(*both(example_batch(built)), rtol=1e-3, atol=1e-3):
            raise ConfigError(
                f"{path}.workdir={section.workdir!r}: experiment {built.config.experiment!r} does not predict "
                "what config.model gives for its normalised inputs, so its layers cannot be read; name another run"
            )

    return jax.jit(lambda batch: judges.layer_of(outputs(batch)[1], section.layer, path))


# Judgement ------------------------------------------------------------------------------------------------------------


def judgements(
    config: Any, info: Any, sampler: Callable, final: bool = False, labels: int = 0, walk: Any = None
) -> dict[str, Eval]:
    """What is asked of samples once: their nearest training images, and what `config.judge` says.

    Args:
        config: of the run; `judge` has the arguments of `load_judge`, or is empty.
        info: likewise.
        sampler: `(state, key, n) -> images`.
        final: the judge speaks only once, at the end, where samples are dear.
        labels: classes that the sampler is told; 0 for none.
        walk: the first two arguments of `generation.walked`; None for no walk.

    Returns:
        {"samples": see `judges.nearest_training`; with a judge "judge": of samples; "distance" and "walk": by features
        of `judge.layer`, if it names some; "real": of test images, if the sampler is told labels}.
    """
    evals = {"samples": judges.nearest_training(sampler, config, rows := config.eval_batch_size or config.batch_size)}
    if not config.get("judge"):
        return evals
    jury = configs.call(load_judge, config.judge, "config.judge", channels=info.spec["image"].shape[-1])
    evals["judge"] = generation.judged(sampler, jury, rows, labels)._replace(final=final)
    if labels and "test" in info.sizes:
        evals["real"] = generation.judged_images(jury, "test")
    if jury.features:
        if "test" not in info.sizes:
            raise ConfigError("config.judge.layer compares samples with test images; set config.data.test")
        walks = {"walk": generation.walked(*walk, jury, rows)} if walk else {}
        evals |= {"distance": generation.featured(sampler, jury, "test"), **walks}
    return evals


def load_judge(
    workdir: str = "",
    *,
    channels: int,
    samples: Size = 1000,
    checkpoint: str = "best",
    layer: str = "",
    file: str = "",
    sha256: str = "",
) -> Judge:
    """The classifier of a finished run, or of a file, as the judge of generated images.

    Args:
        workdir: of a run of a classification experiment; "" where there is a file.
        channels: of the images to be judged.
        samples: how many samples it is shown.
        checkpoint: "best", "latest" or a step.
        layer: of which features are taken for distances, such as "pre_logits"; "" for none.
        file: of weights that `--mode export` wrote, or the name of one of ours, see `classifiers.py`.
        sha256: the digest that the file must have.

    Returns:
        A Judge whose weights are constants of whatever function calls it.

    Raises:
        ConfigError: for a run that does not classify images of as many channels, or fewer than one sample.
        UserError: if the folder holds no run.
    """
    if bool(workdir) == bool(file):
        what = f"={workdir!r} stands beside config.judge.file={file!r}" if file else " is missing"
        raise ConfigError(f"config.judge.workdir{what}; name the run of a classifier, or a file of one, and not both")
    configs.check_value(samples, Size, "config.judge.samples")
    if file:
        if checkpoint != "best":
            raise ConfigError(f"config.judge.checkpoint={checkpoint!r} is of a run, and the judge is a file; remove it")
        return judges.from_file(file, sha256, channels, samples, layer)
    if sha256:
        raise ConfigError("config.judge.sha256 is the digest of a file; set config.judge.file, or remove it")
    built, state, _ = runs.load_evaluated(workdir, checkpoint, with_data=bool(layer))
    if not classifies(built, state) or "image" not in built.info.spec:
        raise ConfigError(f"config.judge.workdir={workdir!r} is a run that does not classify images; name another")
    height, width, made_for = built.info.spec["image"].shape[1:]
    if made_for != channels:
        raise ConfigError(
            f"config.judge.workdir={workdir!r} judges images with {made_for} channels, the samples have {channels}"
        )
    predict, state = built.task.predict, jax.device_get(state)

    def as_its_own(images: jax.Array) -> dict[str, jax.Array]:
        return {"image": judges.sized(images, (height, width, channels))}

    def probabilities(images: jax.Array) -> jax.Array:
        return jax.nn.softmax(predict(state, as_its_own(images))["scores"], -1)

    if not layer:
        return Judge(probabilities, samples)
    of_layer = model_features(built, state, SimpleNamespace(workdir=workdir, layer=layer), "config.judge")
    weights = b"".join(np.ascontiguousarray(x).tobytes() for x in jax.tree.leaves(averaged(state).params))
    name = f"{layer}_{hashlib.sha256(weights).hexdigest()[:8]}"
    return Judge(probabilities, samples, lambda images: of_layer(as_its_own(images)).reshape(len(images), -1), name)

"""A trained classifier of images and examples to measure it on, for studies of what it does under other conditions.

Without the folder of a run, the classifier is a linear one that is fitted to the scanned digits by least squares on the
spot, so that every such study runs by itself.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.logits import Logits, in_batches
from cvdl_jax.data import catalogue
from cvdl_jax.data import load as data_load
from cvdl_jax.data.load import Data
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.data.split import Split
from cvdl_jax.engine import external, from_run, kept, runs
from cvdl_jax.errors import ConfigError, DataError, nearest
from cvdl_jax.workdir import test_set_ledger

CHUNK = 512  # examples that are read at a time
RIDGE, SHARPNESS = 1e-2, 10.0  # of the linear classifier: added to the diagonal; logits per unit of the regression


class Trained(NamedTuple):
    """A classifier of images.

    Attributes:
        logits_fn: images in 0..1 -> scores.
        features: (images, name of a layer) -> float [n, d].
        data: of its run.
        workdir: of its run; "" for the linear one.
        look: name of a split -> what the count of looks at it is told; None where looks are not counted.
    """

    logits_fn: Logits
    features: Callable[[Any, str], np.ndarray]
    data: Data
    workdir: str
    look: Callable[[str], Any]


def classifier(workdir: str, path: str = "config.study") -> Trained:
    """The selected checkpoint of a run, or the linear classifier of digits for "".

    Args:
        workdir: of the run of a classifier of images.
        path: of the section that names it, for messages.

    Raises:
        ConfigError, DataError, CheckpointError: for another kind of run, or data that are not there.
    """
    if not workdir:
        return linear_of_digits()
    built, state, step = runs.load_built(workdir, with_data=True)
    if "image" not in built.info.spec or built.data is None or "train" not in built.data.splits:
        raise ConfigError(f"{path}.workdir={workdir!r} is not the run of a classifier of images; name one that is")
    if built.config.batch_stats == "exact":
        state = kept.with_statistics(workdir, state, step)
        if state is None:
            raise ConfigError(
                f"{path}.workdir={workdir!r} did not keep the exact statistics of step {step}; name another"
            )
    logits_fn = runs.logits_of(built, state)

    def features(images: Any, layer: str) -> np.ndarray:
        section = SimpleNamespace(workdir=workdir, layer=layer)
        of_batch = from_run.model_features(built, state, section, path)
        return _flat(in_batches(lambda x: of_batch({"image": x}), logits_fn.batch_size, jnp.asarray(images)))

    def look(split: str) -> Any:
        final = split in built.task.evals and built.task.evals[split].final
        return test_set_ledger.look(built.config, split, step, "auto") if final else None

    return Trained(logits_fn, features, built.data, workdir, look)


def linear_of_digits() -> Trained:
    """Least squares from the pixels of the 8x8 digits, and 1, to their classes as one-hot vectors."""
    data = data_load.load("digits", train="train", validation="validation", test="test")
    x, label = of_split(data.splits["train"])
    w = np.linalg.solve(_pixels(x).T @ _pixels(x) + RIDGE * np.eye(65), _pixels(x).T @ np.eye(10)[label])
    w = jnp.asarray(SHARPNESS * w, jnp.float32)
    logits_fn = Logits(
        lambda x: x.reshape(len(x), -1) @ w[:-1] + w[-1:], CHUNK, x.shape[1:], class_names=data.class_names
    )

    def features(images: Any, layer: str) -> np.ndarray:
        if layer != "pre_logits":
            raise ConfigError(f"the linear classifier has one layer, 'pre_logits', its pixels; got {layer!r}")
        return _pixels(images)[:, :-1]

    return Trained(logits_fn, features, data, "", lambda split: None)


def examples(trained: Trained, split: str, limit: int = 0, path: str = "config.study.split") -> tuple:
    """Some examples of a split of the classifier's data, as an evaluation sees them, see `Split.some`.

    Prints it if they lack some classes.

    Args:
        trained: of `classifier`.
        split: train, validation or test.
        limit: of examples; 0 for all.
        path: of the setting, for messages.

    Returns:
        (images float32 [n, h, w, c] in 0..1, labels int [n]).

    Raises:
        ConfigError: for a split that the run does not have, or another look at a test set than its run took.
    """
    if split not in trained.data.splits:
        raise ConfigError(f"{path}={split!r} is not a split of this run; {nearest(split, trained.data.splits)}")
    look = trained.look(split)
    if look is not None:
        test_set_ledger.check(trained.workdir, look, again=False)
    images, label = of_split(trained.data.splits[split], limit)
    present, known = len(np.unique(label)) if label is not None else 0, trained.data.num_classes or 0
    if label is not None and present < known and len(label) < trained.data.splits[split].size:
        print(f"{len(label)} examples of {split!r} are of {present} of {known} classes", flush=True)
    return images, label


def record(trained: Trained, split: str, accuracy: float) -> None:
    """Counts that a test split was looked at, unless the end of the run did the same.

    Args:
        trained: of `classifier`.
        split: that `examples` gave.
        accuracy: on its examples as they are.
    """
    look = trained.look(split)
    if look is not None:
        test_set_ledger.record(trained.workdir, look, {f"{split}/accuracy": accuracy})


def outside(trained: Trained, name: str, split: str = "all", limit: int = 0, data_dir: str = "") -> np.ndarray:
    """Images of another data set, resized and converted to what the classifier was trained on.

    Args:
        trained: of `classifier`.
        name: of the data set, as in `config.data.name`.
        split: of it, in TFDS's syntax.
        limit: of examples; 0 for all.
        data_dir: the data folder.

    Returns:
        float32 [n, h, w, c] in 0..1.

    Raises:
        DataError: if the set has no images, or they cannot be made those of the classifier.
    """
    source = catalogue.open_source(name, split, data_dir)
    if "image" not in source.features:
        raise DataError(f"{name} has no images; it has {sorted(source.features)}")
    other = Split("outside", source, external.stage_as_trained(trained), {"image": source.features["image"]})
    ours, theirs = trained.data.splits["train"].spec["image"], other.spec["image"]
    if theirs.shape != ours.shape:
        raise DataError(f"{name}: images are {list(theirs.shape)}, the classifier's {list(ours.shape)}")
    return of_split(other, limit)[0]


def of_split(split: Split, limit: int = 0) -> tuple[np.ndarray, np.ndarray | None]:
    """(images float32 [n, h, w, c] in 0..1, labels int [n] or None) of `Split.some` examples of a split; 0 for all."""
    calm, rows = split.for_evaluation(), split.some(limit)
    images, labels = [], []
    for start in range(0, len(rows), CHUNK):
        batch = calm.batch(rows[start : start + CHUNK])
        images.append(np.asarray(to_unit(jnp.asarray(batch["image"])), np.float32))
        labels.append(np.asarray(batch.get("label", ())))
    return np.concatenate(images), np.concatenate(labels) if "label" in split.features else None


def _pixels(images: Any) -> np.ndarray:
    """Pixels of each image and a 1, float64 [n, d + 1]."""
    flat = _flat(images)
    return np.concatenate([flat, np.ones((len(flat), 1))], 1)


def _flat(x: Any) -> np.ndarray:
    return np.asarray(x, np.float64).reshape(len(x), -1)

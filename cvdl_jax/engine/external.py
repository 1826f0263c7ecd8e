"""An external test set: another data set's examples, prepared as a run prepares its own, for the run to be tested on.

What a model does on examples of its own set says little of what it will do elsewhere. An external set with the same
classes, made by other people or devices, tells how far it generalises; `analysis/dataset_shift.py` compares the two.
Classes and images are looked for under the names that all data sets give them, "label" and "image" (`data/schema.py`).
"""

from dataclasses import replace
from typing import Any

from cvdl_jax.data.catalogue import labelled, open_source
from cvdl_jax.data.host import HostStage
from cvdl_jax.data.load import Split
from cvdl_jax.data.sources import Source, check_disjoint
from cvdl_jax.engine.build import Run
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.workdir.test_set_ledger import EXTERNAL

NAME = EXTERNAL


def with_external(built: Run, name: str, split: str = "all", data_dir: str = "") -> Run:
    """The run with an evaluation "external" of another data set, as its own test or validation split is evaluated.

    Args:
        built: a run that evaluates a split.
        name: of the data set, as in `config.data.name`.
        split: of it, in TFDS's syntax.
        data_dir: the data folder.

    Raises:
        ConfigError: if the classes are not the run's, or the run evaluates no split.
        DataError: if the data do not exist, are the run's own, or cannot be brought into its shapes.
    """
    like = [evaluation for evaluation in built.task.evals.values() if isinstance(evaluation.data, str)]
    if built.data is None or not like or "train" not in built.data.splits:
        raise ConfigError(f"--external={name!r}: experiment {built.config.experiment!r} evaluates no split of a set")
    source, label = open_source(name, split, data_dir), built.config.data.get("label", "")
    source = labelled(source, label) if label in source.features else source
    check_classes(built, source, name)
    if source.name == built.data.name:
        for key, own in built.data.splits.items():
            check_disjoint(source.intervals, own.source.intervals, source.name, split, f"the run's {key} split")
    splits = {**built.data.splits, NAME: as_trained(built, source, NAME)}
    return built._replace(
        data=replace(built.data, splits=splits),
        task=built.task._replace(evals={**built.task.evals, NAME: like[-1]._replace(data=NAME, final=True)}),
    )


def check_classes(built: Run, source: Source, name: str) -> None:
    """Refuses a data set whose classes are not those of the run, in the same order.

    Raises:
        ConfigError: naming the first difference.
    """
    label = source.features.get("label")
    if label is None or label.num_classes is None:
        raise ConfigError(f"--external={name!r} has no class labels; name a set with the classes of {built.data.name}")
    ours, theirs = tuple(built.info.class_names), tuple(label.class_names)
    if label.num_classes != built.info.num_classes:
        raise ConfigError(
            f"--external={name!r} has {label.num_classes} classes, the run was trained on {built.info.num_classes} "
            f"of {built.data.name}; name a set with the same classes"
        )
    different = [i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]]
    if different:
        i = different[0]
        raise ConfigError(
            f"--external={name!r}: class {i} is {theirs[i]!r} there and {ours[i]!r} in {built.data.name}; name a set "
            "with the same classes in the same order"
        )


def as_trained(built: Run, source: Source, name: str) -> Split:
    """Examples of another source, resized and converted to what the run was trained on.

    Args:
        built: a run with a training split.
        source: images, or features of the same length, and labels where the run has them.
        name: of the split.

    Raises:
        DataError: naming an entry that is missing, or whose shape cannot be made the run's.
    """
    trained = built.data.splits["train"]
    missing = [key for key in trained.features if key not in source.features]
    if missing:
        raise DataError(f"{source.name} has no {missing[0]!r}, which the run reads; it has {sorted(source.features)}")
    split = Split(name, source, stage_as_trained(built), {key: source.features[key] for key in trained.features})
    for key, spec in trained.spec.items():
        theirs = split.spec[key]
        if (theirs.shape, theirs.dtype) != (spec.shape, spec.dtype):
            raise DataError(
                f"{source.name}: {key!r} is {theirs.dtype}{list(theirs.shape)}, the run was trained on "
                f"{spec.dtype}{list(spec.shape)}; name a set of the same kind"
            )
    return split


def stage_as_trained(built: Run) -> HostStage:
    """What the host does to images of another source: resized and converted to what the run was trained on."""
    trained = built.data.splits["train"]
    stage, image = trained.stage.for_evaluation(), trained.spec.get("image")
    if image is None:
        return stage
    h, w, c = image.shape
    return replace(stage, image_size=(h, w), channels=c)


def file_name(name: str) -> str:
    """The name of a data set as that of a file: `folder:/scans/b` is "folder_scans_b"."""
    return "_".join("".join(c if c.isalnum() or c in "-." else " " for c in name).split()) or "set"


def described(name: str, split: str) -> str:
    """What to call the evaluation of an external set: "external digits", "external digits test"."""
    return " ".join([NAME, name, *([split] if split != "all" else [])])


def rows_of(result: tuple[dict[str, float], dict[str, Any]], what: str) -> dict[str, Any]:
    """The per-example arrays "scores" [n, c] and "label" [n] of an evaluation.

    Raises:
        DataError: if it did not classify whole examples.
    """
    rows = result[1]
    if getattr(rows.get("scores"), "ndim", 0) != 2 or getattr(rows.get("label"), "ndim", 0) != 1:
        raise DataError(f"{what} has no scores [n, c] and labels [n]; a classifier is needed")
    return rows

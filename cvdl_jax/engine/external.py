"""An external test set: another data set's examples, prepared as a run prepares its own, for the run to be tested on.

What a model does on examples of its own set says little of what it will do elsewhere. An external set with the same
classes, made by other people or devices, tells how far it generalises; `analysis/dataset_shift.py` compares the two.
Classes are matched by name; the set may lack some, and stand in another order.
Classes and images are looked for under the names that all data sets give them, "label" and "image" (`data/schema.py`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cvdl_jax.data import captions, relabel
from cvdl_jax.data.catalogue import OF_USERS, labelled, open_source
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
        ConfigError: if the set has no classes, or the run evaluates no split.
        DataError: if the data do not exist, are the run's own, have a class that the run does not know, or cannot be
            brought into its shapes.
    """
    like = [evaluation for evaluation in built.task.evals.values() if isinstance(evaluation.data, str)]
    if built.data is None or not like or "train" not in built.data.splits:
        raise ConfigError(f"--external={name!r}: experiment {built.config.experiment!r} evaluates no split of a set")
    several, entry = built.config.data.get("label_set", ""), built.config.data.get("label", "")
    source = open_source(name, split, data_dir, label_set=several)
    source = labelled(source, entry) if entry in source.features else source
    label = source.features.get("label")
    if label is None or label.num_classes is None:
        raise ConfigError(f"--external={name!r} has no class labels; name a set with the classes of {built.data.name}")
    same_place = source.location == built.data.data_dir  # two folders may have one name
    if source.name == built.data.name and (same_place or not source.name.startswith(OF_USERS)):
        for key, own in built.data.splits.items():
            check_disjoint(source.intervals, own.source.intervals, source.name, split, f"the run's {key} split")
    splits = {**built.data.splits, NAME: as_trained(built, source, NAME)}
    say_what_is_lacking(built.info.class_names, label.class_names, name)
    return built._replace(
        data=replace(built.data, splits=splits),
        task=built.task._replace(evals={**built.task.evals, NAME: like[-1]._replace(data=NAME, final=True)}),
    )


def say_what_is_lacking(ours: Sequence[str], theirs: Sequence[str], name: str) -> None:
    """Prints which of the run's classes a set does not have, where both have names."""
    lacking = [our for our in ours if our not in theirs] if theirs else []
    if lacking:
        shown = ", ".join(lacking[:12]) + (" ..." if len(lacking) > 12 else "")
        print(
            f"--external={name!r} lacks {len(lacking)} of the run's {len(ours)} classes, of which it tells nothing: "
            f"{shown}",
            flush=True,
        )


def as_trained(built: Run, source: Source, name: str) -> Split:
    """Examples of another source, resized and converted to what the run was trained on, their classes matched by name.

    Args:
        built: a run with a training split.
        source: images, or features of the same length, and labels where the run has them.
        name: of the split.

    Raises:
        DataError: naming an entry that is missing, or whose shape cannot be made the run's, or a class that the run
            does not know.
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
    captions.look(source, split.stage.captions)
    labels = {key: feature for key, feature in trained.features.items() if feature.kind in ("label", "classes")}
    return relabel.by_name(split, labels, f"{source.split!r} of {source.name}")


def stage_as_trained(built: Run) -> HostStage:
    """What the host does to images of another source: resized and converted to what the run was trained on."""
    trained = built.data.splits["train"]
    stage, image = trained.stage.for_evaluation(), trained.spec.get("image")
    if image is None:
        return stage
    h, w, c = image.shape
    return replace(stage, image_size=(h, w), channels=c if c in (1, 3) else None)


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

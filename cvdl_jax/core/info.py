"""What an experiment is told about its data and its run, and the check that they suit classification."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from cvdl_jax.errors import ConfigError


class Info(NamedTuple):
    """Facts that `make(config, info)` may build on.

    Attributes:
        num_classes: number of classes; None where labels are not classes.
        class_names: one name per class, or ().
        spec: {name: ShapeDtypeStruct} of a batch as the task sees it, rows first; {} without data.
        sizes: {split: number of examples}.
        batch_size: rows of a global batch.
        total_steps: length of the run.
        steps_per_epoch: examples / batch size, a float: batches run across epoch borders.
        seed: the run's seed.
        vocabulary: the words of captions, or the pieces of texts, by their ids; () without either.
    """

    num_classes: int | None
    class_names: tuple[str, ...]
    spec: Mapping[str, Any]
    sizes: Mapping[str, int]
    batch_size: int
    total_steps: int
    steps_per_epoch: float
    seed: int
    vocabulary: tuple[str, ...] = ()

    def epoch(self, step: int) -> float:
        """Epochs completed after `step` steps."""
        return step / self.steps_per_epoch if math.isfinite(self.steps_per_epoch) else 0.0


def check_labelled(config: ConfigDict, info: Info) -> None:
    """Refuses a data set without inputs or class labels, which classification needs.

    Args:
        config: of the run.
        info: of its data.

    Raises:
        ConfigError: saying what is missing and what to set.
    """
    if not info.spec:
        raise ConfigError(
            f"config.data.train is missing; experiment {config.experiment!r} needs a set, such as "
            "config.data.name=digits"
        )
    if not {"image", "features"} & info.spec.keys():
        raise ConfigError(
            f"config.data.features={tuple(info.spec)}: {config.experiment!r} needs 'image' or 'features', and 'label'"
        )
    if info.num_classes is None or "label" not in info.spec:
        others = sorted(info.spec.keys() - {"image", "features"})
        raise ConfigError(
            f"config.data.name={config.data.name!r} has no class labels under the name 'label', which experiment "
            f"{config.experiment!r} needs; beside its inputs it has {', '.join(others) or 'nothing'}; where one of "
            "these is the class, name it: --config.data.label=NAME"
        )
    if info.num_classes < 2:
        raise ConfigError(
            f"config.data.name={config.data.name!r} has one class, {', '.join(info.class_names)}, and nothing to tell "
            "it from; name a set with two or more (of folder:/path, the folder that holds the class folders)"
        )

"""What a data set must have for classification."""

from ml_collections import ConfigDict

from cvdl_jax.errors import ConfigError
from cvdl_jax.info import Info


def check(config: ConfigDict, info: Info) -> None:
    """Refuses a data set without inputs or class labels.

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
        raise ConfigError(
            f"config.data.name={config.data.name!r} has no class labels; experiment {config.experiment!r} needs them"
        )

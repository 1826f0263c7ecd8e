"""Values of a config that are impossible, refused before anything heavy is imported."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from cvdl_jax.config.binding import (
    NOT_NEGATIVE,
    Count,
    Counted,
    NotNegative,
    Positive,
    Probability,
    Range,
    Share,
    Size,
    check_name,
    check_range,
    check_section,
    check_value,
    unit_of,
)
from cvdl_jax.config.defaults import DEFAULTS
from cvdl_jax.config.parsing import parse_calls, plain
from cvdl_jax.errors import ConfigError

Percent = Annotated[float, Range("between 0 and 100", lambda x: 0 < x <= 100)]
_EVERY = {
    "every_steps": Count,
    "every_epochs": Positive,
    "every_percent": Percent,
    "every_examples": Count,
}
TYPES: dict[str, Any] = {
    key: Mapping if isinstance(value, dict) else type(value) for key, value in DEFAULTS.items() if value is not None
} | {
    "seed": Annotated[int, Range("at least 0 and less than 2**32", lambda x: 0 <= x < 2**32)],
    "total_epochs": Positive | None,
    "total_steps": Counted | None,
    "total_examples": Count | None,
    "batch_size": Size,
    "eval_batch_size": Annotated[int, Range("from 0 to 1,048,576", lambda x: 0 <= x <= 2**20)],
    "class_weights": tuple[NotNegative, ...] | Literal["balanced"] | None,
    "auxiliary_weight": Positive | None,
    "steps_per_call": Annotated[int, Range("from 1 to 100,000", lambda x: 1 <= x <= 10**5)] | Literal["auto"],
    "batch_stats": Literal["running", "exact", "batch"],
    "compute_dtype": Literal["float32", "bfloat16", "float16", "float64"],
}
# Sections that the loop itself reads, so that their keys are known here.
CLOSED: dict[str, dict[str, Any]] = {
    "normalise": {"mean": tuple[float, ...], "std": tuple[Positive, ...], "fit": str, "per_image": bool},
    "ema": {"decay": Share, "warmup": bool, "statistics": bool},
    "eval": _EVERY,
    "log": _EVERY | {"tensorboard": bool, "wandb": str},
    "checkpoint": _EVERY | {"keep": Count},
    "select": {"metric": str, "mode": Literal["min", "max"]},
    "parallel": {"mode": Literal["jit", "pmap"], "fsdp": Count},
    "subgroups": {"entries": tuple[str, ...], "positive": Counted},
    "init": {"include": str, "exclude": str, "rename": tuple[tuple[str, str], ...], "least": Probability},
}
LARGEST, LARGER = 2**31, ("seed", "_examples", "_limit")  # whole numbers become int32, but for these
FLOAT32 = 3.4028234e38
_PLAIN = (int, float, str, bool, type(None))


def refuse_sections(config: Mapping[str, Any], unused: Iterable[str]) -> None:
    """Refuses sections that an experiment would not read.

    Args:
        config: of the run.
        unused: names of top-level keys.

    Raises:
        ConfigError: naming the first that is set.
    """
    for name in unused:
        if is_set(config, name):
            default = DEFAULTS.get(name, ...)
            left = "out" if default is ... else "empty" if default in ({}, "", None) else f"at {default!r}"
            raise ConfigError(f"experiment {config['experiment']!r} has no use for config.{name}; leave it {left}")


def is_set(config: Mapping[str, Any], name: str) -> bool:
    """Whether a top-level key is there and is not as `configs.base()` has it; keys of an experiment's own are."""
    return name in config and (name not in DEFAULTS or plain(config[name]) != DEFAULTS[name])


def check(config: Mapping[str, Any]) -> None:
    """Refuses a config with an impossible value or a value of a wrong type; 4.0 becomes 4 where a number is whole.

    Sections that a function takes (`model`, `data`, `optim` ...) are checked further by `call`, against its signature.

    Args:
        config: whole floats in the place of ints are replaced.

    Raises:
        ConfigError: naming the key, its value and what is allowed.
    """
    given, config = config, plain(config)
    for key, kind in TYPES.items():
        if key not in config:
            raise ConfigError(f"config.{key} is missing; begin the config with cvdl_jax.config.configs.base()")
        _check_typed(given, key, kind, f"config.{key}")
    _check_leaves(config, "config")
    for name, keys in CLOSED.items():
        for key in config[name]:
            check_name(key, keys, f"config.{name}.{key} is not a key of config.{name}")
            _check_typed(given[name], key, keys[key], f"config.{name}.{key}")
    config = plain(given)
    for name in ("log", "checkpoint", "select", "parallel"):
        for key, default in DEFAULTS[name].items():
            if key not in config[name] and not key.startswith("every_"):
                raise ConfigError(f"config.{name}.{key} is missing; its default is {default!r}")
    if config["subgroups"] and not config["subgroups"].get("entries"):
        raise ConfigError(
            f"config.subgroups={config['subgroups']} names no entry of the data set whose groups are compared; set "
            "config.subgroups.entries"
        )
    if config["init"] and not config["init_from"]:
        raise ConfigError(f"config.init={config['init']} says what is taken of config.init_from, which is empty")
    for name in ("model", "loss", "data", "optim"):
        if "name" in config[name]:
            check_value(config[name]["name"], str, f"config.{name}.name")
    check_range(config["optim"].get("lr"), NOT_NEGATIVE, "config.optim.lr")  # at once; the rest needs its function
    _check_durations(config)
    _check_sections(config)


def _check_typed(section: Any, key: str, kind: Any, path: str) -> None:
    """Checks a value, and writes 4.0 as 4 where an int is expected; ints stay ints where floats are: digests see it."""
    old = section[key]
    if kind is Mapping:
        return check_section(old, path)
    new = check_value(plain(old), kind, path)
    if isinstance(old, float) and isinstance(new, int):
        section[key] = new


def _check_leaves(value: Any, path: str) -> None:
    if isinstance(value, Mapping):
        for key, sub in value.items():
            _check_leaves(sub, f"{path}.{key}")
    elif isinstance(value, tuple | list):
        for i, sub in enumerate(value):
            _check_leaves(sub, f"{path}[{i}]")
    elif not isinstance(value, _PLAIN):
        raise ConfigError(f"{path}={value!r}: a config holds only numbers, strings, bools, None, tuples and sections")
    elif isinstance(value, float) and not abs(value) <= FLOAT32:
        raise ConfigError(f"{path}={value!r} must be a number that float32 can hold, below {FLOAT32:.3g}")
    elif (
        isinstance(value, int) and abs(value) >= LARGEST and not path.endswith(("seed", "_examples", "resident_limit"))
    ):
        raise ConfigError(f"{path}={value} is too large; whole numbers are below {LARGEST:,}")


def _check_durations(config: Mapping[str, Any]) -> None:
    if unit_of(config, "total", "config") is None:
        raise ConfigError("the length of the run is missing; set config.total_epochs or config.total_steps")
    for name in ("eval", "log", "checkpoint"):
        unit_of(config[name], "every", f"config.{name}")


def _check_sections(config: Mapping[str, Any]) -> None:
    parse_calls(config["augment"], "config.augment")
    for name, _, _ in parse_calls(config["grad"], "config.grad"):
        check_name(name, ("plain", "accumulate", "sam"), f"config.grad: there is no {name!r}")
    if config["ema"] and "decay" not in config["ema"]:
        raise ConfigError("config.ema.decay is missing; set it in [0, 1), or clear config.ema")
    mean, std = (config["normalise"].get(key, ()) for key in ("mean", "std"))
    if config["normalise"].get("per_image") and (mean or std or config["normalise"].get("fit")):
        raise ConfigError("config.normalise: per_image takes mean and std of each image; leave mean, std and fit out")
    if config["normalise"].get("fit") and (mean or std):
        raise ConfigError("config.normalise: fit computes mean and std; leave these two out, or fit")
    if len(mean) != len(std):
        raise ConfigError(f"config.normalise: mean={mean} and std={std} must be of one length")
    if config["parallel"].get("mode") == "pmap" and config["parallel"].get("fsdp", 1) > 1:
        raise ConfigError("config.parallel.fsdp needs config.parallel.mode='jit'; pmap splits no parameters")

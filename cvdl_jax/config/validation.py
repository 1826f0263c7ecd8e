"""Values of a config that are impossible, refused before anything heavy is imported."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from cvdl_jax.config.binding import UNITS, check_name, check_value, unit_of
from cvdl_jax.config.defaults import DEFAULTS
from cvdl_jax.config.parsing import parse_calls, plain
from cvdl_jax.errors import ConfigError

_EVERY = {f"every_{unit}": float for unit in UNITS}
_TYPES: dict[str, Any] = {
    key: Mapping if isinstance(value, dict) else type(value) for key, value in DEFAULTS.items() if value is not None
} | {
    "class_weights": tuple[float, ...] | Literal["balanced"] | None,
    "total_epochs": float | None,
    "total_steps": int | None,
    "total_examples": int | None,
    "steps_per_call": int | Literal["auto"],
    "batch_stats": Literal["running", "exact", "batch"],
    "compute_dtype": Literal["float32", "bfloat16", "float16", "float64"],
}
# Sections that the loop itself reads, so that their keys are known here.
_CLOSED: dict[str, dict[str, Any]] = {
    "normalise": {"mean": tuple[float, ...], "std": tuple[float, ...], "fit": str},
    "ema": {"decay": float, "warmup": bool, "statistics": bool},
    "eval": _EVERY,
    "log": _EVERY | {"tensorboard": bool, "wandb": str},
    "checkpoint": _EVERY | {"keep": int},
    "select": {"metric": str, "mode": Literal["min", "max"]},
    "parallel": {"mode": Literal["jit", "pmap"], "fsdp": int},
}
_PLAIN = (int, float, str, bool, type(None))


def refuse_sections(config: Mapping[str, Any], unused: Iterable[str]) -> None:
    """Refuses sections that an experiment would not read.

    Args:
        config: of the run.
        unused: names of top-level keys.

    Raises:
        ConfigError: naming the first that is not empty.
    """
    for name in unused:
        if config[name]:
            raise ConfigError(f"experiment {config['experiment']!r} has no use for config.{name}; leave it empty")


def check(config: Mapping[str, Any]) -> None:
    """Refuses a config with an impossible value or a value of a wrong type.

    Sections that a function takes (`model`, `data`, `optim` ...) are checked further by `call`, against its signature.

    Raises:
        ConfigError: naming the key, its value and what is allowed.
    """
    config = plain(config)
    for key, kind in _TYPES.items():
        if key not in config:
            raise ConfigError(f"config.{key} is missing; begin the config with cvdl_jax.config.configs.base()")
        check_value(config[key], kind, f"config.{key}")
    _check_leaves(config, "config")
    for name, keys in _CLOSED.items():
        for key, value in config[name].items():
            check_name(key, keys, f"config.{name}.{key} is not a key of config.{name}")
            check_value(value, keys[key], f"config.{name}.{key}")
    for name in ("log", "checkpoint", "select", "parallel"):
        for key, default in DEFAULTS[name].items():
            if key not in config[name] and not key.startswith("every_"):
                raise ConfigError(f"config.{name}.{key} is missing; its default is {default!r}")
    for name in ("model", "loss", "data", "optim"):
        if "name" in config[name]:
            check_value(config[name]["name"], str, f"config.{name}.name")
    _check_numbers(config)
    _check_durations(config)
    _check_sections(config)


def _check_leaves(value: Any, path: str) -> None:
    if isinstance(value, Mapping):
        for key, sub in value.items():
            _check_leaves(sub, f"{path}.{key}")
    elif isinstance(value, tuple | list):
        for i, sub in enumerate(value):
            _check_leaves(sub, f"{path}[{i}]")
    elif not isinstance(value, _PLAIN) or value != value:
        raise ConfigError(f"{path}={value!r}: a config holds only numbers, strings, bools, None, tuples and sections")


def _at_least(value: float, low: float, name: str) -> None:
    if not low <= value < math.inf:
        raise ConfigError(f"{name}={value} must be at least {low}")


def _check_numbers(config: Mapping[str, Any]) -> None:
    _at_least(config["seed"], 0, "config.seed")
    if config["seed"] >= 2**32:
        raise ConfigError(f"config.seed={config['seed']} must be less than 2**32")
    _at_least(config["batch_size"], 1, "config.batch_size")
    _at_least(config["eval_batch_size"], 0, "config.eval_batch_size")
    _at_least(config["parallel"].get("fsdp", 1), 1, "config.parallel.fsdp")
    _at_least(config["checkpoint"].get("keep", 1), 1, "config.checkpoint.keep")
    if config["steps_per_call"] != "auto":
        _at_least(config["steps_per_call"], 1, "config.steps_per_call")
    if isinstance(config["optim"].get("lr"), int | float):
        _at_least(config["optim"]["lr"], 0, "config.optim.lr")


def _check_durations(config: Mapping[str, Any]) -> None:
    unit = unit_of(config, "total", "config")
    if unit is None:
        raise ConfigError("the length of the run is missing; set config.total_epochs or config.total_steps")
    value = config[f"total_{unit}"]
    if unit == "percent" or not (0 < value < math.inf or (unit == "steps" and value == 0)):
        raise ConfigError(f"config.total_{unit}={value} must be positive (steps may be 0, for an analysis run)")
    for name in ("eval", "log", "checkpoint"):
        path = f"config.{name}"
        unit = unit_of(config[name], "every", path)
        if unit is None:
            continue
        value = config[name][f"every_{unit}"]
        if not 0 < value < math.inf or (unit == "percent" and value > 100):
            limit = "between 0 and 100" if unit == "percent" else "positive"
            raise ConfigError(f"{path}.every_{unit}={value} must be {limit}")
        if unit in ("steps", "examples"):
            check_value(value, int, f"{path}.every_{unit}")


def _check_sections(config: Mapping[str, Any]) -> None:
    parse_calls(config["augment"], "config.augment")
    for name, _, _ in parse_calls(config["grad"], "config.grad"):
        check_name(name, ("plain", "accumulate", "sam"), f"config.grad: there is no {name!r}")
    decay = config["ema"].get("decay", 0.0)
    if not 0 <= decay < 1:
        raise ConfigError(f"config.ema.decay={decay} must be in [0, 1)")
    if config["ema"] and "decay" not in config["ema"]:
        raise ConfigError("config.ema.decay is missing; set it in [0, 1), or clear config.ema")
    mean, std = (config["normalise"].get(key, ()) for key in ("mean", "std"))
    if config["normalise"].get("fit") and (mean or std):
        raise ConfigError("config.normalise: fit computes mean and std; leave these two out, or fit")
    if len(mean) != len(std) or min(std, default=1) <= 0:
        raise ConfigError(f"config.normalise: mean={mean} and std={std} must be of one length, std positive")
    if config["parallel"].get("mode") == "pmap" and config["parallel"].get("fsdp", 1) > 1:
        raise ConfigError("config.parallel.fsdp needs config.parallel.mode='jit'; pmap splits no parameters")

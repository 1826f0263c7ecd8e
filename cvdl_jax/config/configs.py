"""Configs: plain numbers, strings and tuples in sections. A config file fills in `base()`, the command line overrides.

    def get_config(arg=None):                                   # configs/classify/lenet5.py, shortened
        arg = configs.parse_arg(arg, data=configs.OneOf(["digits", "mnist", "cifar10"]), smoke=False)
        config = configs.base()
        datasets.classification(config, arg.data, arg.smoke, size=32)
        config.total_epochs = 20
        config.model = dict(name="lenet5")
        config.optim = dict(name="adamw", lr=2e-3, schedule=dict(name="cosine", warmup_percent=5))
        return configs.smoke(config) if arg.smoke else config

Each section becomes the keyword arguments of one function (`call`), which names a misspelt key and the nearest right
one. Durations carry their unit: `total_epochs`, `every_steps`, `warmup_percent`, `total_examples`. This file does not
import jax.
"""

import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from ml_collections import ConfigDict

from cvdl_jax.config.binding import (
    UNITS,
    bind,
    bind_calls,
    build_calls,
    call,
    check_name,
    check_section,
    check_value,
    duration,
    named,
    partially,
)
from cvdl_jax.config.defaults import DEFAULTS, LATER
from cvdl_jax.config.parsing import convert, parse_calls, plain, read
from cvdl_jax.config.places import ROOT, load_module
from cvdl_jax.config.validation import check, is_set, refuse_sections
from cvdl_jax.errors import ConfigError, nearest

__all__ = [
    "ROOT", "OneOf", "apply_overrides", "base", "bind", "bind_calls", "build_calls", "cache_folder", "call", "check",
    "check_section", "completed", "differences", "digest", "duration", "flat", "from_plain", "is_set", "load",
    "load_module", "named", "parse_arg", "parse_calls", "partially", "refuse_sections", "smoke", "to_plain",
]  # fmt: skip
_DURATION = re.compile(rf"(.+)_({'|'.join(UNITS)})")


def base(**own: Any) -> ConfigDict:
    """Every key that the loop knows, with its default; a key that is not in it cannot be set at the top level.

    Args:
        **own: further top-level keys of one kind of experiment, such as `critic_steps=5`.

    Returns:
        A ConfigDict. A section that is an empty dict is switched off.
    """
    config = ConfigDict({**DEFAULTS, **own}, type_safe=False)  # types are checked by `check` and `call`, with our words
    return _lock(config)


def _lock(config: ConfigDict) -> ConfigDict:
    """Closes the top level to new keys; sections stay open, the functions they are passed to check them."""
    config.lock()
    for value in config.values():
        if isinstance(value, ConfigDict):
            value.unlock()
    return config


class OneOf(tuple):
    """The words that an argument of a config file chooses among; the first is the default."""


def parse_arg(arg: str | None, **defaults: Any) -> ConfigDict:
    """Reads what follows the colon of `--config file.py:depth=56,smoke`.

    Args:
        arg: "name=value" parts separated by commas; a bool's name alone means True. None or "" for the defaults.
        **defaults: every allowed argument; its type is the type of the default, or `OneOf` names the possible words.

    Returns:
        A ConfigDict of all the arguments.

    Raises:
        ConfigError: naming the argument, the value and the expected type or words.
    """
    choices = {name: words for name, words in defaults.items() if isinstance(words, OneOf)}
    defaults |= {name: words[0] for name, words in choices.items()}
    values, seen = dict(defaults), set()
    for part in filter(None, (p.strip() for p in re.split(r",(?![^(\[]*[)\]])", arg or ""))):
        name, given, text = (s.strip() for s in part.partition("="))
        what = f"config argument {name!r}"
        check_name(name, defaults, f"{what} is not known")
        if name in seen:
            raise ConfigError(f"{what} is given twice")
        seen.add(name)
        if not given and not isinstance(defaults[name], bool):
            expected = type(defaults[name]).__name__
            raise ConfigError(f"{what} needs a value of type {expected}, as in {name}={defaults[name]}")
        values[name] = convert(defaults[name], text, name) if given else True
        if name in choices:
            check_value(values[name], Literal[tuple(choices[name])], f"config argument {name}")
    return ConfigDict(values, type_safe=False)


def apply_overrides(config: ConfigDict, overrides: Iterable[str]) -> ConfigDict:
    """Sets "config.optim.lr=0.1" and the like, in place; leading dashes are allowed.

    A duration replaces its present unit: with `total_epochs` in the config, "config.total_steps=5" leaves steps only.

    Args:
        config: of `base()`.
        overrides: values are Python literals (else strings), checked against the type of the present value. A key that
            a section lacks is added, and checked by the function which takes the section.

    Returns:
        The config.

    Raises:
        ConfigError: for a form, key or type that is not possible.

    Warns:
        UserWarning: for two overrides of one key or duration; the last one wins.
    """
    seen: dict[str, str] = {}
    for override in overrides:
        key, given, text = override.lstrip("-").partition("=")
        parts = key.split(".")
        if not given or len(parts) < 2 or parts[0] != "config" or not all(parts):
            raise ConfigError(f"cannot read {override!r}; write --config.KEY=VALUE, for example --config.optim.lr=0.1")
        _set(config, parts[1:], text, override, seen)
    return config


def _dotted(error: ValueError, where: Any) -> ConfigError | None:
    """What to write instead of a key with a dot in it, which ConfigDict refuses."""
    if "dots in field names" not in str(error):
        return None
    return ConfigError(f"{where}: a key may hold no dot; write regular expressions as pairs, (('head/.*', 2.0), ...)")


def _set(config: ConfigDict, parts: list[str], text: str, override: str, seen: dict[str, str]) -> None:
    section, leaf, path = config, parts[-1], "config"
    check_name(parts[0], config.keys(), f"config.{parts[0]} is not a key of the config")
    for part in parts[:-1]:
        path = f"{path}.{part}"
        if section.get(part) is None:
            section[part] = ConfigDict(type_safe=False)
        section = section[part]
        if not isinstance(section, ConfigDict):
            raise ConfigError(f"{path}={section!r} is a value, not a section; it has no {leaf!r}")
    is_duration = _DURATION.fullmatch(leaf)
    what = f"{path}.{is_duration[1]}_" if is_duration else f"{path}.{leaf}"
    if what in seen:
        warnings.warn(
            f"{override!r} replaces {seen[what]!r}: they set the same thing, and the last one wins", stacklevel=3
        )
    seen[what] = override
    old, name = section.get(leaf), f"{path}.{leaf}"
    if name == "config.steps_per_call":  # a word or a number
        section[leaf] = read(text)
    elif is_duration:
        section[leaf] = check_value(read(text), int if is_duration[2] in ("steps", "examples") else int | float, name)
    else:
        try:
            section[leaf] = convert(old, text, name)
        except ValueError as error:
            raise (_dotted(error, name) or error) from None
    if is_duration:
        for other in (f"{is_duration[1]}_{unit}" for unit in UNITS):
            if other != leaf and other in section:
                if section is config:
                    config[other] = None
                else:
                    del section[other]


def load(spec: str, overrides: Iterable[str] = ()) -> ConfigDict:
    """The config of a file, with its arguments and overrides applied, checked.

    Args:
        spec: "configs/classify/lenet5.py" or "configs/classify/lenet5.py:data=mnist,smoke"; relative to the working
            directory, else to the root of the repository.
        overrides: see `apply_overrides`.

    Returns:
        A ConfigDict; lists in it have become tuples, so that it equals itself after a round trip through JSON.

    Raises:
        ConfigError: for a missing file, a file without `get_config`, or anything wrong in the config.
    """
    file, given, arg = spec.partition(":")
    path = _find(file)
    module = load_module(path)
    if not hasattr(module, "get_config"):
        raise ConfigError(f"{path} defines no get_config(arg=None); see another file in configs/ for the form")
    try:
        config = module.get_config(arg) if given else module.get_config()
    except ValueError as error:
        raise (_dotted(error, path) or error) from None
    except (AttributeError, KeyError) as error:
        closed = re.match(r'.?Key "(.+)" does not exist and cannot be added', str(error))  # a locked ConfigDict
        if not closed:
            raise
        raise ConfigError(f"{path}: config.{closed[1]} is not a key; {nearest(closed[1], DEFAULTS)}") from error
    if not isinstance(config, ConfigDict) or DEFAULTS.keys() - config.keys():
        raise ConfigError(f"{path}: get_config must return a config that began as cvdl_jax.config.configs.base()")
    config = from_plain(apply_overrides(config, overrides))
    check(config)
    return config


def _find(file: str) -> Path:
    for path in (Path(file).expanduser(), ROOT / file):
        if path.is_file():
            return path.resolve()
    raise ConfigError(f"there is no config file {file!r}; {_nearest_file(file)}")


def _nearest_file(file: str) -> str:
    """The hint for a config file that does not exist.

    A path that ends in mnist/lenet5.py names data and a method, as the run folder mnist_lenet5 does, and docstrings of
    configs show the command that fills such a folder, arguments included. Other paths get the nearest in spelling.
    """
    run = f"{Path(file).parent.name}_{Path(file).stem}"
    paths = [path for path in (ROOT / "configs").rglob("*.py") if path.stem != "__init__"]
    command = re.compile(rf"--config (\S+) --workdir runs/{re.escape(run)}\n")
    for path in paths:
        shown = command.search(path.read_text(encoding="utf-8"))
        if shown:
            return f"did you mean {shown[1]!r}?"
    return nearest(file, [path.relative_to(ROOT).as_posix() for path in paths])


def cache_folder() -> Path:
    """The folder for what can be made again: CVDL_CACHE, else ~/.cache/cvdl_jax."""
    return Path(os.environ.get("CVDL_CACHE") or "~/.cache/cvdl_jax").expanduser()


def to_plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config as nested dicts of values that JSON has; tuples become lists."""

    def lists(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: lists(sub) for key, sub in value.items()}
        return [lists(sub) for sub in value] if isinstance(value, tuple) else value

    return lists(plain(config))


def from_plain(values: Mapping[str, Any]) -> ConfigDict:
    """A config from nested dicts: `from_plain(json.loads(json.dumps(to_plain(c)))) == c` for every loaded config."""
    return _lock(ConfigDict(plain(values), type_safe=False))


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A saved configuration with the defaults of keys that did not exist yet when it was saved."""
    return to_plain(DEFAULTS) | dict(values)


def digest(config: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that differ when the content of two configs differs."""
    content = {k: v for k, v in to_plain(config).items() if k not in LATER or v != DEFAULTS.get(k, {})}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def flat(values: Any, path: str = "") -> dict[str, Any]:
    """Nested values under names with dots; an empty section is a value."""
    if not isinstance(values, dict) or (path and not values):
        return {path: values}
    return {k: v for key, sub in values.items() for k, v in flat(sub, f"{path}.{key}" if path else str(key)).items()}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What changed between two configs, one "optim.lr: 0.1 -> 0.2" per leaf; a side that lacks it is "(absent)"."""
    a, b = flat(plain(old)), flat(plain(new))

    def show(values: dict, key: str) -> str:
        return repr(values[key]) if key in values else "(absent)"

    keys = sorted(a.keys() | b.keys())
    return [f"{k}: {show(a, k)} -> {show(b, k)}" for k in keys if k not in a or k not in b or a[k] != b[k]]


def smoke(config: ConfigDict, **data: Any) -> ConfigDict:
    """The smallest run that touches everything: two steps of batch 16, every step logged, one evaluation at the end.

    Args:
        config: changed in place; warm-ups become one step.
        **data: put into the data section, for example limits that make the splits small.

    Returns:
        The config.
    """
    config.update(dict.fromkeys([f"total_{unit}" for unit in UNITS if f"total_{unit}" in config]))
    config.update({"total_steps": 2, "batch_size": 16, "eval_batch_size": 0})
    for section, new in (("log", {"every_steps": 1}), ("eval", {"every_percent": 100}), ("checkpoint", {})):
        kept = {k: v for k, v in config[section].items() if not k.startswith("every_")}
        config[section] = ConfigDict(kept | new, type_safe=False)
    if config.data:
        config.data.update(data)
    _shorten_warmups(config.optim)
    return config


def _shorten_warmups(section: ConfigDict) -> None:
    for key, value in list(section.items()):
        if isinstance(value, ConfigDict):
            _shorten_warmups(value)
        elif key.startswith("warmup_"):
            del section[key]
            section["warmup_steps"] = 1

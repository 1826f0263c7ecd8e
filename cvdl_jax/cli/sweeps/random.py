"""Random search (Bergstra and Bengio 2012): each trial draws every key from its own distribution.

Draw j of a key is a function of (seed, key, j) alone: more trials keep the earlier ones, and another key, or another
distribution of one key, leaves the draws of the others as they are.

Reference: J. Bergstra and Y. Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13, 2012.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cvdl_jax.config.binding import check_name
from cvdl_jax.errors import ConfigError

DIGITS = 4  # of a drawn number: more only make commands and tables long


def points(random: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """The drawn trials, in the order of their numbers; draws that repeat an earlier one are left in.

    Args:
        random: {dotted key: {distribution: its arguments}}, and `n` (trials) and `seed`.
        where: name for messages.

    Returns:
        One {key: value} per trial.

    Raises:
        ConfigError: for a distribution or arguments that make no sense.
    """
    keys = {key: value for key, value in random.items() if key not in ("n", "seed")}
    for name, least, default in (("n", 1, None), ("seed", 0, 0)):
        value = random.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**32:
            raise ConfigError(f"{where}: {name}={value!r} must be a whole number, at least {least}")
    if not keys:
        raise ConfigError(f'{where} draws no key; write for example "optim.lr": {{"log_uniform": (1e-4, 1e-1)}}')
    samplers = {key: sampler(value, f"{where}: {key}") for key, value in keys.items()}
    seed = random.get("seed", 0)
    return [{key: draw(unit(seed, key, j)) for key, draw in samplers.items()} for j in range(random["n"])]


def unit(seed: int, key: str, j: int) -> float:
    """The j-th number of a key, uniform in [0, 1): 53 raw bits, the same in every NumPy version (NEP 19)."""
    stream = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    word = np.random.Philox(key=[seed, stream], counter=[0, j, 0, 0]).random_raw()
    return (int(word) >> 11) * 2.0**-53


def sampler(distribution: Any, where: str) -> Callable[[float], Any]:
    """The function from a uniform number in [0, 1) to a value.

    Args:
        distribution: {"uniform": (low, high)}, {"log_uniform": (low, high)}, {"integers": (low, high)}, both ends
            included, or {"choice": values}.
        where: name for messages.

    Raises:
        ConfigError: for another form, an unknown name, or ends in the wrong order.
    """
    if not isinstance(distribution, Mapping) or len(distribution) != 1:
        raise ConfigError(f'{where}={distribution!r} must name one distribution, such as {{"uniform": (0.0, 0.5)}}')
    ((name, arguments),) = distribution.items()
    check_name(name, DISTRIBUTIONS, f"{where}: there is no distribution {name!r}")
    if not isinstance(arguments, tuple | list):
        raise ConfigError(f"{where}: {name} needs a list, got {arguments!r}")
    return DISTRIBUTIONS[name](arguments, f"{where}: {name}={tuple(arguments)!r}")


def _ends(ends: Sequence[Any], where: str, kinds: type | tuple = (int, float)) -> tuple[Any, Any]:
    numbers = len(ends) == 2 and all(isinstance(end, kinds) and not isinstance(end, bool) for end in ends)
    if not numbers or not -math.inf < ends[0] < ends[1] < math.inf:
        raise ConfigError(f"{where} must be {'two whole numbers' if kinds is int else 'two numbers'}, the lower first")
    return ends[0], ends[1]


def _uniform(ends: Sequence[Any], where: str) -> Callable[[float], float]:
    low, high = _ends(ends, where)
    return lambda u: _rounded(low + u * (high - low), low, high)


def _log_uniform(ends: Sequence[Any], where: str) -> Callable[[float], float]:
    low, high = _ends(ends, where)
    if low <= 0:
        raise ConfigError(f"{where} must be above 0, since its logarithm is uniform")
    return lambda u: _rounded(low * math.exp(u * math.log(high / low)), low, high)


def _integers(ends: Sequence[Any], where: str) -> Callable[[float], int]:
    low, high = _ends(ends, where, int)
    return lambda u: low + math.floor(u * (high - low + 1))


def _choice(values: Sequence[Any], where: str) -> Callable[[float], Any]:
    if not values:
        raise ConfigError(f"{where} has nothing to choose from")
    return lambda u: values[math.floor(u * len(values))]


def _rounded(x: float, low: float, high: float) -> float:
    """A number of few digits, or the number itself where rounding would leave the range."""
    short = float(f"{x:.{DIGITS}g}")
    return short if low <= short <= high else float(x)


DISTRIBUTIONS = {"uniform": _uniform, "log_uniform": _log_uniform, "integers": _integers, "choice": _choice}

"""The interface of an environment: pure functions of one state; `jax.vmap` makes batches of environments."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import places
from cvdl_jax.config.binding import call, check_name, check_section
from cvdl_jax.errors import ConfigError

EnvironmentState = dict[str, jax.Array]


class Transition(NamedTuple):
    """The result of one step.

    Attributes:
        state: the environment's state after the step, also if the episode has ended.
        reward: float [].
        terminated: bool [], the episode ended in a terminal state, after which no reward comes.
        truncated: bool [], the episode was cut off by the limit on steps, where the value of the state is not zero.
    """

    state: EnvironmentState
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array


class Environment(NamedTuple):
    """A Markov decision process to act in.

    Attributes:
        reset: `key -> state`, the first state of an episode.
        step: `(state, action int [], key) -> Transition`.
        observe: `state -> float [d]`, the observation of the agent.
        actions: number of actions.
        max_steps: number of steps after which an episode is truncated.
    """

    reset: Callable[[jax.Array], EnvironmentState]
    step: Callable[[EnvironmentState, jax.Array, jax.Array], Transition]
    observe: Callable[[EnvironmentState], jax.Array]
    actions: int
    max_steps: int


def create(section: Mapping[str, Any], path: str = "config.environment") -> Environment:
    """The environment that `section.name` names: `make` of `cvdl_jax/rl/<name>.py`, called with the other keys.

    Raises:
        ConfigError: for an unknown name, with the nearest, or wrong arguments.
    """
    check_section(section, path)
    known = environments()
    if "name" not in section:
        raise ConfigError(f"{path}.name is missing; the environments are {', '.join(known)}")
    check_name(section["name"], known, f"{path}.name={section['name']!r} is not known")
    file = known[section["name"]]
    inside = file.parent == Path(__file__).parent
    module = importlib.import_module(f"cvdl_jax.rl.{file.stem}") if inside else places.load_once(file.resolve())
    return call(module.make, {key: value for key, value in section.items() if key != "name"}, path)


def environments() -> dict[str, Path]:
    """All environments by name: the files with a function `make` of this folder and of the user's that adds to it.

    Raises:
        ConfigError: for a file of the user's that has the name of one of ours.
    """
    files: dict[str, Path] = {}
    for folder in (Path(__file__).parent, places.extension("cvdl_jax.rl")):
        for path in sorted(folder.glob("*.py")) if folder is not None else ():
            if "\ndef make(" in path.read_text(encoding="utf-8"):
                if path.stem in files:
                    places.refuse_ours(path.stem, path, str(files[path.stem]))
                files[path.stem] = path
    return files


def where(condition: jax.Array, first: Any, second: Any) -> Any:
    """Chooses between two trees row by row: condition bool [b], leaves [b, ...]."""

    def one(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.where(condition.reshape(condition.shape + (1,) * (x.ndim - 1)), x, y)

    return jax.tree.map(one, first, second)

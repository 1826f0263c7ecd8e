"""Starts a run from the weights of another: what fits is loaded, and what was not is said."""

from pathlib import Path
from typing import Any

import jax

from cvdl_jax import runs
from cvdl_jax.averaging import AVERAGES, restart_averages
from cvdl_jax.checkpoint import read_step, tree_path
from cvdl_jax.errors import CheckpointError
from cvdl_jax.task import State

PARTS = ("params", "extra")  # optimizer states and step counts begin anew


def find(source: str) -> Path:
    """The checkpoint that `config.init_from` names.

    Raises:
        CheckpointError: naming the key.
    """
    try:
        return runs.checkpoint_path(Path(source))
    except CheckpointError as error:
        raise CheckpointError(f"config.init_from={source!r}: {error}") from error


def load(source: str, state: State) -> tuple[State, str]:
    """Replaces the parameters, statistics and averages that the source has under the same name and shape.

    Args:
        source: a workdir (its selected step is taken) or a folder `checkpoints/<step>`.
        state: freshly created.

    Returns:
        (state, a report of what was loaded, skipped and left as initialised).

    Raises:
        CheckpointError: if there is no such checkpoint, or not one parameter fits.
    """
    path = find(source)
    saved = read_step(path)["state"]
    found = {
        tree_path(p): x for part in PARTS for p, x in jax.tree_util.tree_leaves_with_path({part: saved.get(part, {})})
    }
    loaded, anew = [], []

    def choose(key_path: Any, x: jax.Array) -> jax.Array:
        name = tree_path(key_path)
        if name.startswith("extra/feedback"):
            return x
        if name in found and found[name].shape == x.shape:
            loaded.append(name)
            return jax.device_put(found[name].astype(x.dtype), x.sharding)
        anew.append(f"{name} {tuple(x.shape)}" + (f", {tuple(found[name].shape)} there" if name in found else ""))
        return x

    chosen = jax.tree_util.tree_map_with_path(choose, {part: getattr(state, part) for part in PARTS})
    skipped = sorted(set(found) - set(loaded) - {name for name in found if name.startswith("extra/feedback")})
    if not any(name.startswith("params/") for name in loaded):
        raise CheckpointError(
            f"config.init_from={source!r}: none of its parameters fits this model (they are called "
            f"{', '.join(sorted(found)[:3])} ...); choose a checkpoint of the same architecture"
        )
    state = state._replace(**chosen)
    fresh = tuple(key for key in AVERAGES if key in state.extra and key not in saved.get("extra", {}))
    if fresh:  # not the average of what was just replaced
        state = restart_averages(state, fresh)
        anew = [line for line in anew if not line.startswith(tuple(f"extra/{key}/" for key in fresh))]
    return state, _report(path, loaded, skipped, anew)


def _report(path: Path, loaded: list[str], skipped: list[str], anew: list[str]) -> str:
    lines = [f"initialised from {path}: {len(loaded)} arrays loaded"]
    if skipped:
        lines.append(
            f"  {len(skipped)} of the checkpoint not used: {', '.join(skipped[:6])}{' ...' if len(skipped) > 6 else ''}"
        )
    if anew:
        lines.append(f"  {len(anew)} left as initialised: {', '.join(anew[:6])}{' ...' if len(anew) > 6 else ''}")
    return "\n".join(lines)

"""Two views of one scene, "image" and "image_after", as one image whose channels are those of both.

Two images that do not belong together, of two sets, are "image" and "image_other".

Joined before the augmentation, so that what moves pixels moves both views and their mask alike, and a change of
brightness changes both; operations that need one or three channels refuse them.
"""

from collections.abc import Callable, Container, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError

AFTER = "image_after"
OTHER = "image_other"
ONCE = "once"  # beside OTHER, int [2]: 1 where each of the two images is in its split for the first time


def second(entries: Container[str]) -> str:
    """The name of the entry beside "image": "image_after", or "image_other"; "" where there is none."""
    return next((name for name in (AFTER, OTHER) if name in entries), "")


def joined(batch: Mapping[str, Any]) -> Mapping[str, Any]:
    """The batch with both views in "image", float [b, h, w, 2 c]; itself where there is one view, or both are joined.

    Raises:
        ConfigError: for views of different shapes.
    """
    name = second(batch)
    if not name:
        return batch
    one, two = batch["image"], batch[name]
    if one.shape != two.shape:
        raise ConfigError(
            f"'image' is {list(one.shape)} and {name!r} {list(two.shape)}; both views must be of one shape: set "
            "config.data.image_size=(h, w)"
        )
    rest = {key: x for key, x in batch.items() if key != name}
    return {**rest, "image": jnp.concatenate([one, two], -1)}


def apart(batch: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `joined` made, with its two views as "image" and "image_after"."""
    one, two = jnp.split(batch["image"], 2, -1)
    return {**batch, "image": one, AFTER: two}


def check(views: int, paired: bool) -> None:
    """Refuses a network of two views on single images, whose channels it would take apart. Raises ConfigError."""
    if views == 2 and not paired:
        raise ConfigError(
            f"config.model.views=2 compares two images, and the data set delivers no {AFTER!r}; choose one that does, "
            "such as config.data.name=aerial_pairs, or config.model.views=1"
        )


def join(state: Any, batch: Mapping[str, Any], key: Any) -> tuple[Any, Mapping[str, Any], dict]:
    """The transform that joins both views of a batch."""
    return state, joined(batch), {}


def part(state: Any, batch: Mapping[str, Any], key: Any) -> tuple[Any, Mapping[str, Any], dict]:
    """The transform that takes joined views of a batch apart."""
    return state, apart(batch), {}


def each_view(normalise: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """The normalisation of joined images that gives each view what it would get by itself."""
    return lambda image: jnp.concatenate([normalise(view) for view in jnp.split(image, 2, -1)], -1)

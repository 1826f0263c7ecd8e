"""Two views of one scene, "image" and "image_after", as one image whose channels are those of both.

Joined before the augmentation, so that what moves pixels moves both views and their mask alike, and a change of
brightness changes both; operations that need one or three channels refuse them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError

AFTER = "image_after"


def joined(batch: Mapping[str, Any]) -> Mapping[str, Any]:
    """The batch with both views in "image", float [b, h, w, 2 c]; itself where there is one view, or both are joined.

    Raises:
        ConfigError: for views of different shapes.
    """
    if AFTER not in batch:
        return batch
    first, second = batch["image"], batch[AFTER]
    if first.shape != second.shape:
        raise ConfigError(
            f"'image' is {list(first.shape)} and {AFTER!r} {list(second.shape)}; both views must be of one shape: set "
            "config.data.image_size=(h, w)"
        )
    rest = {name: x for name, x in batch.items() if name != AFTER}
    return {**rest, "image": jnp.concatenate([first, second], -1)}


def apart(batch: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `joined` made, with its two views under their own names again."""
    first, second = jnp.split(batch["image"], 2, -1)
    return {**batch, "image": first, AFTER: second}


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


def each_view(normalise: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """The normalisation of joined images that gives each view what it would get by itself."""
    return lambda image: jnp.concatenate([normalise(view) for view in jnp.split(image, 2, -1)], -1)

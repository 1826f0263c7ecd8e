"""Several views of every image, each of which draws its own augmentation: what contrastive learning compares."""

from collections.abc import Sequence

import jax

from cvdl_jax.config.binding import Size
from cvdl_jax.config.parsing import parse_calls
from cvdl_jax.core.task import Transform
from cvdl_jax.data.augment import policy
from cvdl_jax.errors import ConfigError

VIEWS = "views"
REPEATED = "repeated_augmentation"
COUPLED = ("mixup", "cutmix", "mixup_or_cutmix", "mosaic", REPEATED)  # whose rows hold other rows


def refuse(text: str, path: str, why: str, operations: Sequence[str] = COUPLED, also: Sequence[str] = ()) -> None:
    """Refuses a policy with some operations.

    Args:
        text: a policy as `config.augment`.
        path: its key, for messages.
        why: they may not be there, behind the name of the operation.
        operations: their names.
        also: files of `data/augment` whose operations are refused, too.

    Raises:
        ConfigError: for the first of them.
    """
    files = policy.operations()
    for name, *_ in parse_calls(text, path):
        if name in operations or files.get(name) in also:
            raise ConfigError(f"{path}: {name} {why}; remove it")


def views(text: str, count: Size = 2, path: str = "config.views") -> Transform:
    """The transform that adds `count` images [b, h, w, c] of each row to the tuple `batch["views"]`; `image` stays.

    Args:
        text: a policy as `config.augment`; each view draws it with a key of its own, and each row from its own.
        count: of views.
        path: the key of the policy, for messages.

    Raises:
        ConfigError: for an empty policy, whose views would be equal, one that changes labels or mixes rows, or as
            `policy.build`.
    """
    made = policy.build(text, None, path)
    if made is None:
        raise ConfigError(f"{path} is empty, and all views of an image would be equal; set a policy such as 'flip'")
    refuse(text, path, "mixes rows or changes labels, and a view is of one image", also=("labels",))

    def update(state, batch, key):
        each_view = []
        for i in range(count):
            _, seen, _ = made.update(state, {"image": batch["image"]}, jax.random.fold_in(key, i))
            each_view.append(seen["image"])
        return state, {**batch, VIEWS: (*batch.get(VIEWS, ()), *each_view)}, {}

    return Transform(update)

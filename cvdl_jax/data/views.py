"""Several views of every image, each of which draws its own augmentation: what contrastive learning compares."""

import jax

from cvdl_jax.config.binding import Size
from cvdl_jax.config.parsing import parse_calls
from cvdl_jax.core.task import Transform
from cvdl_jax.data.augment import policy
from cvdl_jax.errors import ConfigError

VIEWS = "views"
COUPLED = ("mixup", "cutmix", "mixup_or_cutmix", "mosaic", "repeated_augmentation")  # whose rows hold other rows


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
    known = policy.operations()
    for name, *_ in parse_calls(text, path):
        if name in COUPLED or known.get(name) == "labels":
            raise ConfigError(f"{path}: {name} mixes rows or changes labels, and a view is of one image; remove it")

    def update(state, batch, key):
        each_view = []
        for i in range(count):
            _, seen, _ = made.update(state, {"image": batch["image"]}, jax.random.fold_in(key, i))
            each_view.append(seen["image"])
        return state, {**batch, VIEWS: (*batch.get(VIEWS, ()), *each_view)}, {}

    return Transform(update)

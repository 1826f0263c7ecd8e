"""How good an encoder's features are while it is trained without labels: its evaluations by the probes of `probes.py`.

Before an evaluation one pass over the training split, not augmented, adds up what linear scores need, and keeps the
features of some training images, evenly spread, as a bank. A tenth of the training images, chosen by what they show,
chooses the strength of the penalty; then all are fitted. No label reaches the encoder, and no evaluated image a probe.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted, Positive, Size
from cvdl_jax.core.info import Info
from cvdl_jax.core.parallel import contents
from cvdl_jax.core.task import Eval, Pass, State
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import probes
from cvdl_jax.metrics.classification import correct
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.ops import distances

KEY = "probe"  # in `extra`, where it is zero but during an evaluation
HELD_OUT = 10  # one image of so many chooses the strength


class Probe(NamedTuple):
    """The arguments of `config.probe`.

    Attributes:
        neighbours: k of the classifier of nearest neighbours; 0 for none, and no bank.
        bank: how many training images it may choose from, evenly spread over the split, which may be sorted by class.
        temperature: of its votes.
        images: of the training split, which the program counts.
    """

    neighbours: Counted = 20
    bank: Size = 5000
    temperature: Positive = 0.07
    images: int = 0


def make_probe(section: Mapping[str, Any], info: Info) -> Probe | None:
    """The probe of `config.probe`; None for an empty section.

    Args:
        section: of the config.
        info: of the run.

    Raises:
        ConfigError: for data without class labels or training images, without numbers where there is a bank, or a bank
            of fewer images than neighbours.
    """
    if not section:
        return None
    probe = configs.call(Probe, section, "config.probe", images=info.sizes.get("train", 0))
    if not info.num_classes or "label" not in info.spec or "train" not in info.sizes:
        raise ConfigError(
            "config.probe fits classifiers to labelled training images, and there are none; name such a set in "
            "config.data, or set config.probe={}"
        )
    if probe.neighbours and "index" not in info.spec:
        raise ConfigError(
            "config.probe.neighbours keeps a bank of training images by their places; set config.data.numbered=True, "
            "or config.probe.neighbours=0"
        )
    size = min(probe.bank, info.sizes["train"])
    if probe.neighbours > size:
        raise ConfigError(
            f"config.probe.neighbours={probe.neighbours} are asked of a bank of {size} images; choose at most {size}"
        )
    return probe._replace(bank=size)


def empty(probe: Probe | None, size: int, num_classes: int | None) -> dict[str, Any]:
    """What `init` adds to the state's `extra` for features [b, size]: {} without a probe."""
    if probe is None:
        return {}
    kept = {"kernel": jnp.zeros((size, num_classes)), "bias": jnp.zeros(num_classes), "strength": jnp.zeros(())}
    if probe.neighbours:
        kept |= {"bank": jnp.zeros((probe.bank, size)), "labels": jnp.zeros(probe.bank), "real": jnp.zeros(probe.bank)}
    return {KEY: kept}


def slots_of(probe: Probe) -> np.ndarray:
    """The place in the bank of every training image, int32 [images]; the number of places for those without one."""
    slots = np.full(probe.images, probe.bank, np.int32)
    slots[np.arange(probe.bank) * probe.images // probe.bank] = np.arange(probe.bank)
    return slots


def look(features: Callable, probe: Probe, num_classes: int, state: State, batch: Any, key: jax.Array) -> dict:
    """The sums of one batch of training images; see `Pass.step`."""
    x, mask = features(state, batch), batch["mask"]
    held_out = (contents(batch["image"]) >> 16) % HELD_OUT == 0  # the high bits are the more random ones
    sums = {
        "fitted": probes.moments(x, batch["label"], mask * ~held_out, num_classes),
        "held_out": probes.moments(x, batch["label"], mask * held_out, num_classes),
    }
    if not probe.neighbours:
        return sums
    slots = jnp.where(mask > 0, jnp.asarray(slots_of(probe))[batch["index"]], probe.bank)

    def placed(values: jax.Array) -> jax.Array:
        return jnp.zeros((probe.bank + 1, *values.shape[1:]), x.dtype).at[slots].add(values.astype(x.dtype))[:-1]

    return sums | {"bank": placed(x), "labels": placed(batch["label"]), "real": placed(jnp.ones_like(mask))}


def prepare(state: State, sums: Mapping[str, Any]) -> State:
    """The state with the linear scores and the bank of all batches; see `Pass.apply`."""
    old = state.extra[KEY]
    linear = probes.chosen_ridge(sums["fitted"], sums["held_out"])
    new = {**linear._asdict(), **{name: sums[name] for name in ("bank", "labels", "real") if name in old}}
    return state._replace(extra={**state.extra, KEY: {name: x.astype(old[name].dtype) for name, x in new.items()}})


def measure(features: Callable, probe: Probe, num_classes: int, state: State, batch: Any, key: jax.Array) -> dict:
    """Sums over the real rows of one evaluated batch; see `Eval.step`."""
    x, mask, kept = features(state, batch), batch["mask"], state.extra[KEY]
    fitted = probes.Linear(kept["kernel"], kept["bias"], kept["strength"])
    hits = {"linear_accuracy": correct(probes.linear_scores(fitted, x), batch["label"])}
    if probe.neighbours:
        bank, labels = kept["bank"], kept["labels"].astype(jnp.int32)
        how = (num_classes, probe.neighbours, probe.temperature, kept["real"] > 0)
        hits["knn_accuracy"] = correct(probes.knn(x, bank, labels, *how), batch["label"])
    sums = {name: ((hit * mask).sum(), mask.sum()) for name, hit in hits.items()}
    sums["strength"] = (kept["strength"] * mask.sum(), mask.sum())
    return sums | {"unit": distances.unit(x), "label": batch["label"]}


def finalise(means: dict, rows: dict) -> dict[str, float]:
    """Accuracies with Wilson's intervals, and how far the features spread: 0 where all have collapsed to one.

    `spread` is the root of the mean over coordinates of the variance of unit vectors times their number, 1 for vectors
    that are uniform on the sphere.
    """
    unit = rows.pop("unit")
    spread = float((unit.var(0).mean() * unit.shape[1]) ** 0.5)
    return {**intervals.with_wilson(means, len(unit)), "spread": spread, "examples": len(unit)}


def evaluation(features: Callable, probe: Probe, num_classes: int) -> Eval:
    """The evaluation of one split, with its pass over the training split before it.

    Args:
        features: `(state, batch) -> [b, d]`, in evaluation mode.
        probe: of `make_probe`.
        num_classes: of the labels.
    """
    given = (features, probe, num_classes)
    return Eval(partial(measure, *given), finalise, before=Pass(partial(look, *given), prepare))

"""Robust accuracy: the share of examples that are classified rightly whatever an attack, or all of them, makes of them.

    report = measure(logits_fn, images, labels, methods("pgd(eps=0.3) | apgd(eps=0.3)"), key)

Each attack is tried on all examples that are classified rightly, and an example counts as robust against all of them
only if every one fails.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.attacks import (
    autopgd,
    boundary,
    ensemble,
    iterative,
    minimal,
    one_pixel,
    pgd,
    square,
    surrogate,
    threat,
)
from cvdl_jax.analysis.attacks.access import ORDER, BlackBox, classes_of
from cvdl_jax.analysis.attacks.pgd import has_won
from cvdl_jax.config import binding
from cvdl_jax.config.parsing import parse_calls
from cvdl_jax.core import formatting
from cvdl_jax.errors import ConfigError, DataError, nearest
from cvdl_jax.metrics.stats import intervals

# Names in `--method` and configs. Of attacks without a radius of their own, `within` says what counts.
METHODS: dict[str, Callable] = {
    "fgsm": pgd.fgsm,
    "iterative_sign": pgd.iterative_sign,
    "pgd": pgd.projected,
    "apgd": autopgd.apgd,
    "apgd_t": autopgd.apgd_t,
    "square": square.square,
    "autoattack": ensemble.autoattack,
    "untargeted": iterative.untargeted,
    "least_likely": iterative.least_likely,
    "combined": iterative.combined,
    "deepfool": minimal.deepfool,
    "carlini_wagner": minimal.carlini_wagner,
    "boundary": boundary.boundary,
    "surrogate": surrogate.surrogate,
    "one_pixel": one_pixel.one_pixel,
}
GIVEN = ("model", "x", "label", "orig", "key", "target", "start", "seeds", "num_classes")  # not written by a user
OWN = (("start", "square"),)  # but for these: the share of the first square
MINIMAL = ("untargeted", "least_likely", "combined", "deepfool", "carlini_wagner", "boundary")


class Method(NamedTuple):
    """An attack with its settings.

    Attributes:
        name: as the user wrote it, "pgd(eps=0.3)".
        kind: key of METHODS.
        settings: keyword arguments.
        eps: radius within which a change counts.
        norm: of the radius; "l0" for one pixel.
    """

    name: str
    kind: str
    settings: dict[str, Any]
    eps: float
    norm: str

    @property
    def access(self) -> str:
        """What the attack sees of the model."""
        return METHODS[self.kind].access

    def run(self, model: Any, x: jax.Array, label: jax.Array, key: jax.Array) -> jax.Array:
        """The attack on a batch of images [b, h, w, c] in 0..1 with labels [b]."""
        attack, offered = METHODS[self.kind], {"label": label, "orig": label, "key": key}
        names = inspect.signature(attack).parameters
        return attack(model, x, **{k: v for k, v in offered.items() if k in names}, **self.settings)


class Outcome(NamedTuple):
    """What one attack did.

    Attributes:
        name: of the attack.
        access: what it saw of the model.
        robust: bool [n], the examples that were classified rightly and stayed so.
        queries: int, images that a black box was asked about; 0 for an attack by gradients.
        example: (places [k], changed images [k, h, w, c]) of the first examples that it fooled.
    """

    name: str
    access: str
    robust: np.ndarray
    queries: int
    example: tuple[np.ndarray, np.ndarray]

    def shown(self, logits_fn: Callable, images: np.ndarray, labels: np.ndarray) -> list[tuple]:
        """The examples as (clean image, changed image, label, predicted class), for `figures/attacks.py:changed`."""
        places, changed = self.example
        guesses = np.asarray(logits_fn(changed)).argmax(1) if len(changed) else places
        return list(zip(images[places], changed, labels[places], guesses, strict=True))


class Report(NamedTuple):
    """The outcome of all attacks.

    Attributes:
        clean: bool [n], classified rightly without an attack.
        robust: bool [n], robust against all attacks.
        outcomes: one for each attack.
    """

    clean: np.ndarray
    robust: np.ndarray
    outcomes: tuple[Outcome, ...]

    def metrics(self) -> dict[str, float]:
        """Accuracies in 0..1 with the ends of their 95 % Wilson intervals: clean, by attack, and against all."""
        n = len(self.clean)
        shares = {"clean_accuracy": self.clean.mean()}
        shares |= {f"{outcome.name}/robust_accuracy": outcome.robust.mean() for outcome in self.outcomes}
        shares["robust_accuracy"] = self.robust.mean()
        return intervals.with_wilson({name: float(value) for name, value in shares.items()}, n)

    def table(self) -> str:
        """The accuracies with their intervals, in columns."""
        metrics = self.metrics()

        def line(words: str, key: str, access: str = "", queries: int = 0) -> list[str]:
            low, high = metrics[f"{key}_low"], metrics[f"{key}_high"]
            share = f"{formatting.percent(metrics[key])} {formatting.interval(low, high, True)}"
            return [words, share, access, f"{queries:,}" if queries else ""]

        rows = [["attack", "accuracy, 95 % interval (Wilson)", "sees", "queries"], line("none", "clean_accuracy")]
        for one in self.outcomes:
            rows.append(line(one.name, f"{one.name}/robust_accuracy", one.access, one.queries))
        rows.append(line("all of them", "robust_accuracy"))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        return "\n".join("  ".join(w.ljust(n) for w, n in zip(row, widths, strict=True)).rstrip() for row in rows)


def methods(text: str, path: str = "--method") -> list[Method]:
    """The attacks that a text names, such as "pgd(eps=0.3) | apgd(eps=0.3) | square(eps=0.3, queries=500)".

    Attacks without a ball of their own, such as deepfool, take `eps` and `norm` too: a change beyond does not count.

    Args:
        text: calls separated by "|".
        path: name for messages.

    Raises:
        ConfigError: for an unknown attack (with the nearest), wrong settings, or a radius that is not above 0.
    """
    chosen = []
    for name, values, keywords in parse_calls(text, path):
        if values:
            raise ConfigError(f"{path}: {name}({values[0]!r}): settings have names, as in {name}(eps={values[0]!r})")
        chosen.append(_method(name, keywords, path))
    if not chosen:
        raise ConfigError(f"{path} names no attack; {nearest('', METHODS)}")
    names = [method.name for method in chosen]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ConfigError(f"{path} names {twice} twice; leave one out")
    return chosen


def _method(name: str, keywords: dict, path: str) -> Method:
    if name not in METHODS:
        raise ConfigError(f"{path}: there is no attack {name!r}; {nearest(name, METHODS)}")
    attack, settings = METHODS[name], dict(keywords)
    names = inspect.signature(attack).parameters
    given = [key for key in GIVEN if key in names and (key, name) not in OWN]
    own = {key: p.default for key, p in names.items() if key not in given}
    where = f"{path}: {name}"
    extra = {}
    if name == "one_pixel":
        eps, norm = 1.0, "l0"
    elif name in MINIMAL:
        extra = {key: settings.pop(key) for key in ("eps", "norm") if key in settings}
        if "eps" not in extra:
            raise ConfigError(
                f"{where} has no radius of its own; say beyond which distance a change does not count, as in "
                f"{name}(eps=2.0, norm='l2')"
            )
        eps, norm = binding.check_value(extra["eps"], float, f"{where}.eps"), extra.get("norm", "l2")
    for key in settings:
        if key in GIVEN and key not in own:
            raise ConfigError(f"{where}.{key} is given by the data, not here; leave it out")
    offered = dict.fromkeys(given)
    bound = binding.bind(attack, settings, where, **offered)
    settings = {key: value for key, value in bound.items() if key not in given}
    if name != "one_pixel" and name not in MINIMAL:
        eps, norm = settings.get("eps", own["eps"]), settings.get("norm", "linf")
    if name != "one_pixel":
        threat.check_radius(eps, norm, f"{where}.eps")
    if name in MINIMAL and "eps" in own:
        settings |= {"eps": eps, "norm": norm}
    shown = ", ".join(f"{key}={value!r}" for key, value in keywords.items())
    return Method(f"{name}({shown})" if shown else name, name, settings, float(eps), norm)


def measure(
    logits_fn: Callable[[jax.Array], jax.Array],
    images: np.ndarray,
    labels: np.ndarray,
    attacks: Sequence[Method],
    key: jax.Array,
    *,
    batch: int = 250,
    examples: int = 8,
    told: Callable[[str], None] = lambda line: None,
) -> Report:
    """Robust accuracy against attacks, alone and together.

    Args:
        logits_fn: images float [b, h, w, c] in 0..1 -> logits.
        images: float [n, h, w, c] in 0..1.
        labels: int [n].
        attacks: tried in this order.
        key: each attack and batch draws from its own part of it.
        batch: images at once: the bound on memory. All batches have this size, filled up with copies that do not count.
        examples: changed images that are kept of each attack.
        told: is called with a line about each attack when it has ended.

    Returns:
        The report. A change counts if the class is lost within the radius, 1e-6 beyond at most, and pixels in 0..1.

    Raises:
        DataError: without examples, for images outside 0..1, labels that do not exist, or a model with one score.
        ConfigError: for an attack by gradients on a model that has none.
    """
    if not len(images):
        raise DataError("there are no images to attack; name a split that has some")
    images = np.asarray(threat.check_images(images))
    labels = np.asarray(threat.check_classes(labels, len(images), classes_of(logits_fn, images[:batch])))
    if any(method.access == "gradients" for method in attacks):
        threat.check_derivative(logits_fn, jnp.asarray(images[:batch]))
    clean = _classified_rightly(logits_fn, images, labels, batch)
    left, outcomes = clean.copy(), []
    for i, method in enumerate(attacks):
        outcome = _tried(logits_fn, images, labels, method, jax.random.fold_in(key, i), batch, examples, clean)
        left &= outcome.robust
        outcomes.append(outcome)
        told(f"{method.name}: {outcome.robust.sum()} of {clean.sum()} that were classified rightly stay so")
    return Report(clean, left, tuple(outcomes))


def merge(reports: Sequence[Report]) -> Report:
    """One report of several sets of examples that the same attacks were tried on, one after the other."""
    begins = np.cumsum([0, *(len(report.clean) for report in reports)])
    outcomes = []
    for same in zip(*(report.outcomes for report in reports), strict=True):
        places = np.concatenate([one.example[0] + begin for one, begin in zip(same, begins[:-1], strict=True)])
        shown = [one.example[1] for one in same if len(one.example[1])]
        changed = np.concatenate(shown) if shown else same[0].example[1]
        robust, queries = np.concatenate([one.robust for one in same]), sum(one.queries for one in same)
        outcomes.append(same[0]._replace(robust=robust, queries=queries, example=(places, changed)))
    clean, robust = (np.concatenate([getattr(report, name) for report in reports]) for name in ("clean", "robust"))
    return Report(clean, robust, tuple(outcomes))


def _classified_rightly(logits_fn, images, labels, size) -> np.ndarray:
    parts = []
    for begin in range(0, len(images), size):
        rows = _filled(np.arange(begin, min(begin + size, len(images))), size)
        lost = has_won(logits_fn, jnp.asarray(images[rows]), jnp.asarray(labels[rows]), None)
        parts.append(~np.asarray(lost)[: len(images) - begin])
    return np.concatenate(parts)


def _filled(rows: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([rows, np.repeat(rows[:1], size - len(rows))])


def _tried(logits_fn, images, labels, method, key, size, examples, clean) -> Outcome:
    robust, kept, places = np.zeros(len(images), bool), [], np.flatnonzero(clean)
    box = BlackBox(logits_fn, method.access) if method.access in ORDER[:2] else None
    for k, begin in enumerate(range(0, len(places), size)):
        rows = places[begin : begin + size]
        filled = rows if box else _filled(rows, size)  # no query for copies
        x, y = jnp.asarray(images[filled]), jnp.asarray(labels[filled])
        z = method.run(logits_fn if box is None else box, x, y, jax.random.fold_in(key, k))
        lost = np.asarray(_lost(logits_fn, method.norm, x, z, y, method.eps))[: len(rows)]
        robust[rows] = ~lost
        kept += [(row, np.asarray(z[j])) for j, row in enumerate(rows) if lost[j]][: examples - len(kept)]
    example = np.array([row for row, _ in kept], int), np.array([z for _, z in kept])
    return Outcome(method.name, method.access, robust, box.queries if box else 0, example)


@partial(jax.jit, static_argnums=(0, 1))
def _lost(logits_fn, norm, x, z, y, eps):
    return threat.is_adversarial(logits_fn(z), x, z, y, eps, norm)

"""What an attacker may see of a model: its gradients, its scores or its labels alone; queries are counted.

    model = BlackBox(logits_fn, "labels")
    z = boundary(model, x, label)                # an attack that needs scores or gradients refuses this model
    model.queries                                # images that were asked about

An attack says what it needs: `boundary.access == "labels"`. A function `logits_fn(x)` in the place of a model grants
everything.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.arguments import method
from cvdl_jax.analysis.attacks import threat
from cvdl_jax.errors import ConfigError, DataError

Access = Literal["gradients", "scores", "labels"]
ORDER = ("labels", "scores", "gradients")  # each grants what those before it do
INSTEAD = {"scores": "square or one_pixel", "labels": "boundary or surrogate"}


class WhiteBox:
    """A model whose attacker knows everything, gradients and weights.

    Attributes:
        access: "gradients".
        logits_fn: images float [b, h, w, c] in 0..1 -> logits [b, num_classes].
    """

    access: Access = "gradients"

    def __init__(self, logits_fn: Callable[[jax.Array], jax.Array]):
        """Args: logits_fn, as above; its preprocessing is bound into it."""
        self.logits_fn = logits_fn


class BlackBox:
    """A model whose attacker only sees answers, and pays for each of them.

    Attributes:
        access: "scores" or "labels".
        queries: how many images it has been asked about.
    """

    def __init__(self, answer: Callable[[Any], Any], access: Access, compiled: bool = True):
        """Wraps a model.

        Args:
            answer: images [b, ...] -> scores [b, num_classes]; for "labels" also -> int [b].
            access: "scores" or "labels".
            compiled: whether `answer` is a function of JAX arrays; False for one of NumPy, such as scikit-learn's.

        Raises:
            ConfigError: for another access.
        """
        if access not in ("scores", "labels"):
            raise ConfigError(f"access={access!r}: a black box gives 'scores' or 'labels'; for gradients use WhiteBox")
        self.access: Access = access
        self.queries = 0
        self._function = answer if compiled else None
        self._answer = partial(_answers, answer) if compiled else lambda x: answer(np.asarray(x))

    def checked_labels(self, x: Any, label: Any) -> jax.Array:
        """Labels int [b] of images [b, ...], refused where the model has no such class; that is no query.

        How many classes there are is not known of a function of NumPy, or of one that gives labels alone.

        Raises:
            DataError: for another number of labels, or a class that does not exist.
        """
        spec = jax.ShapeDtypeStruct(np.shape(x), jnp.result_type(x))
        answer = None if self._function is None else jax.eval_shape(self._function, spec)
        classes = None if answer is None or answer.ndim != 2 else classes_of(self._function, x)
        return threat.check_classes(label, len(x), classes)

    def scores(self, x: Any, asked: Any = None) -> np.ndarray:
        """The scores [b, num_classes] of images.

        Args:
            x: [b, ...].
            asked: bool [b], the rows that count as queries; what is answered of others is not looked at. None for all.

        Raises:
            ConfigError: if the model gives labels only.
        """
        if self.access != "scores":
            raise ConfigError("this model gives labels only, no scores; use boundary or surrogate")
        return self._ask(x, asked)

    def labels(self, x: Any, asked: Any = None) -> np.ndarray:
        """The predicted classes int [b] of images; arguments as those of `scores`."""
        answers = self._ask(x, asked)
        return answers.argmax(1) if answers.ndim == 2 else answers

    def _ask(self, x: Any, asked: Any) -> np.ndarray:
        self.queries += len(x) if asked is None else int(np.asarray(asked).sum())
        return np.asarray(self._answer(x))


def needs(access: Access) -> Callable[[Callable], Callable]:
    """Marks an attack with the access that it needs, as its attribute `access`; its numbers and words are checked."""

    def mark(attack: Callable) -> Callable:
        checked = method(attack)
        checked.access = access
        return checked

    return mark


def logits_of(model: Any, attack: str) -> Callable[[jax.Array], jax.Array]:
    """The function whose gradients an attack takes.

    Args:
        model: a WhiteBox or a function `logits_fn(x)`.
        attack: name, for the message.

    Raises:
        ConfigError: for a black box.
    """
    if isinstance(model, BlackBox):
        raise ConfigError(
            f"{attack} needs gradients, and this model gives {model.access} only; use {INSTEAD[model.access]}"
        )
    return model.logits_fn if isinstance(model, WhiteBox) else model


def asked_for(model: Any, access: Access, attack: str) -> BlackBox:
    """A model as an attack that needs no gradients asks it.

    Args:
        model: a BlackBox, which goes on counting; or a WhiteBox or function, which gets a count of its own.
        access: what the attack needs, "scores" or "labels".
        attack: name, for the message.

    Raises:
        ConfigError: for a black box that gives less.
    """
    if not isinstance(model, BlackBox):
        return BlackBox(logits_of(model, attack), access)
    if ORDER.index(model.access) < ORDER.index(access):
        raise ConfigError(f"{attack} needs {access}, and this model gives labels only; use {INSTEAD['labels']}")
    return model


def classes_of(logits_fn: Callable, x: Any) -> int:
    """How many classes a model has, without computing anything.

    Raises:
        DataError: for a model with one score, of which the largest is always the first.
    """
    spec = jax.ShapeDtypeStruct(np.shape(x), jnp.result_type(x))
    classes = jax.eval_shape(logits_fn, spec).shape[-1]
    if classes < 2:
        raise DataError(
            "the model gives one score for each image, and an attack needs those of two classes or more; of one logit "
            "s [b, 1] give jnp.concatenate([0 * s, s], 1)"
        )
    return classes


@partial(jax.jit, static_argnums=0)
def _answers(answer, x):
    return answer(x)


@partial(jax.jit, static_argnums=0)
def predicted(logits_fn, x):
    """The predicted classes int [b]; compiled once for a function and a shape, as the next two."""
    return logits_fn(x).argmax(1)


@partial(jax.jit, static_argnums=0)
def least(logits_fn, x, label):
    """The classes int [b] that are least likely, beside a label that is not to be one of them."""
    logits = logits_fn(x)
    return jnp.where(jnp.arange(logits.shape[1])[None] == label[:, None], jnp.inf, logits).argmin(1)


@partial(jax.jit, static_argnums=0)
def ranked(logits_fn, x, label):
    """The classes int [b, num_classes], the most likely first and the label last."""
    return jnp.argsort(-threat.others(logits_fn(x), label), 1)

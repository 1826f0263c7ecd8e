"""An ensemble of attacks in the manner of AutoAttack: an example is robust only if every one of them fails."""

from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.analysis.attacks import threat
from cvdl_jax.analysis.attacks.access import BlackBox, least, needs
from cvdl_jax.analysis.attacks.autopgd import apgd, apgd_t
from cvdl_jax.analysis.attacks.pgd import has_won, prepared
from cvdl_jax.analysis.attacks.square import square
from cvdl_jax.config.binding import Count, Positive


@needs("gradients")
def autoattack(
    model: Any,
    x: Any,
    label: Any = None,
    key: jax.Array | None = None,
    *,
    eps: Positive = 0.3,
    norm: threat.Norm = "linf",
    steps: Count = 100,
    queries: Count = 1000,
) -> jax.Array:
    """APGD on cross-entropy, then APGD-T on what is left, then Square on what is left of that.

    It is weaker than the standard AutoAttack, which has FAB-T besides, 5,000 queries of Square, and Square in l2 too:
    numbers from here are no AutoAttack numbers. Of fewer than four classes, APGD on the margin takes the place of
    APGD-T; in l2, and of what is no image, Square is left out.

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        x: float [b, h, w, c] in 0..1.
        label: int [b]; None for the class that is predicted of x.
        key: None for one of seed 0.
        eps: radius of the ball.
        norm: of the ball.
        steps: of APGD.
        queries: of Square.

    Returns:
        Changed images [b, h, w, c], at most eps away: the first that is misclassified, else the last attack's.

    Raises:
        DataError, ConfigError: see `projected`.

    Reference: Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
        parameter-free attacks", section 5.
    """
    logits_fn, x, label, _ = prepared(model, x, label, None, eps, norm, "autoattack")
    key, others = jax.random.key(0) if key is None else key, least(logits_fn, x, jnp.full(len(x), -1))
    classes = jax.eval_shape(logits_fn, x).shape[-1]
    second = (lambda *of, **how: apgd(*of, loss="margin", **how)) if classes < 4 else apgd_t
    walks = {"eps": eps, "norm": norm, "steps": steps}
    z, won = x, jnp.zeros(len(x), bool)
    for i, attack in enumerate((apgd, second, None if norm == "l2" or x.ndim != 4 else square)):
        if attack is None or won.all():
            break
        # An image that has been won is asked for a class that it has not, so that nothing more is spent on it.
        wanted = jnp.where(won, others, label)
        if attack is square:
            new = square(BlackBox(logits_fn, "scores"), x, wanted, jax.random.fold_in(key, i), eps=eps, queries=queries)
        else:
            new = attack(logits_fn, x, wanted, jax.random.fold_in(key, i), **walks)
        z = jnp.where(threat.rows(won, x), z, new)
        won = has_won(logits_fn, z, label, None)
    return z

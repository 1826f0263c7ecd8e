"""Measures of depth maps: sums of every image on the device, and the published measures with intervals on the host.

With y the predicted and t the true depth of a pixel, over all known pixels of a split, each counting the same:

    abs_rel   mean |y - t| / t                 rmse       sqrt mean (y - t)^2, in metres
    sq_rel    mean (y - t)^2 / t, in metres    rmse_log   sqrt mean (log y - log t)^2
    delta1, delta2, delta3: the shares with max(y / t, t / y) < 1.25, 1.25^2, 1.25^3
    si_rmse_log: sqrt of the mean over images of the variance of log y - log t, which a common factor does not change

Reference: Eigen et al. 2014, "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network", section 4.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.metrics.stats import resampling

THRESHOLD = 1.25
ROW = ("pixels", "abs_rel", "sq_rel", "square", "square_log", "delta1", "delta2", "delta3", "variance_log")


def counted(log_predictions: jax.Array, depths: jax.Array, known: jax.Array) -> jax.Array:
    """What an evaluation step gives of a batch; `summary` makes metrics of it.

    Args:
        log_predictions: log y, float [b, h, w].
        depths: t, float [b, h, w], in metres; anything where it is not known.
        known: bool [b, h, w].

    Returns:
        float32 [b, 9]: the number of known pixels, the sums over them, and the variance, as ROW names them.
    """
    t = jnp.where(known, depths, 1).astype(jnp.float32)
    d = jnp.where(known, log_predictions.astype(jnp.float32) - jnp.log(t), 0)
    error = t * jnp.expm1(d)  # y - t, 0 where it is not known
    pixels = known.sum((1, 2)).astype(jnp.float32)
    n = jnp.maximum(pixels, 1)
    within = [known & (jnp.abs(d) < k * np.log(THRESHOLD)) for k in (1, 2, 3)]
    mean = d.sum((1, 2)) / n
    variance = jnp.where(known, jnp.square(d - mean[:, None, None]), 0).sum((1, 2)) / n
    maps = (jnp.abs(error) / t, jnp.square(error) / t, jnp.square(error), jnp.square(d), *within)
    return jnp.stack([pixels, *(x.sum((1, 2)).astype(jnp.float32) for x in maps), variance], -1)


def measures(rows: np.ndarray) -> dict[str, float]:
    """The measures of some images.

    Args:
        rows: [n, 9], from `counted`.

    Raises:
        DataError: for no image, or no pixel whose depth is known.
    """
    rows = np.asarray(rows, np.float64).reshape(-1, len(ROW))
    pixels = rows[:, 0].sum()
    if not pixels:
        raise DataError(f"none of the {len(rows)} depth maps has a pixel whose depth is known; 0 means unknown")
    total = dict(zip(ROW, rows.sum(0) / pixels, strict=True))
    shares = {name: float(total[name]) for name in ("abs_rel", "sq_rel", "delta1", "delta2", "delta3")}
    variance = rows[rows[:, 0] > 0, -1].mean()
    roots = {"rmse": total["square"], "rmse_log": total["square_log"], "si_rmse_log": variance}
    return {**shares, **{name: float(np.sqrt(x)) for name, x in roots.items()}}


def summary(rows: Mapping[str, np.ndarray], resamples: int = 1000) -> dict[str, float]:
    """The metrics of a split.

    Args:
        rows: {"depth": [n, 9]}, from `counted`.
        resamples: of the bootstrap over images, which gives the intervals of `abs_rel`, `rmse` and `delta1`; of a
            single image there is none.

    Returns:
        `measures`, with "abs_rel_low", "abs_rel_high" ..., and "examples", the number of images.

    Raises:
        DataError: for no image, or no pixel whose depth is known.
    """
    rows = np.asarray(rows["depth"])
    metrics = measures(rows)
    known = rows[rows[:, 0] > 0]  # those without a known pixel say nothing, in a resample too
    for name in ("abs_rel", "rmse", "delta1") if len(known) > 1 and resamples else ():
        ends = resampling.interval(
            lambda sample, name=name: measures(sample)[name], known, method="percentile", resamples=resamples
        )
        metrics |= {f"{name}_low": ends.low, f"{name}_high": ends.high}
    return {**metrics, "examples": len(rows)}

"""How much of a mixture of known Gaussians a generator covers: mode collapse, and quality beside diversity."""

import numpy as np

from cvdl_jax.errors import DataError


def ring(modes: int, radius: float = 2.0) -> np.ndarray:
    """Centres on a circle, float [modes, 2]."""
    angles = 2 * np.pi * np.arange(modes) / modes
    return radius * np.stack([np.cos(angles), np.sin(angles)], 1)


def grid(side: int, spacing: float = 1.0) -> np.ndarray:
    """Centres on a square grid about the origin, float [side^2, 2]."""
    places = spacing * (np.arange(side) - (side - 1) / 2)
    return np.stack(np.meshgrid(places, places, indexing="ij"), -1).reshape(-1, 2)


def coverage(samples: np.ndarray, centres: np.ndarray, std: float) -> dict[str, float]:
    """Which modes samples reach, and how many are near one.

    Args:
        samples: [n, d].
        centres: [k, d], of equally frequent Gaussians.
        std: of each Gaussian in each direction.

    Returns:
        `modes`: number of modes with at least a tenth of their fair share of the samples, n / (10 k), within three
        standard deviations; `high_quality`: share of the samples that lie so near a mode; `divergence`:
        `KL(q || p)` of the shares q of those at each mode from equal ones, in nats, ln k where one mode has all, and
        NaN where no sample is near one.

    Raises:
        DataError: without samples, or of another dimension than the centres.

    Reference: Srivastava et al. 2017, "VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational Learning",
        section 5.1, of high-quality samples and modes.
    """
    if samples.ndim != 2 or not len(samples) or samples.shape[1] != centres.shape[1]:
        raise DataError(f"coverage compares samples [n, d] with centres {centres.shape}, got shape {samples.shape}")
    far = np.linalg.norm(samples[:, None].astype(np.float64) - centres[None], axis=-1)  # [n, k]
    near = far.min(1) <= 3 * std
    counts = np.bincount(far.argmin(1)[near], minlength=len(centres))
    share = counts / counts.sum() if counts.sum() else np.full(len(centres), np.nan)
    logs = np.log(np.where(share > 0, share, 1) * len(centres))
    return {
        "modes": float((counts >= max(1, len(samples) / (10 * len(centres)))).sum()),
        "high_quality": float(near.mean()),
        "divergence": float((share * logs).sum()),
    }

"""Which modes of a ring or a grid of Gaussians a generator covers, by loss; a fixed discriminator beside trained ones.

    python launch.py --config configs/studies/mode_coverage.py --workdir runs/studies_mode_coverage
    python launch.py --config configs/studies/mode_coverage.py:shape=grid --workdir runs/studies_mode_coverage_grid

Goodfellow et al. 2014; Metz et al. 2017, "Unrolled Generative Adversarial Networks", section 3.1, for the ring;
Srivastava et al. 2017, section 5.1, for what counts as covered. "fixed" is a generator against a discriminator that was
trained before and stays: quality and no diversity.

Measured, modes covered of 8 and share of samples near one, on two CPU cores that ran other programs too, in 148 s; of
real samples 0.99 are near one, and every mode is covered. It is one seed, no more than an example:

    shape  minimax           non_saturating    least_squares     wasserstein_gp    r1                fixed
    ring   0, 0.02           1, 0.99           3, 0.63           8, 0.57           8, 0.53           1, 1.00
    grid   not measured yet
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies

CASES = {
    "minimax": {"name": "minimax"},
    "non_saturating": {"name": "non_saturating"},
    "least_squares": {"name": "least_squares"},
    "wasserstein_gp": {"name": "wasserstein", "penalty": 0.1, "critic_steps": 3},
    "r1": {"name": "non_saturating", "r1": 0.1},
    "fixed": {"name": "non_saturating", "fixed": True},
}


def get_config(arg=None):
    """The study's numbers; `shape` is ring or grid; `smoke` makes it smaller."""
    arg = configs.parse_arg(arg, shape=configs.OneOf(("ring", "grid")), smoke=False)
    modes = 8 if arg.shape == "ring" else 5
    if arg.smoke:
        cases = {name: CASES[name] for name in ("wasserstein_gp", "fixed")}
        return studies.base("mode_coverage", cases=cases, shape=arg.shape, modes=modes, width=8, steps=4, parts=2)
    return studies.base("mode_coverage", cases=CASES, shape=arg.shape, modes=modes)

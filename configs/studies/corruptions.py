"""Classifiers on corrupted images: noise, blur, weather and digital corruptions in five severities, and the mCE.

    python launch.py --config configs/classify/lenet5.py:data=mnist --workdir runs/mnist_lenet5
    python launch.py --config configs/studies/corruptions.py --workdir runs/corruptions \
        --config.study.workdirs="('runs/mnist_lenet5', 'runs/another')"

The first run is the reference of the mCE of the others; without runs a linear classifier of digits is measured. The
corruptions are those of CIFAR-10-C, drawn anew (`cvdl_jax/ops/images/corruptions.py` says how they differ).

Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations".

Measured with seed 0 of the first command's run after `--config.total_epochs=2`, on 1,000 test images: errors of 1.6 %
as they are and of 6.3 % on the mean of all corruptions; most under glass blur (23.6 %), fog (21.0 %) and frost
(18.8 %), then brightness (5.8 %), impulse noise (5.6 %) and snow (3.0 %), at most 2.5 % under the others.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The study's numbers; `smoke` measures two corruptions on a few images."""
    arg = configs.parse_arg(arg, smoke=False)
    config = studies.base("corruptions", workdirs=("",), split="test", images=1000)
    if arg.smoke:
        config.study.update({"images": 8, "kinds": ("fog", "jpeg"), "severities": (1, 5)})
    return config

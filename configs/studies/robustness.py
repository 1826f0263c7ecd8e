"""What a classifier does not mind: accuracy under occlusion, light, clutter, size, rotation, deformation, viewpoint.

    python launch.py --config configs/classify/lenet5.py:data=mnist --workdir runs/mnist_lenet5
    python launch.py --config configs/studies/robustness.py --workdir runs/robustness \
        --config.study.workdir=runs/mnist_lenet5

The second command asks of the first one's run; it can do without, of a linear classifier of digits. Intervals are
Wilson's. `cvdl_jax/ops/images/probes.py` says what a level of each probe is.

Measured on the test split with seed 0: not measured yet.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The study's numbers; `smoke` measures two probes on a few images."""
    arg = configs.parse_arg(arg, smoke=False)
    config = studies.base("robustness", workdir="", split="test", images=1000)
    if arg.smoke:
        config.study.update({"images": 20, "kinds": ("occlusion", "rotation")})
    return config

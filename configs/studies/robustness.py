"""What a classifier does not mind: accuracy under occlusion, light, clutter, size, rotation, deformation, viewpoint.

    python launch.py --config configs/classify/lenet5.py:data=mnist --workdir runs/mnist_lenet5
    python launch.py --config configs/studies/robustness.py --workdir runs/robustness \
        --config.study.workdir=runs/mnist_lenet5

The second command asks of the first one's run; it can do without, of a linear classifier of digits. Intervals are
Wilson's. `cvdl_jax/ops/images/probes.py` says what a level of each probe is.

Measured with seed 0 of the first command's run after `--config.total_epochs=2`, on 1,000 test images: 98.4 % right as
they are, and in percent at the four levels of each probe, the mildest first:

    occlusion     97.3  87.0  67.6  38.9
    illumination  98.4  98.4  97.5  96.9
    clutter       90.2  78.3  61.5  32.0
    size          98.2  95.5  69.2  36.9
    scale         98.4  96.7  91.5  75.0
    rotation      97.7  93.4  59.4  17.2
    deformation   98.5  98.1  97.2  89.6
    viewpoint     98.6  97.9  92.0  40.0
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

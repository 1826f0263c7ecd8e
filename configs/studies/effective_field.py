"""The effective receptive field: it grows with the square root of depth, so that its share of what is seen falls.

    python launch.py --config configs/classify/resnet20.py --workdir runs/digits_resnet20
    python launch.py --config configs/studies/effective_field.py --workdir runs/studies_effective_field \
        --config.study.workdir=runs/digits_resnet20

The second command measures the layers of the first one's run as well; it can do without.

Luo et al. 2016, "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", sections 2 and 3.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The study's numbers; `smoke` makes the stacks small."""
    arg = configs.parse_arg(arg, smoke=False)
    config = studies.base("effective_field", depths=(2, 4, 8, 16, 32), channels=8, draws=8, workdir="", images=64)
    if arg.smoke:
        config.study.update({"depths": (1, 2), "channels": 2, "draws": 2})
    return config

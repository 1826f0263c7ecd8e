"""The effective receptive field: it grows with the square root of depth, so that its share of what is seen falls.

    python launch.py --config configs/classify/resnet20.py --workdir runs/digits_resnet20
    python launch.py --config configs/studies/effective_field.py --workdir runs/studies_effective_field \
        --config.study.workdir=runs/digits_resnet20

The second command measures the layers of the first one's run as well; it can do without.

Luo et al. 2016, "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", sections 2 and 3.

Measured, seed 0, sides in pixels of 8, 16 and 32 layers, which see 17, 33 and 65: uniform weights 10.4, 14.6 and 20.5
(theory 10.2, 14.4 and 20.4), random ones 13.7, 19.5 and 27.3 (14.4, 20.4 and 28.8), with ReLU 13.6, 19.2 and 27.8; they
grow with the power 0.49, 0.50 and 0.52 of depth. The stages of ResNet-8 (`--config.model.depths=(1,1,1)`, 98.9 % of the
test digits) with new weights and trained: 6.9 and 7.0, 10.3 and 12.1, 15.9 and 16.0, where the last is the whole image.
46 s of CPU time.
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

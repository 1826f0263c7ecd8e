"""Explanations compared by number: deletion, insertion, pointing game, and dependence on the weights.

    python launch.py --config configs/classify/lenet5.py:data=mnist --workdir runs/mnist_lenet5
    python launch.py --config configs/studies/explanations.py --workdir runs/studies_explanations \
        --config.study.workdir=runs/mnist_lenet5

The second command measures 16 methods on validation images of the first one's run; it can do without, of a network made
by hand. On the run of configs/classify/multi_label.py, whose scenes have masks, the pointing game is played as well.

Petsiuk et al. 2018, "RISE", section 4.2; Zhang et al. 2018, "Top-Down Neural Attention by Excitation Backprop", section
4.1; Adebayo et al. 2018, "Sanity Checks for Saliency Maps", section 3.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies

METHODS = (
    "saliency | gradient | gradient_x_input | smoothgrad | ig | deeplift | lrp | lrp(rule='gamma') "
    "| lrp(rule='alpha_beta') | occlusion | shapley(permutations=10) | gradcam | gradcam_plus_plus | guided "
    "| deconvnet | guided_gradcam"
)


def get_config(arg=None):
    """The study's numbers; `smoke` measures two methods on a few images."""
    arg = configs.parse_arg(arg, smoke=False)
    config = studies.base("explanations", workdir="", images=100, methods=METHODS, steps=20, randomised=20)
    if arg.smoke:
        config.study.update({"images": 4, "methods": "saliency | gradcam", "steps": 3, "randomised": 2})
    return config

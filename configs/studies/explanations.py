"""Explanations compared by number: deletion, insertion, pointing game, and dependence on the weights.

    python launch.py --config configs/classify/lenet5.py:data=mnist --workdir runs/mnist_lenet5
    python launch.py --config configs/studies/explanations.py --workdir runs/studies_explanations \
        --config.study.workdir=runs/mnist_lenet5

The second command measures 16 methods on validation images of the first one's run; it can do without, of a network made
by hand. On the run of configs/classify/multi_label.py, whose scenes have masks, the pointing game is played as well.
`configs/tables/explanations.py` is a results table of it, a run for each method, of 100 images and a run of the first
command with all its epochs (`results/runs/mnist_lenet5_explained`).

Measured, seed 0, of the first command's run after `--config.total_epochs=2`, on 40 validation images (and 10 for
randomised weights: `--config.study.images=40 --config.study.randomised=10`), 83 s of CPU time; area below the curves of
deletion (lower is better) and insertion (higher), and rank correlation with the map of a network whose last layer, all
of whose layers are shuffled (near 0 is better):

    method              deletion  insertion  last layer  all layers
    saliency               0.253      0.889        0.58        0.48
    gradient               0.122      0.938       -0.02        0.01
    gradient_x_input       0.102      0.958       -0.03        0.00
    smoothgrad             0.204      0.912        0.55        0.41
    ig                     0.088      0.966        0.01        0.03
    deeplift               0.090      0.965       -0.02        0.00
    lrp                    0.140      0.961       -0.03       -0.04
    lrp(rule='gamma')      0.178      0.955       -0.03       -0.28
    lrp('alpha_beta')      0.177      0.941        0.00       -0.80
    occlusion              0.132      0.875       -0.20       -0.11
    shapley                0.092      0.902       -0.05       -0.12
    gradcam                0.523      0.512       -0.05        0.11
    gradcam_plus_plus      0.329      0.731        0.81        0.29
    guided                 0.203      0.955        0.88        0.25
    deconvnet              0.259      0.932        0.61        0.09
    guided_gradcam         0.231      0.907        0.41        0.12
    random numbers         0.642      0.645           -           -

Guided back-propagation hardly minds which class the last layer stands for. On scenes (`results/tables/scenes`: 100
validation images of the run of configs/classify/multi_label.py, a ResNet-20, 240 questions about a class that is
there) the largest pixel lies on an object of the class for lrp(rule='gamma') in 94.6 %, deeplift and lrp 91.2 %,
guided_gradcam 88.3 %, gradcam 80.4 %, saliency 62.5 %, occlusion and shapley, of patches, 47.5 and 43.8 %, deconvnet
8.8 %, random numbers 4.6 %; shapley, gradcam and gradcam_plus_plus have the largest areas of insertion, 0.93 to 0.95.

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

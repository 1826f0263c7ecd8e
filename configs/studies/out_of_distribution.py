"""Knowing when a classifier will fail: scores of unfamiliar examples, and what a reject option buys.

    python launch.py --config configs/classify/lenet5.py:data=mnist --workdir runs/mnist_lenet5
    python launch.py --config configs/studies/out_of_distribution.py --workdir runs/out_of_distribution \
        --config.study.workdir=runs/mnist_lenet5 --config.study.outside="('cifar10', 'omniglot_small')"

The second command asks of the first one's run; it can do without, of a linear classifier of digits. AUROC, with
DeLong's interval, and the false positive rate at 95 % true positives of the largest softmax probability (Hendrycks and
Gimpel 2017), the largest logit (Hendrycks et al. 2022), the energy (Liu et al. 2020) and the Mahalanobis distance (Lee
et al. 2018, of one layer, without perturbed inputs); the area under the risk-coverage curve (Geifman et al. 2019).

Measured with seed 0 of the first command's run after `--config.total_epochs=2` (98.5 % right), on 2,000 images of each
set: AUROC and the false positive rate at 95 %, and what 1,000 times the area under the risk-coverage curve is.

    score        cifar10      omniglot_small  AURC
    max_softmax  0.976 0.110  0.902 0.622     0.4
    max_logit    0.993 0.011  0.932 0.499     1.4
    energy       0.994 0.012  0.933 0.490     1.6
    mahalanobis  0.669 0.962  0.878 0.783     4.5
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The study's numbers; `smoke` measures a few images."""
    arg = configs.parse_arg(arg, smoke=False)
    other = "shapes(size=32, train=32, validation=16, test=16)" if arg.smoke else "shapes"
    config = studies.base("out_of_distribution", workdir="", split="test", images=2000, outside=(other,), fitted=2000)
    if arg.smoke:
        config.study.update({"images": 40, "fitted": 200})
    return config

"""Compound scaling against depth, width or resolution alone, at four times the multiply-adds of a small network.

    python launch.py --config configs/studies/compound_scaling.py --workdir runs/studies_compound_scaling

Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", section 3 and figure 3. The
base network has two blocks of two convolutions, of 4 and 8 channels, and sees MNIST's 28x28 pixels at 10x10, so that a
higher resolution, up to about 20x20, shows more of what was drawn. 10,000 images to train on, 2,000 to choose on.

Measured, three seeds, on one CPU core that ran other programs, in 12 min; test accuracy in %, means with Student-t
intervals, 200 steps of each network:

    network          multiply-adds  accuracy
    base                    39,920  79.3 [66.4, 92.3]
    compound               161,105  91.6 [88.6, 94.6]
    depth alone            155,120  80.5 [65.8, 95.2]
    width alone            161,105  91.6 [88.6, 94.6]
    resolution alone       160,400  59.7 [53.1, 66.3]

So short a search chose width alone (alpha 1, beta 1.4, gamma 1), so that compound scaling is width here: its validation
losses after 100 steps are: resolution alone (1, 1, 1.4) 1.92; (1, 1.2, 1.2) 1.75; width alone 1.09; (1.4, 1, 1.2) 1.90;
(1.4, 1.2, 1) 1.16; depth alone (2, 1, 1) 1.36. What is larger learns more slowly in the same steps, which is not what
the paper compares, networks that are trained to the end.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The run's numbers; `smoke` makes every network train for two steps."""
    arg = configs.parse_arg(arg, smoke=False)
    data = {"name": "mnist", "train": "train[:10000]", "validation": "train[58000:]", "test": "test"}
    if arg.smoke:
        data = {"name": "digits", "train": "train", "validation": "validation", "test": "test"}
    study = {"data": data, "steps": 200, "search_steps": 100, "seeds": 3}
    if arg.smoke:
        study |= {"steps": 2, "search_steps": 2, "seeds": 2, "channels": (2,), "side": 4, "grid": 0.5, "tolerance": 0.3}
    return studies.base("compound_scaling", **study)

"""Heads: maps of scores and their mean, against a flat map and dense layers, on digits that stay in place or do not.

    python launch.py --config configs/studies/heads.py --workdir runs/studies_heads

Lin et al. 2014, "Network In Network", section 3.2. Training images are digits in the middle of 12 x 12 pixels. They are
evaluated there, at random places of 12 x 12, and at random places of 20 x 20, which dense layers cannot take. Five
seeds, each with its own 200 training digits.

Measured on 359 test digits after 600 steps. In the middle a flat map and one dense layer (7,690 parameters) 94.9 %
[93.9, 96.0], two dense layers (23,946) 93.9 % [92.4, 95.4], in pairs -1.1 points [-2.2, 0.1], maps (5,130) 88.2 %
[86.2, 90.2], in pairs -6.7 points [-9.4, -4.1]; they do not fit their training set yet, 95.7 %. At random places of
12 x 12 pixels 31.7 %, 30.9 % and 44.9 %, of 20 x 20 maps alone 32.7 % [23.4, 42.0], others none: averages over places
lose less, but what is black and what is near a border moves them, too. 5 minutes on two busy CPU cores.
"""

from cvdl_jax.config import configs

METHODS = {
    "dense": {"model": {"units": ()}},
    "two_dense": {"model": {"units": (64,)}},
    "maps": {"model": {"units": (), "scores": "maps"}},
}


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    from configs.studies import capacity

    arg = configs.parse_arg(arg, smoke=False)
    config = capacity.get_config("smoke" if arg.smoke else None)
    config.study.methods = METHODS
    config.study.against = {"two_dense": "dense", "maps": "dense"}
    config.study.update({"margin": 2, "canvases": (12, 20)})
    config.total_steps = 2 if arg.smoke else 600
    config.model = {"name": "convnet", "channels": (16, 32), "kernel": 3}
    return config

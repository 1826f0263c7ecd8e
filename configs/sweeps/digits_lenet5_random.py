"""Random search for LeNet-5 on digits: learning rate, weight decay, averaging and augmentation, one seed each.

    python launch.py --sweep configs/sweeps/digits_lenet5_random.py --workers 2

Bergstra and Bengio 2012: where only some of the keys matter, random trials explore these more finely than a grid does.
More trials (`:n=24`) keep the earlier ones.
"""

from cvdl_jax.config import configs

# What is searched, here and by successive halving.
SPACE = {
    "optim.lr": {"log_uniform": (3e-4, 3e-2)},
    "optim.weight_decay": {"log_uniform": (1e-4, 1e-1)},
    "ema.decay": {"choice": [0.9, 0.97, 0.99]},
    "augment": {"choice": ["", "padded_crop(padding=1)", "padded_crop(padding=2)"]},
}


def get_sweep(arg=None):
    """The draws; `smoke` makes it two runs of two steps."""
    arg = configs.parse_arg(arg, smoke=False, n=12)
    return {
        "title": "Random search for LeNet-5 on digits",
        "config": "configs/classify/lenet5.py" + (":smoke" if arg.smoke else ""),
        "overrides": [] if arg.smoke else ["config.total_epochs=30"],
        "objective": {"metric": "validation/loss", "mode": "min"},  # accuracy has many ties on 289 images
        "random": SPACE | {"n": 2 if arg.smoke else arg.n, "seed": 0},
    }

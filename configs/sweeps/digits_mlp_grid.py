"""Learning rate and weight decay of the multi-layer perceptron on digits: a grid of 4 x 3, three seeds each.

python launch.py --sweep configs/sweeps/digits_mlp_grid.py --workers 2
"""

from cvdl_jax.config import configs


def get_sweep(arg=None):
    """The grid; `smoke` makes it four runs of two steps."""
    arg = configs.parse_arg(arg, smoke=False, seeds=(0, 1, 2))
    return {
        "title": "Learning rate and weight decay of an MLP on digits",
        "config": "configs/classify/mlp.py" + (":smoke" if arg.smoke else ""),
        "seeds": arg.seeds[:1] if arg.smoke else arg.seeds,
        "objective": {"metric": "validation/accuracy", "mode": "max"},
        "grid": {
            "optim.lr": [5e-4, 2e-3] if arg.smoke else [5e-4, 1e-3, 2e-3, 4e-3],
            "optim.weight_decay": [0.0, 0.1] if arg.smoke else [0.0, 0.01, 0.1],
        },
    }

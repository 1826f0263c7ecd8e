"""The digits in the plane of their first two principal components.

    python launch.py --config configs/explain/pca.py --workdir runs/digits_pca
    ... --config.embed.workdir=runs/digits_lenet5

Jolliffe 2002, "Principal Component Analysis". Without a run the pixels are projected, with one its features.

Measured on 648 digits:

    of      variance explained  nearest neighbours of one class  wall time
    pixels  28.64 %             54.01 %                          not measured yet
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` projects a few points. There are no steps."""
    arg = configs.parse_arg(arg, smoke=False)
    data = {"name": "digits", "train": "", "validation": "validation", "test": "test"}
    config = configs.base(embed={"method": "pca", "workdir": "", "data": data, "splits": ("validation", "test")})
    config.experiment = "embed"
    config.batch_size = 16  # there are no batches
    config.eval = {"every_steps": 1}
    if arg.smoke:
        configs.smoke(config)
        config.embed.limit = 40
    config.total_steps = 0
    return config

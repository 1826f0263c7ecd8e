"""The digits in the plane of their first two principal components, or unrolled by Isomap: methods without a step.

    python launch.py --config configs/explain/pca.py --workdir runs/digits_pca
    python launch.py --config configs/explain/pca.py:method=isomap --workdir runs/digits_isomap
    ... --config.embed.workdir=runs/digits_lenet5

Jolliffe 2002, "Principal Component Analysis"; Tenenbaum, de Silva and Langford 2000, "A Global Geometric Framework for
Nonlinear Dimensionality Reduction". Without a run the pixels are projected, with one its features.

Measured on 648 digits:

    of      variance explained  nearest neighbours of one class  wall time
    pixels  28.64 %             54.01 %                          10 s

Both methods on pixels; Isomap leaves a share of the variance of distances along the graph of 10 neighbours:

    method  variance kept or left  nearest neighbours of one class  wall time
    pca     28.64 % kept           54.01 %                          10 s
    isomap  42.42 % left           68.36 %                          9 s
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `method` is pca or isomap; `smoke` projects a few points. There are no steps."""
    arg = configs.parse_arg(arg, method=configs.OneOf(("pca", "isomap")), smoke=False)
    data = {"name": "digits", "train": "", "validation": "validation", "test": "test"}
    config = configs.base(embed={"method": arg.method, "workdir": "", "data": data, "splits": ("validation", "test")})
    if arg.method == "isomap":
        config.embed.neighbours = 10
    config.experiment = "embed"
    config.batch_size = 16  # there are no batches
    config.eval = {"every_steps": 1}
    if arg.smoke:
        configs.smoke(config)
        config.embed.limit = 40
    config.total_steps = 0
    return config

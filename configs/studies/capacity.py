"""Capacity: what width, depth, small kernels, separable convolutions, dropout and weight decay do on 200 digits.

    python launch.py --config configs/studies/capacity.py --workdir runs/studies_capacity

Goodfellow et al. 2016, "Deep Learning", sections 5.2 and 5.3. One convolutional network, and others that differ from it
in one knob each; five seeds, each with its own 200 training digits.

Measured: test accuracy of the base 94.15 % [93.46, 94.84], of training digits 100 %; gains over it in pairs of seeds
(points, 95 % interval of Student's t), and the parameters of each:

    base           22,154                           wide           69,194   0.95 [ 0.15,  1.74]
    narrow          3,674   -4.46 [-7.39, -1.52]    deep           41,642  -0.89 [-3.62,  1.84]
    shallow        17,514   -0.11 [-1.44,  1.22]    small kernels  25,274  -0.28 [-1.50,  0.94]
    separable      10,282   -2.51 [-4.74, -0.28]    dropout        22,154  -0.61 [-1.57,  0.35]
                                                    weight decay   22,154   0.28 [-0.37,  0.93]

Only width tells: the networks fit all training digits but for the narrow one (99.1 %) and dropout (99.5 %).
"""

from cvdl_jax.config import configs

METHODS = {
    "base": {},
    "narrow": {"model": {"channels": (4, 8)}},
    "wide": {"model": {"channels": (32, 64)}},
    "shallow": {"model": {"channels": (16,)}},
    "deep": {"model": {"channels": (16, 32, 32)}},
    "small_kernels": {"model": {"kernel": 3, "convolutions": 2}},
    "separable": {"model": {"separable": True}},
    "dropout": {"model": {"dropout": 0.5}},
    "weight_decay": {"optim": {"weight_decay": 0.3}},
}


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    methods = {name: METHODS[name] for name in (("base", "separable") if arg.smoke else METHODS)}
    data = {"name": "digits", "train": "train", "validation": "validation", "test": "test"}
    study = {"methods": methods, "against": dict.fromkeys([*methods][1:], "base"), "data": data}
    if arg.smoke:
        study |= {"examples": 32, "seeds": 2}
    config = configs.base(study=study)
    config.experiment = "studies.capacity"
    config.total_steps = 400
    config.batch_size = 32
    config.log.every_steps = 100
    config.eval = {"every_percent": 100}
    config.model = {"name": "convnet", "channels": (16, 32), "kernel": 5, "units": (64,)}
    config.optim = {"name": "adamw", "lr": 2e-3, "weight_decay": 0.0, "schedule": {"name": "cosine"}}
    return configs.smoke(config) if arg.smoke else config

"""MobileNet v1 on CIFAR-10, with strides for 32 pixels.

    python launch.py --config configs/classify/mobilenet_v1.py --workdir runs/cifar10_mobilenet_v1
    python launch.py --config configs/classify/mobilenet_v1.py:data=digits --workdir runs/digits_mobilenet_v1

Howard et al. 2017, "MobileNets", table 1, at :width=1.0 or 0.25, 0.5, 0.75; the paper has no CIFAR, so the recipe is
ours: blocks 2 and 4 have no stride, so that 4x4 places remain; SGD with Nesterov momentum, a short cosine, decay 5e-4
on what is not depthwise (section 3.2 there), pad 4 and crop, flip.

    data      published test error   measured here
    cifar10   none                   not measured yet
    digits    none                   not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `data` is cifar10 or digits; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(("cifar10", "digits")), width=1.0, smoke=False)
    config = configs.base()
    datasets.classification(config, arg.data, arg.smoke, size=32)
    config.total_epochs = 60
    config.augment = "flip | padded_crop(padding=4)" if arg.data == "cifar10" else "padded_crop(padding=2)"
    config.model = {"name": "mobilenet_v1", "width": arg.width, "strides": (1,) * 5 + (2,) + (1,) * 5 + (2, 1)}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    config.optim.decay = r"(?!.*depthwise).*kernel"
    config.optim.schedule = {"name": "cosine", "warmup_epochs": 2}
    if arg.smoke:
        config.model.update({"stem": 8, "channels": (16, 24), "strides": (1, 2)})
    return configs.smoke(config) if arg.smoke else config

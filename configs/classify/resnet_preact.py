"""Pre-activation ResNet-164 (or :depth=110, 1001) on CIFAR, norm and ReLU ahead of every convolution.

    python launch.py --config configs/classify/resnet_preact.py --workdir runs/cifar10_resnet_preact
    python launch.py --config configs/classify/resnet_preact.py:data=cifar100 --workdir runs/cifar100_resnet_preact

He et al. 2016, "Identity Mappings in Deep Residual Networks", appendix: as for ResNet on CIFAR, SGD with momentum
0.9, decay 1e-4, batches of 128, pad 4 and crop, flip; 64,000 steps at 0.1, divided by 10 after 32,000 and 48,000; the
first 400 steps warm up (there at 0.01, here in a line). Table 4:

    data      published test error   measured here
    cifar10   5.46 %                 not measured yet
    cifar100  24.33 %                not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `data` is cifar10 or cifar100; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(("cifar10", "cifar100")), depth=164, smoke=False)
    config = configs.base()
    datasets.classification(config, arg.data, arg.smoke)
    config.total_steps = 64_000
    config.augment = "flip | padded_crop(padding=4)"
    config.model = {"name": f"preact_resnet{arg.depth}"}
    config.loss = {"name": "softmax_cross_entropy"}
    config.eval = {"every_epochs": 4}
    config.optim = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}
    # Milestones count from the end of the warm-up
    config.optim.schedule = {"name": "step", "warmup_steps": 400, "milestones_steps": (31_600, 47_600)}
    if arg.smoke:
        config.model.update({"depths": (2, 2), "widths": (8, 16)})
    return configs.smoke(config) if arg.smoke else config

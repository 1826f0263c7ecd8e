"""A small vision transformer or ResNet on a part of MNIST; `configs/tables/mnist_data_size.py` compares them.

    python launch.py --config configs/studies/data_size.py --workdir runs/studies_data_size
    python launch.py --config configs/studies/data_size.py:model=resnet --workdir runs/studies_data_size_resnet

Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", figures 3 and 4: transformers fall behind with little data.
The first `percent` of 54,000 images in the order of the set, which is not that of its classes: the smaller parts are in
the larger ones. Images are 16x16, made smaller from 28x28. All runs take 2,000 steps of 64 images by the same
optimizer, without augmentation; its learning rate was the better of 1e-3 and 4e-3 for both networks, on 5 and on 100 %,
by validation accuracy after 500 steps (seed 100).

    model   test accuracy with 1, 5, 20 and 100 % of the images (`:model=vit,percent=5`)
    vit     not measured yet
    resnet  not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs
from cvdl_jax.errors import ConfigError

MODELS = {
    "vit": {"name": "vit_tiny_patch4_32", "image_size": 16, "width": 24, "depth": 3, "heads": 3},
    "resnet": {"name": "resnet8_tiny", "widths": (9, 18, 36)},
}


def get_config(arg=None):
    """The run's numbers; `model` is vit or resnet, `percent` of the images; `smoke` takes two steps on digits."""
    arg = configs.parse_arg(arg, model=configs.OneOf(MODELS), percent=100, smoke=False)
    if not 1 <= arg.percent <= 100:
        raise ConfigError(f"config argument percent={arg.percent} must lie between 1 and 100")
    config = configs.base()
    datasets.mnist(config, 16, arg.smoke)
    if not arg.smoke:
        config.data.update({"train": f"train[:{54_000 * arg.percent // 100}]", "validation": "train[58000:]"})
    config.total_steps = 2000
    config.batch_size = 64
    config.eval = {"every_percent": 100}
    config.log.every_steps = 100
    config.model = dict(MODELS[arg.model])
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "adamw", "lr": 4e-3, "weight_decay": 0.05, "clip_norm": 1.0}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 10}
    return configs.smoke(config) if arg.smoke else config

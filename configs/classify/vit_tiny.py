"""ViT-Ti with 4x4 patches.

    python launch.py --config configs/classify/vit_tiny.py --workdir runs/digits_vit_tiny
    python launch.py --config configs/classify/vit_tiny.py:data=mnist --workdir runs/mnist_vit_tiny
    python launch.py --config configs/classify/vit_tiny.py:data=cifar10 --workdir runs/cifar10_vit_tiny

Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words"; width 192, depth 12, 3 heads (Touvron et al. 2021, table 1).

Measured with seed 0 on two CPU cores that ran other programs too:

    data     test accuracy           wall time
    digits   96.66 % [94.25, 98.08]  934 s
    mnist    not measured yet
    cifar10  not measured yet

The report draws how alike learned positions are (figure 7 of the paper). With 8 x 8 patches of 2 pixels, 2 blocks of
width 48 and 25 epochs of digits (71.9 % right), the cosine similarity is 0.32 to neighbours and 0.04 at a distance of
two; 0.10 in one row, 0.11 in one column, and -0.01 elsewhere.
"""

from configs import datasets
from cvdl_jax.config import configs

SIZES = {"digits": 16, "mnist": 28, "cifar10": 32}
AUGMENT = {
    "digits": "padded_crop(padding=1)",
    "mnist": "padded_crop(padding=2)",
    "cifar10": "flip | padded_crop(padding=4) | mixup(alpha=0.2)",
}


def get_config(arg=None):
    """The run's numbers; `data` is digits, mnist or cifar10; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(AUGMENT), smoke=False)
    config = configs.base()
    datasets.classification(config, arg.data, arg.smoke, SIZES[arg.data])
    config.total_epochs = 40 if arg.data == "digits" else 20
    config.augment = AUGMENT[arg.data]
    config.model = {"name": "vit_tiny_patch4_32", "drop_path": 0.1}
    if arg.data != "cifar10":
        config.model.image_size = SIZES[arg.data]
    config.loss = {"name": "softmax_cross_entropy"}
    config.ema = {"decay": 0.999, "warmup": True}
    config.optim = {
        "name": "adamw",
        "lr": 1e-3 if arg.data == "cifar10" else 5e-4,
        "weight_decay": 0.05,
        "clip_norm": 1.0,
        "schedule": {"name": "cosine", "warmup_percent": 10},
    }
    if arg.smoke:
        config.model.depth = 2  # twelve equal blocks take six times as long to compile
    return configs.smoke(config) if arg.smoke else config

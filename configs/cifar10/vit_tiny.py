"""ViT-Ti with 4x4 patches on CIFAR-10.

    python launch.py --config configs/cifar10/vit_tiny.py --workdir runs/cifar10_vit_tiny

Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words"; width 192, depth 12, 3 heads (Touvron et al. 2021, table 1).

Not measured by a run of this repository yet.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base()
    datasets.cifar10(config, smoke=arg.smoke)
    config.total_epochs = 20
    config.batch_size = 128
    config.augment = "flip | padded_crop(padding=4) | mixup(alpha=0.2)"
    config.model = {"name": "vit_tiny_patch4_32", "drop_path": 0.1}
    config.loss = {"name": "softmax_cross_entropy"}
    config.ema = {"decay": 0.999, "warmup": True}
    config.optim = {
        "name": "adamw",
        "lr": 0.001,
        "weight_decay": 0.05,
        "clip_norm": 1.0,
        "schedule": {"name": "cosine", "warmup_percent": 10},
    }
    return configs.smoke(config) if arg.smoke else config

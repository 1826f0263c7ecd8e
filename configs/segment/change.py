"""What changed between two aerial views: a Siamese U-Net on drawn pairs in different light, 64x64 pixels.

    python launch.py --config configs/segment/change.py --workdir runs/aerial_change
    python launch.py --config configs/segment/change.py --config.model.views=1 --workdir runs/aerial_early_fusion

Daudt et al. 2018, "Fully Convolutional Siamese Networks for Change Detection", FC-Siam-diff with batch normalisation,
and FC-EF with `views=1`, which sees both views as one image of six channels. The pairs (`aerial_pairs`) are 1,000 to
train on, 200 to select on and 400 to test on; 4 % of the pixels changed.

Measured on the test split with seed 0, on two CPU cores that ran other programs for most of the time; early fusion is
not measured yet:

    iou/changed       dice/changed (F1)  wall time
    0.945             0.972              29 min
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base(ignore=(), palette="voc")
    config.experiment = "segment"
    name = "aerial_pairs(size=32, train=32, validation=16, test=16)" if arg.smoke else "aerial_pairs"
    config.data = {"name": name, "train": "train", "validation": "validation", "test": "test"}
    config.data.update({"features": ("image", "image_after", "segmentation_mask"), "classes": ("same", "changed")})
    config.normalise = {"mean": (0.472, 0.485, 0.346), "std": (0.128, 0.087, 0.125)}
    config.select = {"metric": "validation/iou/changed", "mode": "max"}
    config.total_epochs, config.batch_size = 30, 32
    config.augment = "flip | vertical_flip"
    config.model = {"name": "unet_siamese", "widths": (16, 32, 64, 128)}
    config.loss = {"name": "cross_entropy_and_dice"}
    config.optim = {"name": "adamw", "lr": 2e-3, "weight_decay": 1e-4}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5}
    config.ema = {"decay": 0.99, "warmup": True}
    config.eval = {"every_percent": 10}
    if arg.smoke:
        config.model.widths = (4, 8)
    return configs.smoke(config) if arg.smoke else config

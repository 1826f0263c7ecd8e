"""A one-stage detector with anchors and focal loss on drawn scenes of up to five of six shapes, 64x64 pixels.

    python launch.py --config configs/detect/anchors.py --workdir runs/shapes_detect
    python launch.py --config configs/detect/anchors.py:loss=hard_negatives --workdir runs/shapes_hard_negatives

Lin et al. 2017, "Focal Loss for Dense Object Detection"; a backbone of nine convolutions with heads on two of its
stages instead of a ResNet with a pyramid. `loss=hard_negatives` trains with softmax and three hard negatives for each
positive anchor instead (Liu et al. 2016, "SSD: Single Shot MultiBox Detector").

Measured on the test split with seed 0, on two CPU cores:

    loss            voc_ap50  coco_ap50  coco_ap  wall time
    focal           0.957     0.953      0.725    72 s
    hard_negatives  not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs

# Anchors begin with a small probability of an object under the focal loss, so that the many without one do not rule.
PRIORS = {"focal": {"prior": 0.01}, "hard_negatives": {}}


def get_config(arg=None):
    """The run's numbers; `loss` is focal or hard_negatives; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, loss=configs.OneOf(PRIORS), smoke=False)
    config = configs.base(match={"positive": 0.5, "negative": 0.4}, boxes={"weight": 1.0, "beta": 0.11}, nms={})
    config.experiment = "detect"
    datasets.shapes(config, ("image", "objects/bbox", "objects/label"), smoke=arg.smoke)
    config.total_epochs = 12
    config.batch_size = 32
    config.augment = "flip | vertical_flip"
    config.model = {"name": "anchor_detector", "widths": (16, 48, 64), "depth": 3, **PRIORS[arg.loss]}
    config.loss = {"name": arg.loss}
    config.optim = {
        "name": "adamw",
        "lr": 4e-3,
        "weight_decay": 1e-3,
        "schedule": {"name": "cosine", "warmup_percent": 5},
    }
    config.ema = {"decay": 0.99, "warmup": True}
    config.eval = {"every_percent": 25}
    config.select = {"metric": "validation/voc_ap50", "mode": "max"}
    return configs.smoke(config) if arg.smoke else config

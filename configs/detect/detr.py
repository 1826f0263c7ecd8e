"""DETR on drawn scenes: a Transformer whose queries each say one object or none; no anchors, no suppression.

    python launch.py --config configs/detect/detr.py --workdir runs/shapes_detr

Carion et al. 2020, "End-to-End Object Detection with Transformers", with two blocks that read the image and three of
20 queries, of 96 channels and pre-norm, in place of six and six, 100, 256 and post-norm, on a small ResNet, whose maps
are 8x8. The paper trains for 500 epochs.

Measured on the test split with seed 0, on two CPU cores that other programs used for most of the time; on validation,
AP50 was 0.30, 0.61, 0.70 and 0.72 after 15, 30, 45 and 60 epochs, so that it had not ended:

    data    COCO AP           AP50              wall time
    shapes  0.459             0.703             36 min
"""

from configs import datasets
from cvdl_jax.config import configs

SMOKE = {
    "width": 8,
    "heads": 2,
    "hidden": 16,
    "encoder": 1,
    "decoder": 2,
    "stage": 2,
    "backbone": {"name": "resnet8_tiny"},
}


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base(match={}, boxes={}, nms={"iou_threshold": 1.0})
    config.experiment = "detect"
    datasets.detection(config, "shapes", arg.smoke, lr=1e-3)
    config.total_epochs = 60
    config.optim.clip_norm = 1.0
    config.model = {"name": "detr_small", **(SMOKE if arg.smoke else {})}
    config.loss = {"name": "cross_entropy"}
    return configs.smoke(config) if arg.smoke else config

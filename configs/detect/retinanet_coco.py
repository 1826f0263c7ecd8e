"""RetinaNet with ResNet-50 and a feature pyramid on COCO 2017, 90,000 steps of 16 images ("1x").

    python launch.py --config configs/detect/retinanet_coco.py --workdir runs/coco_retinanet
    python launch.py --config configs/detect/retinanet_coco.py:data=voc --workdir runs/voc_retinanet

Lin et al. 2017, "Focal Loss for Dense Object Detection", section 4.1: SGD with momentum 0.9, a rate of 0.01 that falls
to a tenth at 60,000 and 80,000 steps, decay 1e-4, horizontal flips, anchors of 0.5 IoU. Other than there: images are
resized to 512x512, not to a shorter side of 500; the backbone begins at random unless `--config.init_from` says
otherwise, and its batch normalisation is trained; SGD begins with 500 steps of warm-up, as Detectron's. `data=voc` is
PASCAL VOC 2007, 24,000 steps.

Published: COCO AP 32.5 at 500 pixels, 34.3 at 600, 35.7 at 800 (table 1e, on test-dev; Detectron's 1x schedule).

As `--mode check --topology v5e:4x4` says, without a TPU and without the data:

    1.33 GiB of 16 GiB on each of 16 chips; 412 GFLOP a chip and step, 240 MiB sent; estimated 27.4 ms a step

Measured on the test split with seed 0:

    data  COCO AP           AP50              wall time
    coco  not measured yet
    voc   not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs

STEPS = {"coco": 90_000, "voc": 24_000}
SMOKE = {"channels": 8, "depth": 1, "octaves": 1, "levels": (1, 2), "backbone": {"name": "resnet8_tiny"}}


def get_config(arg=None):
    """The run's numbers; `data` is coco or voc; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(STEPS), smoke=False)
    config = configs.base(match={"positive": 0.5, "negative": 0.4}, boxes={"beta": 0.11}, nms={})
    config.experiment = "detect"
    datasets.photographs(config, arg.data, arg.smoke)
    config.total_steps, config.batch_size = STEPS[arg.data], 16
    config.augment = "flip"
    config.model = {"name": "retinanet_resnet50", **(SMOKE if arg.smoke else {})}
    config.loss = {"name": "focal"}
    config.optim = {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}
    milestones = tuple(STEPS[arg.data] * n // 9 - 500 for n in (6, 8))  # counted from the end of the warm-up
    config.optim.schedule = {"name": "step", "warmup_steps": 500, "milestones_steps": milestones}
    config.nms = {"iou_threshold": 0.5, "score_threshold": 0.05, "candidates": 1000, "keep": 100}
    config.select = {"metric": "validation/coco_ap", "mode": "max"}
    return configs.smoke(config) if arg.smoke else config

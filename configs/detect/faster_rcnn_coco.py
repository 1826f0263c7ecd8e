"""Faster R-CNN with ResNet-50 and a feature pyramid on COCO 2017, 90,000 steps of 16 images ("1x").

    python launch.py --config configs/detect/faster_rcnn_coco.py --workdir runs/coco_faster_rcnn

Lin et al. 2017, "Feature Pyramid Networks for Object Detection", section 4, by the schedule of Detectron2's
`faster_rcnn_R_50_FPN_1x`: SGD with momentum 0.9, a rate of 0.02 that falls to a tenth at 60,000 and 80,000 steps, 1000
steps of warm-up, decay 1e-4, horizontal flips; 256 anchors and 512 regions of an image, a quarter of them objects; 2000
candidates of a level in training, 1000 in a test, 1000 proposals. Other than there: images are resized to 800x800, not
to a shorter side of 640 to 800; the backbone begins at random unless `--config.init_from` says otherwise, and its batch
normalisation is trained; the box loss is smooth with beta 1/9, as torchvision's.

Published: COCO AP 37.9 on the validation images of 2017, Detectron2's model zoo, from ImageNet's weights; the paper has
36.2 on test-dev with ResNet-101 (table 4).

As `--mode check --topology v5e:4x4` says, without a TPU and without the data:

    2.77 GiB of 16 GiB on each of 16 chips; 828 GFLOP a chip and step, 166 MiB sent; estimated 61.4 ms a step

Measured on the test split with seed 0:

    COCO AP           AP50              wall time
    not measured yet
"""

from configs import datasets
from configs.detect import faster_rcnn
from cvdl_jax.config import configs

STEPS = 90_000


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base(match={}, boxes={"weight": 1.0, "beta": 1 / 9}, nms={})
    config.experiment = "detect"
    datasets.photographs(config, "coco", arg.smoke, (800, 800))
    config.total_steps, config.batch_size = STEPS, 16
    config.augment = "flip"
    config.model = {"name": "faster_rcnn_resnet50_fpn", **(faster_rcnn.SMOKE if arg.smoke else {})}
    config.loss = {"name": "cross_entropy"}
    config.optim = {"name": "sgd", "lr": 0.02, "momentum": 0.9, "weight_decay": 1e-4}
    milestones = tuple(STEPS * n // 9 - 1000 for n in (6, 8))  # counted from the end of the warm-up
    config.optim.schedule = {"name": "step", "warmup_steps": 1000, "milestones_steps": milestones}
    config.nms = {"iou_threshold": 0.5, "score_threshold": 0.05, "candidates": 1000, "keep": 100}
    config.select = {"metric": "validation/coco_ap", "mode": "max"}
    return configs.smoke(config) if arg.smoke else config

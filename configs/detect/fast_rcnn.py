"""Fast R-CNN, or R-CNN, on the regions of selective search: drawn scenes, or photographs of blood cells at half size.

    python launch.py --config configs/detect/fast_rcnn.py --workdir runs/shapes_fast_rcnn
    python launch.py --config configs/detect/fast_rcnn.py:rcnn --workdir runs/shapes_rcnn
    python launch.py --config configs/detect/fast_rcnn.py:data=bccd --workdir runs/bccd_fast_rcnn

Girshick 2015, "Fast R-CNN", on a small ResNet in place of VGG-16; Girshick et al. 2014, "Rich Feature Hierarchies", on
a ResNet-20 that sees each region as 32x32 pixels, in place of AlexNet and 227x227, with a softmax in place of linear
SVMs, all trained in one step. The regions of an image are searched for once where pixels are kept decoded, else each
time that it is read. They limit what can be found: of the cells of eight training images of BCCD, 73 % have a
region with an IoU of a half.

Published, mAP on VOC 2007 and seconds an image in a test, by the authors: R-CNN 66.0 and 50, Fast R-CNN 66.9 and 2,
Faster R-CNN 66.9 and 0.2: 1, 25 and 250 times the speed.

Measured on the test split with seed 0:

    data    COCO AP           AP50              AP50 of R-CNN     wall time
    shapes  not measured yet
    bccd    not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs

MODELS = {"fast_rcnn": {"pooled": 5}, "rcnn": {"region_sample": (16, 0.25)}}
SEARCHES = {"shapes": {"count": 60}, "bccd": {"count": 300, "scales": (30.0, 60.0, 120.0, 240.0)}}
BACKBONE = {"name": "resnet8_tiny", "depths": (1, 1), "widths": (4, 8)}
SMOKE = {
    "fast_rcnn": {"widths": (8,), "pooled": 3, "backbone": BACKBONE},
    "rcnn": {"crop": 8, "context": 1, "backbone": BACKBONE},
}


def get_config(arg=None):
    """The run's numbers; `data` is shapes or bccd, `rcnn` makes it R-CNN, `smoke` two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(SEARCHES), rcnn=False, smoke=False)
    model = "rcnn" if arg.rcnn else "fast_rcnn"
    config = configs.base(match={}, boxes={"weight": 1.0, "beta": 1.0}, nms={})
    config.experiment = "detect"
    datasets.detection(config, arg.data, arg.smoke)
    config.data.proposals = {"count": 20} if arg.smoke else SEARCHES[arg.data]
    config.model = {"name": f"{model}_small", **(SMOKE if arg.smoke else MODELS)[model]}
    config.loss = {"name": "cross_entropy"}
    return configs.smoke(config) if arg.smoke else config

"""The sliding window on drawn scenes: LeNet-5 with a background class on every window of three sizes.

    python launch.py --config configs/detect/sliding_window.py --workdir runs/shapes_sliding_window
    python launch.py --config configs/detect/sliding_window.py:form=crops --workdir runs/shapes_crops

Sermanet et al. 2014, "OverFeat", section 3.5; LeCun et al. 1998, section VII. Boxes are the windows themselves, so that
an object is found only where one of them fits. `form=crops` classifies one window after the other, with equal scores.

Measured on the test split with seed 0:

    form           COCO AP           AP50              wall time
    convolutional  not measured yet
    crops          not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `form` is convolutional or crops; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, form=configs.OneOf(["convolutional", "crops"]), smoke=False)
    config = configs.base(match={"positive": 0.5, "negative": 0.4}, boxes={"weight": 0.0}, nms={"iou_threshold": 0.3})
    config.experiment = "detect"
    datasets.detection(config, "shapes", arg.smoke)
    config.model = {"name": "sliding_window", "form": arg.form}
    config.loss = {"name": "hard_negatives", "ratio": 3.0}
    if arg.smoke:
        config.model.update({"sizes": (0.5,), "classifier": {"name": "lenet5_tiny"}})
    return configs.smoke(config) if arg.smoke else config

"""The sliding window on drawn scenes: LeNet-5 with a background class on every window of three sizes.

    python launch.py --config configs/detect/sliding_window.py --workdir runs/shapes_sliding_window
    python launch.py --config configs/detect/sliding_window.py:form=crops --workdir runs/shapes_crops
    python launch.py --config configs/detect/sliding_window.py:form=hog --workdir runs/shapes_hog

Sermanet et al. 2014, "OverFeat", section 3.5; LeCun et al. 1998, section VII. Boxes are the windows themselves, so that
an object is found only where one of them fits. `form=crops` classifies one window after the other, with equal scores.
`form=hog` is the classic detector: a linear SVM for each class on histograms of oriented gradients (Dalal and
Triggs 2005), the hinge loss with a penalty on its weights.

Measured on the test split with seed 0:

    form           COCO AP           AP50              wall time
    convolutional  not measured yet
    crops          not measured yet
    hog            not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `form` is convolutional, crops or hog; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, form=configs.OneOf(["convolutional", "crops", "hog"]), smoke=False)
    config = configs.base(match={"positive": 0.5, "negative": 0.4}, boxes={"weight": 0.0}, nms={"iou_threshold": 0.3})
    config.experiment = "detect"
    datasets.detection(config, "shapes", arg.smoke)
    config.model = {"name": "sliding_window", "form": "crops" if arg.form == "crops" else "convolutional"}
    config.loss = {"name": "hard_negatives", "ratio": 3.0}
    if arg.smoke:
        config.model.update({"sizes": (0.5,), "classifier": {"name": "lenet5_tiny"}})
    if arg.form == "hog":
        config.model.update({"classifier": {"name": "hog_linear"}, "window": 22})
        config.loss = {"name": "hinge"}
        config.nms.score_threshold = 0.5  # the sigmoid of a margin of 0: on the other side the machine says background
    return configs.smoke(config) if arg.smoke else config

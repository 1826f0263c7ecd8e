"""RetinaNet on drawn scenes, photographs of blood cells at half size, or faces: a small ResNet, a pyramid, focal loss.

    python launch.py --config configs/detect/retinanet.py --workdir runs/shapes_retinanet
    python launch.py --config configs/detect/retinanet.py:data=bccd --workdir runs/bccd_retinanet
    python launch.py --config configs/detect/retinanet.py:data=faces --workdir runs/faces_retinanet

Lin et al. 2017, "Focal Loss for Dense Object Detection", with 64 channels and towers of two convolutions in place of
256 and four. `data=faces` is a face detector: faces of `orl_faces`, which has to be prepared, in drawn scenes.

Measured on the test split with seed 0, on two shared CPU cores:

    data    COCO AP           AP50              wall time
    shapes  0.635             0.915             12 min
    bccd    0.485             0.803             12 min
    faces   not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs

# The pyramid begins where the smallest objects are two or three cells large.
MODELS = {
    "shapes": {"levels": (0, 1, 2), "scale": 2.5},
    "bccd": {"levels": (1, 2, 3), "scale": 2.5},
    "faces": {"levels": (0, 1, 2), "scale": 3.5},
}
SMOKE = {
    "channels": 8,
    "depth": 1,
    "octaves": 1,
    "ratios": (1.0,),
    "levels": (1, 2),
    "backbone": {"name": "resnet8_tiny"},
}


def get_config(arg=None):
    """The run's numbers; `data` is shapes, bccd or faces; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(MODELS), smoke=False)
    config = configs.base(match={"positive": 0.5, "negative": 0.4}, boxes={"weight": 1.0, "beta": 0.11}, nms={})
    config.experiment = "detect"
    datasets.detection(config, arg.data, arg.smoke)
    config.model = {"name": "retinanet_small", **(SMOKE if arg.smoke else MODELS[arg.data])}
    config.loss = {"name": "focal"}
    return configs.smoke(config) if arg.smoke else config

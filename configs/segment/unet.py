"""A U-Net on CamVid at half its size, on drawn shapes, or on drawn lesions: 11 classes, 6, or 1 and the background.

    python launch.py --config configs/segment/unet.py --workdir runs/camvid_unet
    python launch.py --config configs/segment/unet.py:data=shapes --workdir runs/shapes_unet
    python launch.py --config configs/segment/unet.py:data=lesions --workdir runs/lesions_unet

Ronneberger et al. 2015, "U-Net"; a quarter of its channels, batch normalisation and padded convolutions, for small
machines: config.model.widths=(64,128,256,512,1024) is the paper's network. Its loss adds the Dice loss, as nnU-Net.
CamVid is the driving scene in its palette of 11 colours; lesions are a medical question of one class, discs among many
specks; a figure gives them another hue through the soft mask, as one recolours hair.

Measured on the test split with seed 0, on two CPU cores:

    data     mean_iou (%)       pixel_accuracy  wall time
    camvid   not measured yet
    shapes   94.0 [93.1, 94.9]  99.5 %          40 min
    lesions  not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `data` is camvid, shapes or lesions, `height` CamVid's; `smoke` makes it two steps."""
    data = configs.OneOf((*datasets.SEGMENTATION, "lesions"))
    arg = configs.parse_arg(arg, data=data, height=180, smoke=False)
    config = configs.base(ignore=(), palette="voc")
    config.experiment = "segment"
    datasets.segmentation(config, arg.data, arg.height, arg.smoke)
    config.total_epochs = 40
    config.model = {"name": "unet", "widths": (16, 32, 64, 128, 256), "padding": "same", "norm": "batch"}
    config.loss = {"name": "cross_entropy_and_dice"}
    config.ema = {"decay": 0.99, "warmup": True}
    if arg.smoke:
        config.model.update({"widths": (8, 16)})
    return configs.smoke(config) if arg.smoke else config

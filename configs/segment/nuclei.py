"""Nuclei of cells one by one, in photographs of the Data Science Bowl 2018, or drawn shapes.

    python launch.py --config configs/segment/nuclei.py --workdir runs/nuclei_watershed
    python launch.py --config configs/segment/nuclei.py:method=embedding --workdir runs/nuclei_embedding
    python launch.py --config configs/segment/nuclei.py:method=mask_rcnn --workdir runs/nuclei_mask_rcnn
    python launch.py --config configs/segment/nuclei.py:data=shapes --workdir runs/shapes_watershed

A U-Net with a quarter of its channels says of each pixel whether it is background, interior or border, and a watershed
cuts objects apart (Caicedo et al. 2019); or it gives each pixel a vector, and clusters of vectors are objects (De
Brabandere et al. 2017); or a small Mask R-CNN gives a mask to each of its boxes (He et al. 2017). The 526 images of the
training split have many sizes and are resized to 192x192; the last fifth of them selects the checkpoint, 131 are tested
on.

Measured on the test split with seed 0, on two CPU cores:

    method     mask_ap50         pq                wall time, nuclei
    watershed  not measured yet
    embedding  not measured yet
    mask_rcnn  not measured yet

    data    mask_ap50         pq                wall time, watershed
    nuclei  not measured yet
    shapes  not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs

# MOST is more than the 250 or 5 objects that an image has at most: what is found too much has a number, too.
MOST = {"nuclei": 300, "shapes": 20}
KEEP = {"nuclei": 250, "shapes": 20}
# For many small objects: more proposals, smaller anchors and masks of 14x14 pixels.
MANY = {
    "before": (800, 800),
    "after": (400, 400),
    "region_sample": (128, 0.5),
    "sizes": (2.0, 4.0, 8.0),
    "mask_pooled": 7,
}
TINY = {
    "channels": 8,
    "widths": (8,),
    "mask_widths": (8,),
    "before": (20, 20),
    "after": (20, 20),
    "region_sample": (8, 0.5),
    "levels": (1,),
    "extra": 0,
    "backbone": {"name": "resnet8_tiny"},
}


def get_config(arg=None):
    """The run's numbers; `method` watershed, embedding or mask_rcnn; `data` nuclei or shapes; `smoke` for two steps."""
    methods, sets = configs.OneOf(["watershed", "embedding", "mask_rcnn"]), configs.OneOf(MOST)
    arg = configs.parse_arg(arg, method=methods, data=sets, smoke=False)
    config = configs.base(method={"name": arg.method}, match={}, boxes={}, nms={})
    config.experiment = "instances"
    datasets.instances(config, arg.data, arg.smoke)
    config.total_epochs = 40
    if arg.method == "mask_rcnn":
        config.method.name = "regions"
        config.total_epochs = 20
        many = MANY if arg.data == "nuclei" else {}
        config.model = {"name": "mask_rcnn_small", **(TINY if arg.smoke else many)}
        config.loss = {"name": "cross_entropy"}
        keep = 20 if arg.smoke else KEEP[arg.data]
        config.nms = {"candidates": 4 * keep, "keep": keep}
    else:
        config.method.most = 20 if arg.smoke else MOST[arg.data]
        widths = (4, 8) if arg.smoke else (16, 32, 64, 128, 256)
        config.model = {"name": "unet", "widths": widths, "padding": "same", "norm": "batch"}
        config.loss = {"name": "cross_entropy_and_dice"}
    config.ema = {"decay": 0.99, "warmup": True}
    return configs.smoke(config) if arg.smoke else config

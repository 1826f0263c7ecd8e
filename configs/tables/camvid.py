"""Segmentation networks on CamVid at half size, each trained on two CPU cores.

    python launch.py --table configs/tables/camvid.py --workers 1

All are narrower than in their papers and trained from scratch, so none of the papers' numbers is of the same thing:
theirs are at 360 x 480 pixels, Dilation8 begins with weights of ImageNet. Needs CamVid, prepared by TFDS.
"""

from cvdl_jax.config import configs

# (config, what a paper says of the network at its own size: mean IoU, source, whether that is from memory)
NETWORKS = {
    "U-Net": ("unet", None),
    "SegNet": ("segnet", (46.4, "Jegou et al. 2017, table 3: SegNet", True)),
    "FC-DenseNet-56": ("fc_densenet", (58.9, "Jegou et al. 2017, table 3: FC-DenseNet56", True)),
    "dilated": ("dilated", (65.3, "Yu and Koltun 2016, table 5: Dilation8", False)),
}


def published(value, source, memory):
    """Mean IoU in percent."""
    return {
        "value": value, "source": source, "data": "CamVid", "metric": "mean IoU of 11 classes",
        "protocol": "360 x 480 pixels or more", "memory": memory,
    }  # fmt: skip


def get_table(arg=None):
    """The table; `smoke` makes every run two steps on drawn scenes, `seeds=(0,1)` changes the seeds."""
    arg = configs.parse_arg(arg, smoke=False, seeds=(0,))
    rows = []
    for name, (file, number) in NETWORKS.items():
        row = {"name": name, "config": f"configs/segment/{file}.py:data=camvid{',smoke' if arg.smoke else ''}"}
        rows.append(row | ({"published": published(*number)} if number else {}))
    return {
        "title": "Small segmentation networks on CamVid",
        "caption": "Mean IoU over the 11 classes, of all test pixels that have one; the checkpoint is selected on "
        "validation images.",
        "metric": {"key": "test/mean_iou", "label": "mean IoU of 11 classes", "unit": "%", "better": "max"},
        "seeds": arg.seeds,
        "data": "shapes" if arg.smoke else "CamVid",
        "protocol": "from scratch, 180 x 240 pixels (FC-DenseNet-56: 120 x 160), 367 images to train on",
        "rows": rows,
    }

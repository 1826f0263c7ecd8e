"""Detectors of one and of two stages on photographs of blood cells, each trained on two CPU cores.

    python launch.py --table configs/tables/bccd.py --workers 1

All are small and trained from scratch at half size, 240 x 320 pixels, by one recipe. BCCD has no split that all use and
no paper; YOLO networks that had seen COCO before are quoted with AP50 between 0.85 and 0.92 on several splits of it.
How many images a second each reads is measured by `python -m benchmarks.detectors`. Needs BCCD, prepared by TFDS.
"""

from cvdl_jax.config import configs

DETECTORS = {
    "RetinaNet": "retinanet",
    "SSD": "ssd",
    "YOLO with anchors": "yolo_anchors",
    "FCOS": "fcos",
    "Faster R-CNN": "faster_rcnn",
}
# Of a network that had seen COCO before, so it compares with nothing here.
YOLOV8N = {
    "value": 0.924,
    "source": "Chen et al. 2025, 'NBCDC-YOLOv8', IET Computer Vision: YOLOv8n, 2.3 below their 94.7 %",
    "data": "BCCD",
    "metric": "AP50",
    "protocol": "YOLOv8n, pretrained on COCO, another split",
}


def get_table(arg=None):
    """The table; `smoke` makes every run two steps on drawn scenes, `seeds=(0,1)` changes the seeds."""
    arg = configs.parse_arg(arg, smoke=False, seeds=(0,))
    rows = [
        {"name": name, "config": f"configs/detect/{file}.py:data=bccd{',smoke' if arg.smoke else ''}"}
        for name, file in DETECTORS.items()
    ]
    rows[2]["published"] = YOLOV8N
    return {
        "title": "Small detectors on blood cells",
        "caption": "AP50 (the area under the interpolated curve of PASCAL VOC 2010, at IoU 0.5) on the test images; "
        "the checkpoint is selected on validation images.",
        "metric": {"key": "test/voc_ap50", "label": "AP50", "better": "max", "digits": 3},
        "seeds": arg.seeds,
        "data": "shapes" if arg.smoke else "BCCD",
        "protocol": "from scratch, 240 x 320 pixels, 205 images to train on and 87 to select on",
        "rows": rows,
    }

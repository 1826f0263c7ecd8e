"""What finds the objects of an image one by one, as an experiment sees it: a network, and a method beside it.

model, method = segmenter(config, num_classes, dtype=..., remat=...)
logits, out = model.apply(...)                                # with truth=truth, where the method reads it
parts, weight = method.losses(logits, out, truth)             # {"loss": [b], ...}, [b]
segments = method.segments(params, logits, out, (h, w))       # see `instance_methods.py`
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from cvdl_jax.config.binding import check_section, named, partially
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import panoptic
from cvdl_jax.models import instance_methods, registry
from cvdl_jax.models.criterion import outputs_of, refuse
from cvdl_jax.models.instance_methods import Method
from cvdl_jax.ops.instance_masks import paste
from cvdl_jax.ops.losses import segmentation
from cvdl_jax.ops.suppression import detections

REGIONS = "regions"  # the method of detectors that give masks


def segmenter(config: Mapping[str, Any], num_classes: int, **more: Any) -> tuple[Any, Method]:
    """The network and the method of a configuration; every section is checked against its function.

    Args:
        config: `model`, `method`, `loss`; for the method "regions" also `match`, `boxes` and `nms`, as of a detector.
        num_classes: of the objects.
        **more: `dtype` and `remat` of the network.

    Raises:
        ConfigError: for sections that do not fit each other.
    """
    check_section(config["method"], "config.method")
    if config["method"].get("name") != REGIONS:
        name = config["method"].get("name")
        refuse(config, ("match", "boxes", "nms"), f"config.method.name={name!r}")
        loss = named(segmentation, config["loss"], "config.loss", "logits", "labels")
        choose = named(instance_methods, config["method"], "config.method", "num_classes", "pixel_loss")
        method = choose(num_classes=num_classes, pixel_loss=loss)
        model = registry.create(
            config["model"], "config.model", kinds=("segmentation",), num_classes=method.outputs, **more
        )
        return model, method
    outputs = outputs_of(config["loss"], num_classes)
    model = registry.create(config["model"], "config.model", kinds=("detection",), outputs=outputs, **more)
    if not hasattr(model, "masks"):
        raise ConfigError(
            f"config.model.name={config['model']['name']!r} finds boxes without masks; config.method.name={REGIONS!r} "
            "needs mask_rcnn_small or maskrcnn_resnet50_fpn"
        )
    criterion = model.criterion({name: config[name] for name in ("loss", "match", "boxes")})
    thin = partially(detections, config["nms"], "config.nms", "boxes", "scores")
    choose = named(instance_methods, config["method"], "config.method", "model", "criterion", "thin")
    return model, choose(model=model, criterion=criterion, thin=thin)


def answers(rows: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The segments of an evaluation with a mask and a box for each, for `metrics.detection`, on the host.

    Args:
        rows: segments [n, ...]; "boxes" and "patches" of those that may overlap, see `instance_methods.regions`.
    """
    most, size = rows["mask"].shape[1], rows["ids"].shape[1:3]
    if "patches" not in rows:
        return {**rows, "masks": panoptic.masks_of(rows["ids"], most), "boxes": panoptic.all_boxes(rows["ids"], most)}
    put, patches = jax.jit(partial(paste, size=size)), rows["patches"].astype(np.float32)
    return {**rows, "masks": panoptic.Masks(lambda i: np.asarray(put(patches[i], rows["boxes"][i])) > 0.5)}

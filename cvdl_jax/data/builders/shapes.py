"""Shapes: drawn scenes of up to five objects with boxes, masks and a caption; `data/scenes.py` draws them.

The name is `shapes`, or with other settings `shapes(size=96, objects=8)`. Example i of a split is a function of
(split, i) and the settings alone, so a longer split begins with the examples of a shorter one.
"""

import dataclasses
import io

import numpy as np
import tensorflow_datasets as tfds

from cvdl_jax.data import scenes
from cvdl_jax.data.builders._settings import SPLIT_LIMITS, Drawn, named

STREAMS = {"train": 0, "validation": 1, "test": 2}


@dataclasses.dataclass(eq=False, kw_only=True)
class ShapesConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes."""

    size: int
    objects: int
    classes: int
    clutter: int
    train: int
    validation: int
    test: int


def configure(
    size: int = 64,
    objects: int = 5,
    classes: int = 6,
    clutter: int = 6,
    train: int = 2000,
    validation: int = 300,
    test: int = 500,
) -> ShapesConfig:
    """The arguments of the data set's name.

    Args:
        size: height and width of the images in pixels.
        objects: most objects in a scene.
        classes: the first so many of circle, square, triangle, cross, ring and bar.
        clutter: specks in the background.
        train: scenes of this split.
        validation: likewise.
        test: likewise.

    Returns:
        A builder config, named by the settings that differ from the defaults: "size96_objects8", or "default".

    Raises:
        ConfigError: for a number out of its range.
    """
    values = dict(locals())
    limits = {
        "size": (16, 1024), "objects": (1, 255), "classes": (1, len(scenes.CLASSES)), "clutter": (0, 10_000),
        **dict.fromkeys(STREAMS, SPLIT_LIMITS),
    }  # fmt: skip
    name = named("shapes", configure, values, limits)
    return ShapesConfig(name=name, description=f"Scenes with {values}.", **values)


class Shapes(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `shapes` data set; `label` is the class of the object with the largest visible area."""

    VERSION = tfds.core.Version("1.0.0")
    splits = STREAMS

    def _info(self) -> tfds.core.DatasetInfo:
        size, names = self.builder_config.size, scenes.CLASSES[: self.builder_config.classes]
        return tfds.core.DatasetInfo(
            builder=self,
            description="Drawn scenes of simple shapes with boxes, instance and segmentation masks and captions.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=names),
                    "objects": tfds.features.Sequence(
                        {
                            "bbox": tfds.features.BBoxFeature(),
                            "label": tfds.features.ClassLabel(names=names),
                            "mask_id": np.int64,  # the object's value in instance_mask
                        }
                    ),
                    "instance_mask": tfds.features.Image(shape=(size, size, 1), encoding_format="png"),
                    "segmentation_mask": tfds.features.Image(shape=(size, size, 1), encoding_format="png"),
                    "caption": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        config = self.builder_config
        for i in range(getattr(config, split)):
            scene = scenes.draw(STREAMS[split], i, config.size, config.objects, config.classes, config.clutter)
            labels = scene.labels().tolist()
            boxes = (scene.boxes() / config.size).tolist()
            example = {
                "image": png(scene.image),
                "label": labels[int(scene.areas().argmax())],
                "objects": [
                    {"bbox": tfds.features.BBox(*box), "label": label, "mask_id": k + 1}
                    for k, (box, label) in enumerate(zip(boxes, labels, strict=True))
                ],
                "instance_mask": png(scene.instances),
                "segmentation_mask": png(scene.segmentation()),
                "caption": scene.caption(),
            }
            yield i, example


def png(pixels: np.ndarray) -> bytes:
    """A PNG file without compression, so that its bytes, and the fingerprint, do not depend on the version of zlib."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_level=0)
    return file.getvalue()

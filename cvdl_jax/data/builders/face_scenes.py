"""Faces in drawn scenes: grey photographs of faces, cut out as ellipses and pasted into scenes of shapes, with boxes.

The name is `face_scenes`, or with other settings `face_scenes(size=128, faces=5)`. The faces are those of `orl_faces`
(AT&T Laboratories Cambridge), which has to be prepared; without it this set cannot be made. No person is in two splits:
the first 28 people of its training split are in "train", the other 4 in "validation", and the 8 of its test split in
"test". Example i of a split is a function of (split, i) and the settings alone, in whole numbers.
"""

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from cvdl_jax.data import load, scenes
from cvdl_jax.data.builders._settings import SPLIT_LIMITS, Drawn, named
from cvdl_jax.data.builders.shapes import png
from cvdl_jax.data.scenes import Words
from cvdl_jax.errors import DataError

SOURCE = "orl_faces"
# {split: (its stream of random words, the source's split, the first person, the last one)}
SPLITS = {"train": (40, "train", 0, 27), "validation": (42, "train", 28, 31), "test": (44, "test", 32, 39)}
_TRIES, _LIGHT, _NOISE = 20, 30, 6


@dataclasses.dataclass(eq=False, kw_only=True)
class FaceScenesConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes, and the folder of the faces."""

    size: int
    faces: int
    objects: int
    train: int
    validation: int
    test: int
    folder: Path = Path()


def configure(
    size: int = 96, faces: int = 3, objects: int = 5, train: int = 1500, validation: int = 200, test: int = 300
) -> FaceScenesConfig:
    """The arguments of the data set's name.

    Args:
        size: height and width of the images in pixels.
        faces: of a scene, at most; some have none.
        objects: shapes that are no faces, at most.
        train: scenes of this split.
        validation: likewise.
        test: likewise.

    Returns:
        A builder config, named by the settings that differ from the defaults.

    Raises:
        ConfigError: for a number out of its range.
    """
    values = dict(locals())
    limits = {"size": (32, 1024), "faces": (1, 20), "objects": (1, 255), **dict.fromkeys(SPLITS, SPLIT_LIMITS)}
    name = named("face_scenes", configure, values, limits)
    return FaceScenesConfig(name=name, description=f"Faces in scenes with {values}.", **values)


def smaller(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture uint8 [h, w] in another size, int64 [height, width]: means of pixels, or pixels repeated."""
    rows, columns = (np.arange(n) * m // n for n, m in zip((height, width), picture.shape, strict=True))
    sums = np.add.reduceat(np.add.reduceat(picture.astype(np.int64), rows, 0), columns, 1)
    counts = [  # a pixel that is repeated counts once
        np.maximum(np.diff(np.append(edges, m)), 1) for edges, m in zip((rows, columns), picture.shape, strict=True)
    ]
    return sums // (counts[0][:, None] * counts[1][None])


def compose(stream: int, index: int, pictures: np.ndarray, size: int, faces: int, objects: int):
    """One scene.

    Args:
        stream: of the split; the next one is used, too.
        index: of the scene.
        pictures: faces, uint8 [n, h, w].
        size: of the scene.
        faces: most faces.
        objects: most shapes.

    Returns:
        (uint8 [size, size]; boxes in pixels, int64 [k, 4]; which picture each of them shows).
    """
    image = scenes.draw(stream, index, size, objects).image.astype(np.int64) @ np.array([299, 587, 114]) // 1000
    words, boxes, shown = Words(stream + 1, index), np.zeros((0, 4), np.int64), []
    for _ in range(words.between(0, faces)):
        which, height = words.below(len(pictures)), words.between(size // 5, size // 2)
        width = height * pictures.shape[2] // pictures.shape[1]
        face = smaller(pictures[which], height, width) + words.between(-_LIGHT, _LIGHT)
        face = face[:, ::-1] if words.below(2) else face
        y, x = 2 * np.arange(height)[:, None] + 1 - height, 2 * np.arange(width)[None] + 1 - width
        oval = (y * width) ** 2 + (x * height) ** 2 <= (height * width) ** 2
        for _ in range(_TRIES):
            top, left = words.below(size - height + 1), words.below(size - width + 1)
            box = np.asarray([top, left, top + height, left + width])
            apart = (box[2:] <= boxes[:, :2]).any(1) | (boxes[:, 2:] <= box[:2]).any(1)
            if apart.all():
                part = image[top : top + height, left : left + width]
                part[oval] = face[oval]
                boxes, shown = np.concatenate([boxes, box[None]]), [*shown, which]
                break
    noise = words.octets(image.size).reshape(image.shape) % (2 * _NOISE + 1) - _NOISE
    return np.clip(image + noise, 0, 255).astype(np.uint8), boxes, shown


class FaceScenes(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `face_scenes` data set: grey images and the boxes of the faces, of one class."""

    VERSION = tfds.core.Version("1.0.0")
    splits = SPLITS

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        box = {"bbox": tfds.features.BBoxFeature(), "label": tfds.features.ClassLabel(names=["face"])}
        return tfds.core.DatasetInfo(
            builder=self,
            description="Faces of another set in drawn scenes, with boxes.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 1), encoding_format="png"),
                    "objects": tfds.features.Sequence(box),
                }
            ),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        config = self.builder_config
        stream, part, first, last = SPLITS[split]
        whole = load.load(SOURCE, str(config.folder), train=part, features=("image", "label"), resident="always")
        arrays = {name: np.asarray(x) for name, x in whole.splits["train"].arrays.items()}
        pictures = arrays["image"][(arrays["label"] >= first) & (arrays["label"] <= last), ..., 0]
        if not len(pictures):
            raise DataError(f"{SOURCE} has no face of the people {first} to {last} in its split {part!r}")
        for i in range(getattr(config, split)):
            image, boxes, _ = compose(stream, i, pictures, config.size, config.faces, config.objects)
            objects = [{"bbox": tfds.features.BBox(*box), "label": 0} for box in (boxes / config.size).tolist()]
            yield i, {"image": png(image), "objects": objects}

"""Faces of several sources, each of which has the labels of some tasks alone, as the sets of the All-In-One network.

The name is `face_tasks`, or with other settings `face_tasks(size=32, people=20)`. Four sources take turns, in the
shares of the settings:

    identities  who it is, of `people` people, the same in every split; in "train" their gender, too
    ages        age and gender
    smiles      smile and gender
    poses       whether there is a face, its landmarks and which of them can be seen, its angles; a third are no faces

Every face is drawn with all of its traits (`portraits.py` draws it), but an example holds 0 in the place of what its
source does not say, and `known/NAME` is 1 where NAME is known. But for the first source no person is in two splits, or
seen twice. These people do not exist: `gender` is a drawn trait that is called as the head of the published network,
and `age` is a number of years that changes hair, eyes and nose. Example i of a split is a function of (split, i) and
the settings.

`landmarks` are 21 points (x, y) in pixels: brows, eyes, nose, sides of the head, mouth and chin. What can be seen of
them is in the image, on the side of the head that is turned to it. `angles` are pitch, yaw and roll in degrees.

Reference: Ranjan et al. 2017, "An All-In-One Convolutional Neural Network for Face Analysis", table I.
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from cvdl_jax.data import portraits, scenes
from cvdl_jax.data.builders._settings import SPLIT_LIMITS, Drawn, named
from cvdl_jax.data.builders.shapes import png
from cvdl_jax.data.scenes import Words

STREAMS = {"train": 110, "validation": 112, "test": 114}  # of people; the next one of their views
KNOWN_PEOPLE = 116
SOURCES = {
    "identities": ("identity", "gender"),
    "ages": ("age", "gender"),
    "smiles": ("smile", "gender"),
    "poses": ("face", "landmarks", "angles"),
}
LABELS = ("face", "landmarks", "angles", "smile", "gender", "age", "identity")
POINTS = (17, 19, 21, 22, 24, 26, 36, 68, 39, 42, 69, 45, 31, 30, 35, 0, 16, 48, 66, 54, 8)  # of portraits.landmarks
AGES = (8, 80)


class Someone:
    """A person with traits that can be seen: gender 0 or 1, age in years."""

    def __init__(self, words: Words):
        plain = portraits.person(words)
        n, c = words.below, words.between
        self.gender, self.age = n(2), c(*AGES)
        grey = n(100) < 2 * (self.age - 35)
        self.drawn = plain._replace(
            hair=len(portraits.HAIRS) - 1 if grey else n(len(portraits.HAIRS) - 1),
            long_hair=int((n(5) == 0) == (self.gender == 1)),
            moustache=int(self.gender == 1 and self.age > 17 and n(2) == 0),
            brow=c(5, 7) if self.gender else c(3, 4),
            lips=c(4, 5) if self.gender else c(6, 8),
            fringe=max(26 - self.age // 3 + c(-3, 3), 0),
            eye_width=max(16 - self.age // 16, 11),
            eye_height=max(10 - self.age // 20, 6),
            nose=9 + self.age // 10,
        )


@dataclasses.dataclass(eq=False, kw_only=True)
class FaceTasksConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes."""

    size: int
    people: int
    turn: int
    identities: int
    ages: int
    smiles: int
    poses: int
    train: int
    validation: int
    test: int


def configure(
    size: int = 64,
    people: int = 50,
    turn: int = 35,
    identities: int = 1,
    ages: int = 1,
    smiles: int = 1,
    poses: int = 1,
    train: int = 8000,
    validation: int = 800,
    test: int = 2000,
) -> FaceTasksConfig:
    """The arguments of the data set's name.

    Args:
        size: height and width of the images in pixels.
        people: of the source of identities.
        turn: largest yaw in degrees; pitch goes to half of it, roll to a third.
        identities: of this source so many examples come in turn with
        ages: so many of this one,
        smiles: of this one
        poses: and of this one.
        train: examples of this split.
        validation: likewise.
        test: likewise.

    Returns:
        A builder config, named by the settings that differ from the defaults.

    Raises:
        ConfigError: for a number out of its range.
    """
    values = dict(locals())
    limits = {"size": (16, 512), "people": (2, 100_000), "turn": (0, 60), **dict.fromkeys(SOURCES, (1, 100))}
    name = named("face_tasks", configure, values, {**limits, **dict.fromkeys(STREAMS, SPLIT_LIMITS)})
    return FaceTasksConfig(name=name, description=f"Faces of several sources with {values}.", **values)


def visible(who: portraits.Person, seen: portraits.View, size: int) -> np.ndarray:
    """Which of the 21 landmarks can be seen, int64 [21]: in the image, and on the side that faces who looks."""
    own = portraits.face_points(who, seen.expression)[list(POINTS)]  # [21, 3]
    normal = own / np.square([who.width / 100, 1.0, 0.88])  # of the ellipsoid of the head
    r = portraits.rotation(seen)
    towards = normal[:, 0] * r[2, 0] + normal[:, 1] * r[2, 1] + normal[:, 2] * r[2, 2]
    at = portraits.landmarks(who, seen, size)[list(POINTS), :2]
    return ((towards > 0) & (at >= 0).all(1) & (at < size).all(1)).astype(np.int64)


def source_of(index: int, config: FaceTasksConfig) -> str:
    """The source of an example: they take turns."""
    turns = [name for name in SOURCES for _ in range(getattr(config, name))]
    return turns[index % len(turns)]


def example(split: str, index: int, config: FaceTasksConfig) -> dict:
    """One example with everything that is drawn, and what of it its source says: {"image", ..., "known": [names]}."""
    stream, source = STREAMS[split], source_of(index, config)
    words = Words(stream + 1, index)
    known = list(SOURCES[source])
    if source == "identities":
        identity = words.below(config.people)
        who = Someone(Words(KNOWN_PEOPLE, identity))
        known = known if split == "train" else ["identity"]  # their gender has been seen
    else:
        identity, who = 0, Someone(Words(stream, index))
    seen = portraits.view(words, config.turn)
    row = {
        "source": list(SOURCES).index(source), "face": 1, "identity": identity, "gender": who.gender,
        "age": np.float32(who.age), "smile": int(portraits.EXPRESSIONS[seen.expression] == "smile"),
        "angles": np.float32([seen.pitch, seen.yaw, seen.roll]),
        "landmarks": portraits.landmarks(who.drawn, seen, config.size)[list(POINTS), :2].astype(np.float32),
        "visibility": visible(who.drawn, seen, config.size),
    }  # fmt: skip
    if source == "poses" and words.below(3) == 0:
        return {**row, "face": 0, "known": ["face"], "image": scenes.draw(stream, index, config.size, 5).image}
    return {**row, "known": known, "image": portraits.draw(who.drawn, seen, config.size).image}


class FaceTasks(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `face_tasks` data set."""

    VERSION = tfds.core.Version("1.0.0")
    splits = STREAMS

    def _info(self) -> tfds.core.DatasetInfo:
        size, number = self.builder_config.size, tfds.features.Scalar(np.int64)
        points = len(POINTS)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Drawn faces of sources that know different things of them.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "source": tfds.features.ClassLabel(names=list(SOURCES)),
                    "landmarks": tfds.features.Tensor(shape=(points, 2), dtype=np.float32),
                    "visibility": tfds.features.Tensor(shape=(points,), dtype=np.int64),
                    "angles": tfds.features.Tensor(shape=(3,), dtype=np.float32),
                    "age": tfds.features.Scalar(np.float32),
                    **{name: number for name in ("face", "smile", "gender", "identity")},
                    "known": dict.fromkeys(LABELS, number),
                }
            ),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        for i in range(getattr(self.builder_config, split)):
            row = example(split, i, self.builder_config)
            known = {name: int(name in row["known"]) for name in LABELS}
            hidden = [name for name in LABELS if not known[name]]
            hidden += ["visibility"] if "landmarks" in hidden else []
            row |= {name: np.zeros_like(row[name]) for name in hidden}
            yield i, {**row, "image": png(row["image"]), "known": known}

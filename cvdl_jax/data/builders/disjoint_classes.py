"""Classes that training does not know: another set, whose splits have no class in common.

`disjoint_classes` is `omniglot_small` (Lake et al. 2015, "Human-level concept learning through probabilistic program
induction"): "train" has the 136 characters of the five alphabets of its small1, "validation" Tagalog and "test"
Katakana and Sanskrit of small2. Greek and Latin, which small2 has once more with the same images, are left out of it:
no character, no alphabet and no image is in two splits. `disjoint_classes(source='orl_faces')` is that set (AT&T
Laboratories Cambridge): 24 people to train on, 8 others to validate on and 8 others to test on, ten photographs each.
The source has to be prepared. Images are grey and keep their size; the classes keep their numbers.
"""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow_datasets as tfds

from cvdl_jax.data import load
from cvdl_jax.data.builders._settings import Drawn, named
from cvdl_jax.data.builders.shapes import png
from cvdl_jax.errors import DataError

Source = Literal["omniglot_small", "orl_faces"]
ENTRY = {"omniglot_small": "alphabet", "orl_faces": "label"}  # by which examples are chosen
# {source: {split: (the source's split, the values of the entry that are chosen)}}
PARTS = {
    "omniglot_small": {
        "train": ("small1", ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin")),
        "validation": ("small2", ("Tagalog",)),
        "test": ("small2", ("Japanese_(katakana)", "Sanskrit")),
    },
    "orl_faces": {
        "train": ("train", tuple(map(str, range(24)))),
        "validation": ("train", tuple(map(str, range(24, 32)))),
        "test": ("test", tuple(map(str, range(32, 40)))),
    },
}


@dataclasses.dataclass(eq=False, kw_only=True)
class DisjointClassesConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes, and the folder of its source."""

    source: str
    folder: Path = Path()


def configure(source: Source = "omniglot_small") -> DisjointClassesConfig:
    """The arguments of the data set's name.

    Args:
        source: the set that is cut anew.

    Returns:
        A builder config, named by the settings that differ from the defaults.
    """
    name = named("disjoint_classes", configure, {"source": source}, {})
    return DisjointClassesConfig(name=name, description=f"Splits of {source} without a common class.", source=source)


class DisjointClasses(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `disjoint_classes` data set: grey images and their classes."""

    VERSION = tfds.core.Version("1.0.0")
    splits = ("train", "validation", "test")

    def _whole(self, split: str, features: tuple[str, ...], resident: str) -> load.Data:
        """A split of the source."""
        config = self.builder_config
        return load.load(config.source, str(config.folder), split, features=features, channels=1, resident=resident)

    def _info(self) -> tfds.core.DatasetInfo:
        data = self._whole(PARTS[self.builder_config.source]["train"][0], ("image", "label"), "never")
        shape = data.splits["train"].spec["image"].shape
        return tfds.core.DatasetInfo(
            builder=self,
            description="Splits of another set that have no class in common.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=shape, encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=list(data.class_names)),
                }
            ),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        source = self.builder_config.source
        part, wanted = PARTS[source][split]
        names = tuple(dict.fromkeys(("image", "label", ENTRY[source])))
        whole = self._whole(part, names, "always").splits["train"]
        known = list(whole.source.features[ENTRY[source]].class_names)
        numbers = [known.index(name) for name in wanted if name in known]
        rows = np.flatnonzero(np.isin(whole.arrays[ENTRY[source]], numbers))
        missing = sorted(set(wanted) - {known[i] for i in np.unique(whole.arrays[ENTRY[source]][rows])})
        if missing:
            raise DataError(f"{source} has no example of {', '.join(missing)} in its split {part!r}; prepare it anew")
        for i, row in enumerate(rows.tolist()):
            yield (
                i,
                {
                    "image": png(np.asarray(whole.arrays["image"][row])[..., 0]),
                    "label": int(whole.arrays["label"][row]),
                },
            )

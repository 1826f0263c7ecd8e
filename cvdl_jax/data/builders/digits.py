"""Digits: 1,797 scans of handwritten digits, 8x8 pixels, that scikit-learn ships.

Reference: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
1998 (https://doi.org/10.24432/C50P49); the test part, as in `sklearn.datasets.load_digits`.
"""

import io

import numpy as np
import tensorflow_datasets as tfds

SEED = 0
FRACTIONS = {"train": 0.64, "validation": 0.16, "test": 0.20}


def to_uint8(scans: np.ndarray) -> np.ndarray:
    """Values 0..16 as 0..255, rounded half up: `floor(v * 255 / 16 + 1 / 2)` = `(v * 255 + 8) // 16`.

    Args:
        scans: [...], integral values 0..16.

    Returns:
        uint8 [...].
    """
    return ((scans.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)


def stratified(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Splits the examples so that every class has the same share of each split, to one example.

    Args:
        labels: int [n].

    Returns:
        {split: int64 indices, ascending}; disjoint, together all examples.
    """
    splits = {name: [] for name in FRACTIONS}
    # Raw words of a bit generator are the same in every NumPy version (NEP 19).
    words = np.random.Philox(key=SEED).random_raw(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(words[members], kind="stable")]
        ends = np.round(np.cumsum(list(FRACTIONS.values())) * len(members)).astype(int)
        for name, part in zip(FRACTIONS, np.split(members, ends[:-1]), strict=True):
            splits[name].append(part)
    return {name: np.sort(np.concatenate(parts)) for name, parts in splits.items()}


class Digits(tfds.core.GeneratorBasedBuilder):
    """The `digits` data set; its `id` is the scan's place in scikit-learn's array."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="1,797 scans of handwritten digits, 8x8 pixels, values 0..16 scaled to 0..255.",
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        from sklearn.datasets import load_digits

        scans, labels = load_digits(return_X_y=True)
        images = to_uint8(scans.reshape(-1, 8, 8))  # [n, 8, 8]
        return {name: self._examples(images, labels, where) for name, where in stratified(labels).items()}

    def _generate_examples(self):
        raise NotImplementedError("_split_generators returns the generators")

    @staticmethod
    def _examples(images: np.ndarray, labels: np.ndarray, where: np.ndarray):
        from PIL import Image

        for i in where.tolist():
            png = io.BytesIO()
            # Stored, not compressed: the bytes, and so the fingerprint, do not depend on the version of zlib.
            Image.fromarray(images[i]).save(png, format="PNG", compress_level=0)
            yield i, {"id": str(i), "image": png.getvalue(), "label": int(labels[i])}

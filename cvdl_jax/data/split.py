"""One split of a data set: its examples after the host stage, one by one, in batches, or as whole arrays."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from cvdl_jax.data import boxes, captions, instances, order
from cvdl_jax.data.host import HostStage
from cvdl_jax.data.schema import Feature
from cvdl_jax.data.sources import Ids, Source
from cvdl_jax.errors import DataError

_SOME = 64
_ROUNDING = 1e-4  # tolerance for float pixels outside 0..1


@dataclass(frozen=True)
class Split:
    """One split, ready to be read.

    Attributes:
        name: train, validation or test.
        source: raw examples with random access, texts included.
        stage: the host stage, applied to every example.
        features: {name: Feature} of the entries that are kept, as they are in the source.
        arrays: {name: [n, ...]} if the split is resident, else None.
        most: says how many boxes an example of the data set has at most, for an error.
        groups: of examples that training batches keep together, the episodes that they are, or the two sets of which a
            row is one each; None for an order of all examples.
    """

    name: str
    source: Source
    stage: HostStage
    features: Mapping[str, Feature]
    arrays: Mapping[str, np.ndarray] | None = None
    most: Callable[[], int] | None = None
    groups: order.Groups | order.Episodes | order.TwoSets | None = None

    def for_evaluation(self) -> "Split":
        """The split as an evaluation sees it, without random windows."""
        return replace(self, stage=self.stage.for_evaluation())

    @property
    def size(self) -> int:
        """Number of examples."""
        return len(self.source)

    def some(self, limit: int) -> np.ndarray:
        """The places of at most so many examples: the first, or evenly spread ones where classes are in order: int [k].

        Args:
            limit: 0 for all.
        """
        n, k = self.size, min(limit or self.size, self.size)
        labels = self.source.labels()
        ordered = labels is not None and np.ndim(labels) == 1 and k < n and bool((np.diff(labels) >= 0).all())
        return np.arange(k) * n // max(k, 1) if ordered else np.arange(k)

    @property
    def ids(self) -> Sequence[str]:
        """A stable name for each example."""
        return Ids(self.source)

    @property
    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """{name: shape and dtype} of one example after the host stage.

        Raises:
            DataError: naming the entries whose shape varies, and what to set.
        """
        out = self.delivered
        varying = {name: f for name, f in out.items() if not f.fixed}
        if varying:
            images = [name for name, f in varying.items() if f.kind in ("image", "mask")]
            others = [name for name in varying if name not in images]
            fixed = tuple(name for name in out if name not in others)
            ways = [f"{images} vary in size: set config.data.image_size=(h, w)"] if images else []
            if others:
                padding = ", or pad boxes with config.data.max_boxes=N" if boxes.group(self.features) else ""
                ways += [f"{others} vary in length: keep others with config.data.features={fixed}{padding}"]
            raise DataError(f"examples of {self.source.name} cannot be stacked into batches; {'; '.join(ways)}")
        return {name: jax.ShapeDtypeStruct(f.shape, np.dtype(f.dtype)) for name, f in out.items()}

    @property
    def delivered(self) -> dict[str, Feature]:
        """{name: Feature} after the host stage; a shape may hold None where it varies."""
        names = {name: captions.NAME if f.kind == "text" else name for name, f in self.features.items()}
        out = {names[k]: self.stage.describe(f) for k, f in self.features.items()} | self.stage.added()
        paired = instances.describe(out, self.stage.max_boxes)
        return boxes.describe(out, self.stage.max_boxes, self.stage.drop_degenerate) | paired

    def example(self, index: int, epoch: int = 0, seed: int = 0) -> dict[str, np.ndarray]:
        """One example after the host stage; random windows are those of (seed, epoch, index).

        Raises:
            DataError: naming the example, if it cannot be decoded.
        """
        if self.arrays is not None:
            return {name: array[index] for name, array in self.arrays.items()}
        return self._finish(self.source[index], index, epoch, seed)

    def look(self) -> None:
        """Looks at some float images of a split that is streamed, so that a wrong range is refused before any step."""
        floats = [k for k, f in self.features.items() if k.startswith("image") and f.dtype.startswith("float")]
        for i in np.linspace(0, self.size - 1, min(self.size, _SOME)) if floats and self.arrays is None else ():
            self.example(int(i))

    def _finish(self, raw: Mapping[str, Any], index: int, epoch: int, seed: int) -> dict[str, np.ndarray]:
        out = self.stage(raw, self.features, seed, epoch, index)
        for name, feature in self.features.items():
            if feature.kind == "label":
                _check_label(out[name], name, feature, self.source, index)
            if feature.kind == "mask" and feature.num_classes is not None:
                _check_mask(raw, name, feature, self.source, index)
            if feature.kind != "text" and name.startswith("image") and np.issubdtype(out[name].dtype, np.floating):
                _check_pixels(out[name], name, self.source, index)

        def who() -> str:
            return f"example {self.source.identify(index)} of {self.source.name}"

        numbers = instances.check(raw, self.features, self.stage.max_boxes, who)
        out = boxes.finish(out, self.features, self.stage.max_boxes, self.stage.drop_degenerate, who, self.most)
        return instances.finish(out, numbers)

    def batch(self, indices: np.ndarray, epochs: np.ndarray | None = None, seed: int = 0) -> dict[str, np.ndarray]:
        """Several examples, stacked.

        Args:
            indices: int [b], the rows.
            epochs: int [b], for random windows; None for 0.
            seed: for random windows.

        Returns:
            {name: [b, ...]}.

        Raises:
            DataError: naming the example that cannot be decoded, or the entries whose shape varies.
        """
        if self.arrays is not None:
            return {name: array[indices] for name, array in self.arrays.items()}
        out = {name: np.empty((len(indices), *s.shape), s.dtype) for name, s in self.spec.items()}
        epochs = np.zeros(len(indices), int) if epochs is None else epochs
        raws = self.source.read_entries(np.asarray(indices).tolist(), list(self.features))
        for row, (raw, index, epoch) in enumerate(zip(raws, indices, epochs, strict=True)):
            for name, value in self._finish(raw, int(index), int(epoch), seed).items():
                if value.shape != out[name].shape[1:]:
                    raise DataError(
                        f"example {self.source.identify(int(index))} of {self.source.name}: {name!r} has shape "
                        f"{value.shape}, expected {out[name].shape[1:]}; set config.data.image_size=(h, w)"
                    )
                out[name][row] = value
        return out

    def at(self, seed: int, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The epoch and the example at each position of the shuffled stream; see `order.examples`."""
        return order.examples(seed, positions, self.size, self.groups)

    def batches(self, steps: Iterable[np.ndarray], seed: int = 0) -> Iterator[dict[str, np.ndarray]]:
        """The batches at the given positions of the shuffled stream, without loading ahead.

        Args:
            steps: of int64 [b] positions; see `order`.
            seed: of order and host stage.
        """
        for positions in steps:
            epochs, indices = self.at(seed, positions)
            yield self.batch(indices, epochs, seed)


def _check_label(label: np.ndarray, name: str, feature: Feature, source: Source, index: int) -> None:
    if feature.num_classes is None:
        return
    wrong = label[(label < 0) | (label >= feature.num_classes)]
    if wrong.size:
        raise DataError(
            f"example {source.identify(index)} of {source.name}: {name!r} is {wrong[0]}, outside 0 to "
            f"{feature.num_classes - 1}; choose a split with labels, or leave it out with config.data.features"
        )


def _check_mask(raw: Mapping[str, Any], name: str, feature: Feature, source: Source, index: int) -> None:
    """Refuses a mask with a label that has no name, or of another size than its image."""
    mask, who = np.asarray(raw[name]), f"example {source.identify(index)} of {source.name}"
    wrong = mask[(mask >= feature.num_classes) & (mask != 255)]
    if wrong.size:
        raise DataError(
            f"{who}: {name!r} has the label {wrong[0]}, config.data.classes names 0 to {feature.num_classes - 1}, and "
            "255 is to ignore; name all labels there, and those to leave out in config.ignore as well"
        )
    if "image" in raw and np.shape(raw["image"])[:2] != mask.shape[:2]:
        raise DataError(
            f"{who}: {name!r} has {mask.shape[0]}x{mask.shape[1]} pixels, its image {raw['image'].shape[0]}x"
            f"{raw['image'].shape[1]}; a mask needs the size of its image, write the set anew with such masks"
        )


def _check_pixels(image: np.ndarray, name: str, source: Source, index: int) -> None:
    """Refuses a float image outside 0..1, which augmentations would clip and predictions from files would not match."""
    if not ((image >= -_ROUNDING) & (image <= 1 + _ROUNDING)).all():
        raise DataError(
            f"example {source.identify(index)} of {source.name}: the pixels of {name!r} reach from {image.min():g} to "
            f"{image.max():g}, expected 0 to 1; say which values are black and white: "
            "--config.data.pixel_range=LOW,HIGH"
        )

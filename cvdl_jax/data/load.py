"""Opens the data set of a config's data section as splits that a training loop can read."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted, Positive, Size, UpToOne
from cvdl_jax.data import boxes, captions, encoded_texts, instances, label_order, opened, spread_order, subset
from cvdl_jax.data import domains as two_sets
from cvdl_jax.data import episodes as episodic
from cvdl_jax.data import resample as resampling
from cvdl_jax.data.catalogue import open_source
from cvdl_jax.data.folder import Empty, FolderSource, check_apart
from cvdl_jax.data.host import HostStage
from cvdl_jax.data.listed import ListedSource
from cvdl_jax.data.readable import readable
from cvdl_jax.data.resident import arrays_of, make_resident
from cvdl_jax.data.schema import NUMERIC, Feature, allow_pixels
from cvdl_jax.data.sources import Source, check_disjoint
from cvdl_jax.data.split import Split
from cvdl_jax.data.subset import Cut
from cvdl_jax.errors import ConfigError, DataError, nearest

MASK = "segmentation_mask"


@dataclass(frozen=True)
class Data:
    """The splits of a data set, and facts about it.

    Attributes:
        splits: {"train", "validation", "test": Split}, those that the config names.
        num_classes: of the label; None without a label.
        class_names: one per class, or ().
        name, version: of the data set.
        fingerprint: a hash of the data, the same on every machine.
        data_dir: the folder that was read; empty for generated sets.
        order_seed: of the order and windows of the training examples; None for the run's seed.
        skipped: {split: names of the examples that cannot be read and are left out}.
        accept_changed: whether a run goes on though the data are not those that it began with.
    """

    splits: dict[str, Split]
    num_classes: int | None
    class_names: tuple[str, ...]
    name: str
    version: str
    fingerprint: str
    data_dir: str
    order_seed: int | None = None
    skipped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    accept_changed: bool = False

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The words of captions by their ids; () without captions."""
        return tuple(next(iter(self.splits.values())).stage.captions.get("words", ()))

    def known_as(self, fingerprint: str) -> bool:
        """Whether a fingerprint is of these data, today's or one that an earlier version took of them."""
        sources = [split.source for split in self.splits.values()]
        return fingerprint == self.fingerprint or fingerprint == _joint(s.former_fingerprint() for s in sources)


def load(
    name: str,
    data_dir: str = "",
    train: str = "train",
    validation: str = "",
    test: str = "",
    split: Mapping[str, Any] = {},
    resample: str = "",
    order_seed: int | None = None,
    image_size: tuple[Size, Size] | None = None,
    channels: int | None = None,
    features: tuple[str, ...] = (),
    resize: str = "bilinear",
    crop: str = "none",
    crop_fraction: UpToOne = 1.0,
    crop_scale: tuple[UpToOne, UpToOne] = (0.08, 1.0),
    crop_ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3),
    max_boxes: Counted = 0,
    drop_degenerate: bool = False,
    resident: Literal["auto", "always", "never"] = "auto",
    resident_limit: Counted = 2 << 30,
    cache: bool = True,
    label: str = "",
    skip_bad: bool = False,
    empty_classes: Empty = "refuse",
    pixel_range: tuple[float, float] | None = None,
    proposals: Mapping[str, Any] = {},
    max_pixels: int = 0,
    accept_changed: bool = False,
    label_set: str = "",
    classes: tuple[str, ...] = (),
    caption_length: Counted = 0,
    caption_entry: str = "",
    caption_min_count: Size = 1,
    vocabulary: str = "",
    text: Mapping[str, Any] = {},
    only: tuple[str, ...] = (),
    first: Counted = 0,
    episodes: Mapping[str, Any] = {},
    spread: str = "",
    domains: tuple[str, ...] = (),
    paired: bool = False,
    numbered: bool = False,
) -> Data:
    """Opens a data set.

    Args:
        name: see `catalogue.py`: a TFDS name, one of ours, a toy set, `folder:/path` or `csv:/path`.
        data_dir: the TFDS data folder; by default TFDS_DATA_DIR, or ~/tensorflow_datasets.
        train: a split in TFDS's syntax, `train[:90%]`; empty for none.
        validation: likewise, `train[90%:]`.
        test: likewise.
        split: cuts what `train` names into train, validation and perhaps test, see `subset.Cut`; {} for no cut.
        resample: "oversample" or "undersample" makes the classes of the training split equally frequent, see
            `resample.py`; "" for no change.
        order_seed: of the order of the training examples, so that runs of several seeds see the same batches; None
            for the run's own seed.
        image_size: (h, w) that images are resized to; needed if their sizes vary.
        channels: 1 or 3, to convert images.
        features: entries to keep; empty keeps all but texts, which stay on the host (`Split.source`). Boxes bring the
            flags `is_crowd` and `is_difficult` that stand beside them.
        resize: filter for images; this and the next four: see `HostStage`.
        crop: window; validation and test replace a random one by the center one.
        crop_fraction: size of the center or random window.
        crop_scale: area of a random_resized window.
        crop_ratio: width / height of a random_resized window.
        max_boxes: number that boxes, and the entries beside them, are padded to; the entry `boxes_mask` is 1 where a
            row is real. With 0 there is no padding, and only `Split.example` can deliver them.
        drop_degenerate: drop boxes without area, with a message, instead of refusing the example.
        resident: decoded arrays in memory: always, never, or auto (if all splits together stay under the limit).
        resident_limit: of decoded arrays, in bytes.
        cache: keep decoded arrays in the user's cache folder for the next start.
        label: the entry with the class, where the set does not call it "label".
        skip_bad: leave out examples that cannot be read, with a warning, instead of refusing the set.
        empty_classes: what a class folder without images is: an error ("refuse"), a class without examples ("keep"),
            also in the training split alone, or no class ("ignore").
        pixel_range: the values of float images that are black and white, which become 0 and 1; None for (0, 1).
        proposals: arguments of `ops.selective_search.selective_search`, such as count=200, which adds regions of each
            image as the entry "proposals/bbox", padded with zeros; {} for none.
        max_pixels: of the largest image to decode, in case Pillow's limit is too small; 0 for Pillow's.
        accept_changed: go on with a run though its data have changed; `meta.json` then records the change.
        label_set: an entry with the classes of each example, any number of them, such as "objects/label": the entry
            "label" is then 0 or 1 for each class, and what stands beside the entry is left out.
        classes: names of the labels 0, 1, 2 ... of the entry "segmentation_mask", all of them; another label but 255 is
            then refused, and a mask of another size than its image. Few sets say these names themselves.
        caption_length: ids of a caption with its begin and end, padded: texts become "captions", see `captions.py`; 0
            for texts that stay on the host.
        caption_entry: the entry with them, where the set has several texts.
        caption_min_count: words that are rarer in the training split become unknown.
        vocabulary: a file with the words of captions, one a line; "" for those of the training split.
        text: makes numbers of texts: arguments of `encoded_texts.TextSettings`, such as length=128; {} leaves them.
        only: names of classes whose examples are kept, in all splits; () for all. The classes keep their numbers.
        first: so many examples of the training split are kept, the first of those; 0 for all.
        episodes: makes every training batch some classes with some examples of each: arguments of
            `episodes.EpisodeSettings`, such as classes=16, images=4; {} for epochs in a random order.
        spread: an entry with a class, such as "source", whose shares every batch of the training split has, to an
            example or two, instead of by chance; "" for chance.
        numbered: adds the entry "index", the example's place in its split from 0, for memories of single examples.
        domains: two classes, whose images become the "image" and the "image_other" of an example, see `domains.py`; ()
            for one image in an example.
        paired: the images of `domains` belong together by the names of their files: "image" and "image_after".

    Raises:
        DataError: if data are missing, damaged, or two splits share examples.
        ConfigError: if the settings contradict each other.
    """
    window = (image_size, channels, resize, crop, crop_fraction, crop_scale, crop_ratio)
    stage = HostStage(*window, max_boxes, drop_degenerate, pixel_range, proposals, numbered=numbered)
    _check_seed(order_seed)
    allow_pixels(max_pixels)
    wanted, cut = _wanted(train, validation, test, split)
    sources = _opened(wanted, lambda at: open_source(name, at, data_dir, label, empty_classes, skip_bad, label_set))
    sources = two_sets.in_pairs(sources, domains, paired, skip_bad)
    sources, skipped = _prepared(sources, cut, resample, skip_bad, empty_classes, cache)
    sources = _of_classes(sources, only, first, domains, paired, cache)
    sources = encoded_texts.asked_for(sources, text, caption_length)
    words = captions.prepared(sources, caption_length, caption_entry, vocabulary, caption_min_count, cache)
    ordered = _splits(sources, replace(stage, captions=words), features, classes, episodes)
    splits = make_resident(two_sets.mixed_anew(spread_order.evenly(ordered, spread)), resident, resident_limit, cache)
    _look(splits.values(), drop_degenerate)
    return replace(_facts(splits), order_seed=order_seed, skipped=skipped, accept_changed=accept_changed)


def _cut(split: Mapping[str, Any], validation: str, test: str) -> Cut | None:
    """How one split is cut into several; None where it is not."""
    cut = configs.call(Cut, split, subset.PATH) if split else None
    if cut is not None:
        subset.check(cut, validation, test)
    return cut


def _wanted(train: str, validation: str, test: str, split: Mapping[str, Any]) -> tuple[dict[str, str], Cut | None]:
    """{name of a split: what it is of the set}, of those that are asked for; how one is cut into several."""
    cut = _cut(split, validation, test)
    wanted = {k: s for k, s in (("train", train), ("validation", validation), ("test", test)) if s}
    if not wanted or (cut is not None and not train):
        raise ConfigError("config.data asks for no split; set train, validation or test, for example train='train'")
    return wanted, cut


def _of_classes(
    sources: dict[str, Source], only: Sequence[str], first: int, domains: Sequence[str], paired: bool, cache: bool
) -> dict[str, Source]:
    """The sources with the classes, and the first examples, that are asked for, or two classes beside each other."""
    classes = partial(labels, cache=cache)
    return two_sets.without_pairs(subset.kept(sources, only, first, classes), domains, paired, classes)


def _check_seed(order_seed: int | None) -> None:
    """Refuses a seed of the order that is none."""
    if order_seed is not None and not 0 <= order_seed < 2**32:
        raise ConfigError(f"config.data.order_seed={order_seed} must lie in 0 ... 2**32 - 1, or be None")


def _opened(wanted: Mapping[str, str], open_part: Callable[[str], Source]) -> dict[str, Source]:
    """The source of each split that is wanted; a folder is listed once, a table read once."""
    sources: dict[str, Source] = {}
    for key, part in wanted.items():
        listed = next((source for source in sources.values() if isinstance(source, FolderSource | ListedSource)), None)
        sources[key] = open_part(part) if listed is None else listed.sibling(part)
    return sources


def _splits(
    sources: Mapping[str, Source],
    stage: HostStage,
    features: Sequence[str],
    classes: tuple[str, ...],
    episodes: Mapping[str, Any],
) -> dict[str, Split]:
    """A split of each source, with the entries that are kept."""
    most, splits = boxes.most_of(sources), {}
    for key, source in sources.items():
        kept = _choose(source, features)
        if stage.captions:
            kept = captions.kept(source.features, kept, stage.captions["entry"])
        if classes:
            kept[MASK] = _named_labels(source, kept, classes)
        stage.check(kept)
        how, groups = (stage, encoded_texts.groups(source)) if key == "train" else (stage.for_evaluation(), None)
        splits[key] = Split(key, source, how, kept, most=most, groups=groups)
    return episodic.grouped(splits, episodes) if episodes else splits


def _prepared(
    sources: dict[str, Source], cut: Cut | None, resample: str, skip_bad: bool, empty_classes: Empty, cache: bool
) -> tuple[dict[str, Source], dict[str, tuple[str, ...]]]:
    """The sources of the splits, cut, without what cannot be read, balanced; and the names of what cannot be read."""
    names = list(sources)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            one, other = sources[first], sources[second]
            check_disjoint(one.intervals, other.intervals, one.name, one.split, other.split)
            check_apart(one, other)
    label_order.check(sources)
    if cut is not None:
        whole = sources.pop("train")
        sources = {**subset.apply(cut, whole, lambda: labels(whole, cache)), **sources}
    skipped = {}
    if skip_bad:  # after the cut: which example is in which part does not depend on what can be read
        for key, source in sources.items():
            sources[key], left_out = readable(source, cache)
            skipped |= {key: tuple(left_out)} if left_out else {}
    if empty_classes != "keep":
        _check_classes(sources)
    if resample:
        if "train" not in sources:
            raise ConfigError(f"config.data.resample={resample!r} needs a training split; set config.data.train")
        train = sources["train"]
        sources["train"] = resampling.resampled(resample, train, lambda: labels(train, cache))
    return sources, skipped


def _check_classes(sources: Mapping[str, Source]) -> None:
    """Refuses a class that is evaluated but never trained on, where classes are known without reading examples."""
    known = {key: source.labels() for key, source in sources.items()}
    if known.get("train") is None:
        return
    for key, classes in known.items():
        new = np.setdiff1d(classes, known["train"]) if classes is not None else ()
        if len(new):
            name = sources[key].features["label"].class_names[new[0]]
            more = f", and so have {len(new) - 1} other classes" if len(new) > 1 else ""
            raise DataError(
                f"{sources[key].name}: the class {name!r} has examples in {key}, but none in train{more}; add some, "
                "cut with --config.data.split.stratified=True, or set --config.data.empty_classes=keep"
            )


def labels(source: Source, cache: bool = True) -> np.ndarray:
    """The classes of all examples, int [n]; cached, because every example is read for them.

    Raises:
        ConfigError: if the examples have no class label.
    """
    class_labels = {name: f for name, f in source.features.items() if f.kind == "label" and f.shape == ()}
    if not class_labels:
        raise ConfigError(
            f"{source.name} has no class label, which {subset.PATH}.stratified and config.data.resample need; leave "
            "them out"
        )
    known = source.labels()
    if known is not None:
        return known
    name = "label" if "label" in class_labels else next(iter(class_labels))
    split = Split("labels", source, HostStage(), {name: class_labels[name]})
    return np.asarray(arrays_of(split, cache)[name])


def _look(splits: Collection[Split], drop_degenerate: bool) -> None:
    """Looks at some images, so that wrong pixels are refused now, and says what is left out."""
    for split in splits:
        split.look()
    if drop_degenerate:
        print(*map(_count_dropped, splits), sep="\n", flush=True)
    says = (instances.lost, encoded_texts.count_cut, two_sets.said)
    for said in filter(None, [say(split) for say in says for split in splits]):
        print(said, flush=True)


def _count_dropped(split: Split) -> str:
    where = f"{split.source.name}, {split.source.split}"
    if split.arrays is None:
        return f"{where}: boxes without area are dropped as examples are read; {boxes.DROPPED!r} counts them"
    n = int(split.arrays[boxes.DROPPED].sum())
    return f"{where}: {n} {'box' if n == 1 else 'boxes'} without area dropped"


def _joint(fingerprints: Iterable[str]) -> str:
    return hashlib.sha256("".join(fingerprints).encode()).hexdigest()


def _facts(splits: dict[str, Split]) -> Data:
    first = next(iter(splits.values()))
    label = _label(first.features) or _label(first.source.features)
    words = "\n".join(first.stage.captions.get("words", ()))
    digest = _joint([*(s.source.fingerprint() for s in splits.values()), *([_joint([words])] if words else [])])
    source = first.source
    opened.note(f"{source.name} ({', '.join(split.source.split for split in splits.values())})", digest)
    return Data(
        splits,
        label.num_classes if label else None,
        label.class_names if label else (),
        source.name,
        source.version,
        digest,
        source.location,
    )


def _label(features: Mapping[str, Feature]) -> Feature | None:
    """The labels of masks that have names; else the class label: "label", or another one, or that of the objects."""
    if MASK in features and features[MASK].num_classes is not None:
        return features[MASK]
    labels = {name: f for name, f in features.items() if f.kind in ("label", "classes")}
    whole = {name: f for name, f in labels.items() if f.shape == () or f.kind == "classes"}
    return whole.get("label") or next(iter([*whole.values(), *labels.values()]), None)


def _named_labels(source: Source, features: Mapping[str, Feature], classes: tuple[str, ...]) -> Feature:
    """The description of masks whose labels have names."""
    if MASK not in features:
        raise ConfigError(
            f"config.data.classes names the labels of {MASK!r}, which {source.name} has not, or config.data.features "
            f"leaves out; it keeps {tuple(features)}"
        )
    if len(set(classes)) < len(classes) or len(classes) > 255:
        raise ConfigError(f"config.data.classes={classes} must be at most 255 different names; 255 is no class")
    return replace(features[MASK], num_classes=len(classes), class_names=classes)


def _choose(source: Source, features: Sequence[str]) -> dict[str, Feature]:
    for name in features:
        if name not in source.features:
            raise ConfigError(f"config.data.features: {source.name} has no {name!r}; {nearest(name, source.features)}")
        if source.features[name].kind == "text":
            raise ConfigError(f"config.data.features: {name!r} is text; leave it out, {captions.LENGTH} delivers it")
    chosen = boxes.with_flags(features, source.features)
    return {name: f for name, f in source.features.items() if (name in chosen if features else f.kind in NUMERIC)}

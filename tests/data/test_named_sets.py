"""The named data sets work by their TFDS names: made-up examples with the features of TFDS's own builders."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from cvdl_jax.data import tfds_source
from cvdl_jax.data.load import load
from cvdl_jax.errors import DataError

CLASSES = {
    "mnist": 10, "fashion_mnist": 10, "kmnist": 10, "emnist": 62, "cifar10": 10, "cifar100": 100, "svhn_cropped": 10,
    "caltech101": 102, "stl10": 10, "food101": 101, "oxford_flowers102": 102, "stanford_dogs": 120, "imagenette": 10,
    "imagenet2012": 1000, "places365_small": 365, "eurosat": 10, "dtd": 47, "caltech_birds2011": 200,
    "oxford_iiit_pet": 37,
}  # fmt: skip
BOXES = ("voc/2007", "coco", "wider_face", "open_images_v4")
MASKS = ("oxford_iiit_pet", "caltech_birds2011", "cityscapes", "scene_parse150")
# TFDS's builder of COCO needs TensorFlow; these are its features.
COCO = tfds.features.FeaturesDict({
    "image": tfds.features.Image(shape=(None, None, 3)), "image/filename": tfds.features.Text(), "image/id": np.int64,
    "objects": tfds.features.Sequence({
        "area": np.int64, "bbox": tfds.features.BBoxFeature(), "id": np.int64, "is_crowd": np.bool_,
        "label": tfds.features.ClassLabel(num_classes=80),
    }),
})  # fmt: skip


def made_up(feature, rng):
    """A random value that a feature accepts."""
    if isinstance(feature, tfds.features.FeaturesDict):
        return {name: made_up(sub, rng) for name, sub in feature.items()}
    if isinstance(feature, tfds.features.Sequence):
        length = getattr(feature, "_length", None) or 2
        return [made_up(feature.feature, rng) for _ in range(length)]
    if isinstance(feature, tfds.features.BBoxFeature):
        low, high = np.sort(rng.uniform(size=(2, 2)), axis=0)
        return tfds.features.BBox(*low.tolist(), *high.tolist())
    if isinstance(feature, tfds.features.ClassLabel):
        return int(rng.integers(feature.num_classes or 2))
    if isinstance(feature, tfds.features.Text):
        return "words"
    info = feature.get_tensor_info()
    shape = [rng.integers(6, 12) if size is None else size for size in info.shape]
    if isinstance(feature, tfds.features.Image):
        pixels = rng.integers(0, 256, shape, np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels[..., 0] if shape[-1] == 1 else pixels).save(file, "PNG")
        return file.getvalue()  # encoded: to encode arrays TFDS needs TensorFlow
    return rng.integers(0, 2, shape).astype(info.np_dtype)


def prepare(name, folder, n=4):
    """A data set of that name, configuration and features, with n examples that mean nothing."""
    base, _, config = name.partition("/")
    source = tfds.builder(name, data_dir=folder / "nowhere") if base != "coco" else None
    features = source.info.features if source else COCO

    class Mock(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            rng = np.random.default_rng(0)
            for i in range(n):
                example = made_up(features, rng)
                for thing in example["objects"] if base == "coco" else ():
                    thing["id"] += 10**12  # as large as COCO's of crowds
                yield i, example

    Mock.name = base
    tfds.display_progress_bar(False)
    Mock(data_dir=folder, file_format="array_record", **({"config": config} if config else {})).download_and_prepare()
    return folder


def opened(name, tmp_path, **settings):
    folder = prepare(name, tmp_path)
    return load(name, str(folder), image_size=(8, 8), cache=False, **settings)


@pytest.mark.curriculum("W17")
@pytest.mark.parametrize("name", CLASSES)
def test_classification_sets(name, tmp_path):
    data = opened(name, tmp_path, features=("image", "label"))
    split = data.splits["train"]
    assert data.num_classes == CLASSES[name] and split.size == 4 and data.name == name
    assert split.spec["image"].shape[:2] == (8, 8) and split.spec["label"].shape == ()
    batch = split.batch(np.arange(4))
    assert batch["image"].dtype == np.uint8 and (batch["label"] < CLASSES[name]).all()


@pytest.mark.curriculum("W17")
@pytest.mark.parametrize("name", BOXES)
def test_detection_sets(name, tmp_path):
    keys = ("image", "objects/bbox") + (("objects/label",) if name != "wider_face" else ())
    data = opened(name, tmp_path, features=keys, max_boxes=5)
    batch = data.splits["train"].batch(np.arange(4))
    assert batch["objects/bbox"].shape == (4, 5, 4) and batch["boxes_mask"].sum() == 8
    low, high = np.split(batch["objects/bbox"][:, :2], 2, -1)
    assert ((high > low) & (low >= 0) & (high <= 1)).all()
    if "objects/label" in keys:
        assert data.num_classes == {"voc/2007": 20, "coco": 80, "open_images_v4": 601}[name]


@pytest.mark.parametrize(("name", "flag"), [("coco", "is_crowd"), ("voc/2007", "is_difficult")])
def test_boxes_bring_their_flags(name, flag, tmp_path):
    """Also where nobody asked for them, beside boxes alone, padded with False; ids beyond int32 do no harm."""
    folder = prepare(name, tmp_path)
    keys = ("image", "objects/bbox", "objects/label")
    batches = {}
    for features in (keys, (*keys, f"objects/{flag}"), ("image",)):
        data = load(
            name, str(folder), image_size=(8, 8), cache=False, features=features, max_boxes=3 * (len(features) > 1)
        )
        batches[len(features)] = data.splits["train"].batch(np.arange(4))
    found = batches[3][f"objects/{flag}"]
    assert found.dtype == bool and found.shape == (4, 3) and not found[:, 2:].any()
    assert 0 < found[:, :2].mean() < 1
    np.testing.assert_array_equal(found, batches[4][f"objects/{flag}"])
    assert batches[1].keys() == {"image"}
    if name == "coco":
        with pytest.raises(
            DataError, match=r"'objects/id' holds 100000000000[01], which does not fit into int32; leave it"
        ):
            load(name, str(folder), image_size=(8, 8), cache=False, max_boxes=3)


@pytest.mark.curriculum("W17")
@pytest.mark.parametrize("name", MASKS)
def test_segmentation_sets(name, tmp_path):
    data = opened(name, tmp_path, features=("image", "segmentation_mask"))
    spec = data.splits["train"].spec
    assert spec["segmentation_mask"].shape == (8, 8, 1) and spec["image"].shape == (8, 8, 3)
    assert data.splits["train"].features["segmentation_mask"].kind == "mask"


def test_names_that_are_right_stay():
    assert tfds_source.renamed("mnist", ["image", "label"]) == {"image": "image", "label": "label"}
    group = tfds_source.renamed("open_images_v4", ["bobjects/is_group_of"])
    assert group == {"bobjects/is_group_of": "objects/is_crowd"}  # a box around several objects is none to be found
    assert tfds_source.renamed("open_images_v4", ["objects/label", "bobjects/label"]) == {
        "objects/label": "image_labels/label", "bobjects/label": "objects/label",
    }  # fmt: skip

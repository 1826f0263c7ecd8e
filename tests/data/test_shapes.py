"""Drawn scenes, and sets of boxes as the loop gets them: padded, checked, dropped only when asked to."""

import zlib

import numpy as np
import pytest

from cvdl_jax.data import boxes, scenes
from cvdl_jax.data import load as load_module
from cvdl_jax.data.builders import shapes
from cvdl_jax.data.catalogue import open_source
from cvdl_jax.data.load import load
from cvdl_jax.data.schema import Feature
from cvdl_jax.data.sources import Interval, Source
from cvdl_jax.errors import ConfigError, DataError

GOLDEN = 638088317  # of four scenes
WORDS = [220, 109, 156, 14, 164, 166, 49, 41]  # of Philox, counter 1 of key (3, 7)
SMALL = "shapes(size=32, train=24, validation=8, test=8)"


# Scenes -----------------------------------------------------------------------------------------------------------


def test_scenes_are_the_same_bytes_everywhere():
    crc = 0
    for stream, index in ((0, 0), (0, 1), (1, 0), (2, 499)):
        scene = scenes.draw(stream, index)
        crc = zlib.crc32(scene.image.tobytes() + scene.instances.tobytes() + scene.caption().encode(), crc)
    assert crc == GOLDEN
    assert scenes.Words(3, 7).octets(8).tolist() == WORDS


@pytest.mark.parametrize("name", scenes.CLASSES)
def test_shapes_are_those_of_real_geometry(name):
    radius, n = 600, 61
    y, x = np.mgrid[-radius : radius : n * 1j, -radius : radius : n * 1j].round().astype(np.int64)
    for c, s, h in ((1, 0, 1), (4, 3, 5), (-5, 12, 13)):
        angle = np.arctan2(s, c)
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        d = np.hypot(x, y)
        signed = {  # negative inside
            "circle": d - radius,
            "ring": np.maximum(d - radius, radius / 2 - d),
            "square": np.maximum(abs(u), abs(v)) - radius * 17 / 24,
            "triangle": np.maximum(v - radius / 2, np.sqrt(3) / 2 * abs(u) - v / 2 - radius / 2),
            "cross": np.minimum(
                np.maximum(abs(u) - radius, abs(v) - radius / 3), np.maximum(abs(v) - radius, abs(u) - radius / 3)
            ),
            "bar": np.maximum(abs(u) - radius, abs(v) - radius / 3),
        }[name]
        clear = abs(signed) > 1  # points on the outline may fall on either side
        covered = scenes.inside(name, x, y, radius, (c, s, h))
        np.testing.assert_array_equal(covered[clear], signed[clear] < 0)
        assert 0.2 < covered.mean() < 0.9


def test_scenes_agree_with_themselves():
    drawn = [scenes.draw(0, i, size=48, objects=6, clutter=3) for i in range(60)]
    assert {len(s.objects) for s in drawn} >= {1, 2, 3, 4, 5}
    assert set(np.concatenate([s.labels() for s in drawn])) == set(range(6))
    for scene in drawn:
        n = len(scene.objects)
        assert scene.image.shape == (48, 48, 3) and scene.image.dtype == np.uint8
        assert sorted(np.unique(scene.instances)) == list(range(n + 1))
        np.testing.assert_array_equal(scene.areas(), [(scene.instances == i + 1).sum() for i in range(n)])
        semantic = scene.segmentation()
        for i, (box, label) in enumerate(zip(scene.boxes(), scene.labels(), strict=True)):
            inner = np.zeros((48, 48), bool)
            inner[box[0] : box[2], box[1] : box[3]] = True
            mask = scene.instances == i + 1
            assert not (mask & ~inner).any() and np.all(semantic[mask] == label + 1)
            for cut in (inner[box[0], :], inner[box[2] - 1, :], inner[:, box[1]], inner[:, box[3] - 1]):
                assert cut.any()
            assert mask[box[0]].any() and mask[box[2] - 1].any() and mask[:, box[1]].any() and mask[:, box[3] - 1].any()
            colour = np.median(scene.image[mask], axis=0)
            assert np.abs(colour - scenes.COLOURS[scene.objects[i].colour]).max() <= 16 + 4
        assert np.all(semantic[scene.instances == 0] == 0)
        assert len({o.colour for o in scene.objects}) == n  # seven colours, at most six objects


def test_captions_name_objects_by_size():
    scene = scenes.draw(0, 0)._replace(
        instances=np.uint8([[1, 2, 2, 3, 3, 3]]),
        objects=(scenes.Object(0, "red", False), scenes.Object(4, "blue", True), scenes.Object(5, "white", False)),
    )
    assert scene.caption() == "a small white bar, a large blue ring and a small red circle"
    alone = scene._replace(instances=np.uint8([[0, 1]]), objects=scene.objects[:1])
    assert alone.caption() == "a small red circle"


def test_fewer_classes_objects_and_no_clutter():
    drawn = [scenes.draw(1, i, size=24, objects=1, classes=2, clutter=0) for i in range(30)]
    assert {o.label for s in drawn for o in s.objects} == {0, 1} and {len(s.objects) for s in drawn} == {1}
    for scene in drawn:  # a gradient of at most 30 levels with noise of 8: nothing bright
        outside = scene.image[scene.instances == 0].astype(int)
        assert np.ptp(outside, axis=0).max() <= 2 * 30 + 2 * 8


# The data set -----------------------------------------------------------------------------------------------------


def test_the_data_set_holds_what_was_drawn():
    source = open_source(SMALL, "validation")
    assert len(source) == 8 and source.name == "shapes" and source.version == "1.0.0"
    assert source.location.endswith("shapes/size32_train24_validation8_test8/1.0.0")
    for i, row in enumerate(source.read(range(8))):
        scene = scenes.draw(1, i, size=32)
        np.testing.assert_array_equal(row["image"], scene.image)
        np.testing.assert_array_equal(row["instance_mask"][..., 0], scene.instances)
        np.testing.assert_array_equal(row["segmentation_mask"][..., 0], scene.segmentation())
        np.testing.assert_array_equal(row["objects/bbox"] * 32, scene.boxes())
        np.testing.assert_array_equal(row["objects/label"], scene.labels())
        assert row["objects/mask_id"].tolist() == list(range(1, len(scene.objects) + 1))
        assert row["label"] == scene.labels()[scene.areas().argmax()]
        assert row["caption"].decode() == scene.caption()


def test_the_fingerprint_is_the_same_in_every_folder(tmp_path, monkeypatch):
    first = open_source(SMALL, "train")
    monkeypatch.setenv("CVDL_CACHE", str(tmp_path))  # it is made once more
    second = open_source(SMALL, "train")
    assert first.location != second.location and first.fingerprint() == second.fingerprint()
    assert first.fingerprint() != open_source(SMALL.replace("train=24", "train=25"), "train").fingerprint()


def test_names_of_the_set():
    assert shapes.configure().name == "default" and shapes.configure(size=96, objects=8).name == "size96_objects8"
    for name, message in {
        "shapes(sise=3)": "did you mean 'size'",
        "shapes(size=8)": r"shapes\(size=8\) must be between 16 and 1024",
        "shapes(classes=7)": "between 1 and 6",
        "shapes(size='a')": "expected int",
    }.items():
        with pytest.raises(ConfigError, match=message):
            open_source(name, "train")
    with pytest.raises(DataError, match="digits takes no arguments"):
        open_source("digits(size=3)", "train")
    with pytest.raises(DataError, match=r"shapes is made in version 1\.0\.0, not 2\.0\.0"):
        open_source("shapes(size=32):2.0.0", "train")
    with pytest.raises(DataError, match="cannot be read; write NAME"):
        open_source("shapes(size=32)x", "train")
    assert len(open_source(f"{SMALL}:1.0.0", "test[:3]")) == 3


def test_boxes_are_padded_to_a_fixed_number():
    data = load(SMALL, validation="validation", test="test", max_boxes=7)
    assert data.num_classes == 6 and data.class_names == scenes.CLASSES
    train = data.splits["train"]
    shape = {name: s.shape for name, s in train.spec.items()}
    assert shape["objects/bbox"] == (7, 4) and shape["objects/label"] == shape["boxes_mask"] == (7,)
    for i in range(24):
        scene = scenes.draw(0, i, size=32)
        n = len(scene.objects)
        row = train.example(i)
        assert row["boxes_mask"].tolist() == [1.0] * n + [0.0] * (7 - n)
        np.testing.assert_array_equal(row["objects/bbox"] * 32, np.pad(scene.boxes(), ((0, 7 - n), (0, 0))))
        np.testing.assert_array_equal(row["objects/label"], np.pad(scene.labels(), (0, 7 - n)))
    streamed = load(SMALL, max_boxes=7, resident="never").splits["train"].batch(np.arange(24))
    for name, array in train.arrays.items():
        np.testing.assert_array_equal(streamed[name], array)


def test_resizing_keeps_relative_boxes():
    first, second = (load(SMALL, max_boxes=5, image_size=size).splits["train"] for size in (None, (16, 48)))
    np.testing.assert_array_equal(first.arrays["objects/bbox"], second.arrays["objects/bbox"])
    assert second.arrays["image"].shape == (24, 16, 48, 3)


def test_what_does_not_fit_is_refused():
    sizes = [len(scenes.draw(0, i, size=32).objects) for i in range(24)]
    first = next(i for i, n in enumerate(sizes) if n > 2)
    most = f"no example has more than {max(sizes)}; set --config.data.max_boxes={max(sizes)}$"
    message = f"example train/{first} of shapes has {sizes[first]} boxes.*{most}"
    with pytest.raises(DataError, match=message):
        load(SMALL, max_boxes=2, resident="never").splits["train"].batch(np.arange(24))
    with pytest.raises(ConfigError, match="max_boxes=-1 must be 0"):
        load(SMALL, max_boxes=-1)
    with pytest.raises(ConfigError, match=r"max_boxes=3: the entries \['image', 'label'\] hold no boxes"):
        load("digits", max_boxes=3)
    with pytest.raises(DataError, match=r"or pad boxes with config.data.max_boxes=N"):
        _ = load(SMALL).splits["train"].spec


# Boxes without area -----------------------------------------------------------------------------------------------


class Few(Source):
    """Three examples in memory; the second has a box without area, the third one that is turned around."""

    name, version, split, location = "few", "", "train", ""
    intervals = [Interval("train", 0, 3)]
    features = {
        "image": Feature("image", (4, 4, 1), "uint8"),
        "objects/bbox": Feature("box", (None, 4), "float32"),
        "objects/label": Feature("label", (None,), "int32", 3, ("a", "b", "c")),
    }
    good = (0.0, 0.0, 0.5, 0.5)
    rows = [[good], [(0.5, 0.25, 0.5, 0.75), good], [good, (0.6, 0.6, 0.5, 0.7), good]]

    def read(self, indices):
        image = np.zeros((4, 4, 1), np.uint8)
        return [
            {
                "image": image,
                "objects/bbox": np.float32(self.rows[i]).reshape(-1, 4),
                "objects/label": np.arange(len(self.rows[i]), dtype=np.int32),
            }
            for i in indices
        ]

    def fingerprint(self):
        return "few"


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(load_module, "open_source", lambda *_: Few())


def test_boxes_without_area_are_refused(few):
    with pytest.raises(DataError, match=r"example train/1 of few: the box \[0\.5, 0\.25, 0\.5, 0\.75\] .*drop_degen"):
        load("few", max_boxes=3)
    with pytest.raises(DataError, match="example train/2 of few"):
        load("few").splits["train"].example(2)


@pytest.mark.curriculum("F34")
@pytest.mark.parametrize("bad", [[10, 10, 50, 50], [0, 0.2, 0.5, 1.1], [-0.1, 0, 1, 1], [0, 0, float("nan"), 1]])
def test_boxes_out_of_the_image_are_refused(bad):
    """Before they reach a device, where nothing could be said; rounding is allowed."""
    features = {"objects/bbox": Feature("box", (None, 4), "float32")}

    def finish(box):
        return boxes.finish({"objects/bbox": np.float32([[0, 0, 1, 1], box])}, features, 3, True, lambda: "example 7")

    with pytest.raises(DataError, match=r"example 7: the box .* 'objects/bbox' reaches out of the image.* in 0\.\.1"):
        finish(bad)
    assert finish([0, 0, 1 + 1e-6, 1])["boxes_mask"].tolist() == [1, 1, 0]


def test_boxes_without_area_are_dropped_and_counted_when_asked_to(few, capsys):
    data = load("few", max_boxes=2, drop_degenerate=True)  # the third example has two left
    assert capsys.readouterr().out == "few, train: 2 boxes without area dropped\n"
    arrays = data.splits["train"].arrays
    assert data.num_classes == 3  # of the objects, where the image has no class
    assert arrays["boxes_dropped"].tolist() == [0, 1, 1]
    assert arrays["boxes_mask"].tolist() == [[1, 0], [1, 0], [1, 1]]
    assert arrays["objects/label"].tolist() == [[0, 0], [1, 0], [0, 2]]  # labels stay with their boxes
    load("few", max_boxes=2, drop_degenerate=True, resident="never")
    assert "dropped as examples are read" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="drop_degenerate=True: the entries"):
        load("few", features=("image",), drop_degenerate=True)


@pytest.mark.long
def test_real_boxes_without_area(real_data, capsys):
    settings = {"data_dir": str(real_data), "train": "train", "image_size": (12, 16), "max_boxes": 40, "cache": False}
    with pytest.raises(DataError, match=r"of bccd: the box .* has no area"):
        load("bccd", **settings)
    data = load("bccd", **settings, validation="validation", test="test", drop_degenerate=True)
    out = capsys.readouterr().out
    assert sum(int(line.split(": ")[1].split()[0]) for line in out.splitlines()) == 2
    assert data.class_names == ("RBC", "WBC", "Platelets")

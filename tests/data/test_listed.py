"""Images listed in a CSV file with one class or several."""

import numpy as np
import pytest
from PIL import Image

from cvdl_jax.data import load
from cvdl_jax.data.catalogue import open_source
from cvdl_jax.errors import ConfigError, DataError

TABLE = """file,labels,split,note
a.png,cat|dog,train,x
b.png,,train,y
sub/c.png, bird ,val,z
"d,e.png",dog,test,
"""


@pytest.fixture
def table(tmp_path):
    (tmp_path / "sub").mkdir()
    for i, name in enumerate(("a", "b", "sub/c", "d,e")):
        Image.fromarray(np.full((4, 5, 3), 10 * i, np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "labels.csv").write_text(TABLE)
    return tmp_path / "labels.csv"


def opened(table, split="train", **how):
    return open_source(f"csv:{table}", split, **how)


@pytest.mark.filterwarnings("ignore:.*columns left out")
def test_several_classes_of_each_image(table):
    data = load.load(f"csv:{table}", train="train", validation="validation", test="test", label_set="labels")
    assert data.class_names == ("bird", "cat", "dog")
    rows = {name: split.arrays["label"].tolist() for name, split in data.splits.items()}
    assert rows == {"train": [[0, 1, 1], [0, 0, 0]], "validation": [[1, 0, 0]], "test": [[0, 0, 1]]}
    assert [data.splits[name].arrays["image"].max() for name in rows] == [10, 20, 30]
    assert opened(table, "val").identify(0) == "sub/c.png"


def test_other_columns_are_left_out_with_a_word(table):
    with pytest.warns(UserWarning, match="columns left out: note"):
        opened(table)


def test_one_class_of_each_image_and_no_splits(table):
    table.write_text("\ufefffile,label\nb.png,no\na.png,yes\nsub/c.png,no\n", encoding="utf-8")
    source = opened(table, "train[1:]")
    assert source.features["label"].class_names == ("no", "yes")
    assert source.labels().tolist() == [1, 0] and source.whole_labels("train").tolist() == [0, 1, 0]
    assert [(int(row["label"]), row["image"].shape, int(row["image"].max())) for row in source.read([0, 1])] == [
        (1, (4, 5, 3), 0),
        (0, (4, 5, 3), 20),
    ]
    table.write_text('file,label\nb.png,no\nsub/c.png,no\na.png,yes\n"d,e.png",yes\n')
    with pytest.raises(ConfigError, match="stands in the order of its classes"):
        load.load(f"csv:{table}", train="train[:2]", validation="train[2:]")


@pytest.mark.filterwarnings("ignore:.*columns left out")
def test_the_fingerprint_sees_classes_pixels_and_places(table):
    before = opened(table).fingerprint()
    assert opened(table, "train[:1]").fingerprint() == before != opened(table, "test").fingerprint()
    table.write_text(TABLE.replace("cat|dog", "cat|bird"))
    relabelled = opened(table).fingerprint()
    table.write_text(TABLE.replace("val", "test"))  # of another split
    assert opened(table).fingerprint() == before != relabelled
    Image.fromarray(np.full((4, 5, 3), 1, np.uint8)).save(table.parent / "a.png")
    assert opened(table).fingerprint() != before


def test_a_class_that_training_lacks_is_refused_unless_it_is_meant(table):
    table.write_text("file,label,split\na.png,x,train\nb.png,y,train\nsub/c.png,z,test\n")
    how = {"train": "train", "test": "test"}
    with pytest.raises(DataError, match=r"the class 'z' has examples in test, but none in train.*empty_classes=keep"):
        load.load(f"csv:{table}", **how)
    assert load.load(f"csv:{table}", **how, empty_classes="keep").class_names == ("x", "y", "z")
    with pytest.raises(ConfigError, match="empty_classes='ignore' is for folder:/path"):
        load.load(f"csv:{table}", **how, empty_classes="ignore")


@pytest.mark.filterwarnings("ignore:.*columns left out")
@pytest.mark.parametrize(
    "text, error",
    [
        ("file,class\na.png,x\n", "must have a column 'file', and 'label'"),
        ("image,label\na.png,x\n", "must have a column 'file'"),
        ("file,label,label\na.png,x,y\n", "2 columns called 'label'"),
        ("file,label\n", "lists no image"),
        ("", "must have a column 'file'"),
        ("file,label\na.png\n", "line 2 .* more or fewer values"),
        ("file,label\na.png,x,y\n", "line 2 .* more or fewer values"),
        ("file,label\na.png,x\nb.png,\n", "line 3 .* has no label"),
        ("file,label\n,x\n", "line 2 .* has no file"),
        ("file,label\na.png,x\n./a.png,y\n", "line 3 .* which line 2 has"),
        ("file,labels\na.png,x||y\n", "empty class"),
        ("file,labels\na.png,x|x\n", "names a class twice"),
        ("file,label\na.png,x\nnone.png,y\n", "1 of 2 images .* on line 3.*none.png"),
        ('file,label\n"a.png,x\n', "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_table(table, text, error):
    table.write_text(text)
    with pytest.raises(DataError, match=error):
        opened(table)


def test_a_table_that_is_none(table):
    with pytest.raises(DataError, match="cannot be read"):
        opened(table.parent / "other.csv")
    table.write_bytes(b"file,label\na.png,caf\xe9\n")
    with pytest.raises(DataError, match="CSV file in UTF-8"):
        opened(table)


def test_images_that_cannot_be_read_are_left_out_where_asked(table):
    table.write_text("file,label\na.png,x\nsub/c.png,y\nb.png,y\n")
    (table.parent / "sub" / "c.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match=r"1 of 3 examples .* are left out: sub/c.png"):
        data = load.load(f"csv:{table}", train="train", skip_bad=True)
    assert data.splits["train"].arrays["label"].tolist() == [0, 1] and data.skipped == {"train": ("sub/c.png",)}

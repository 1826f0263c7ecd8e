"""`--mode augment` and its picture, and the documents that list operations and normalisations."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import launch
from cvdl_jax.analysis.figures import augmented
from cvdl_jax.data.augment import policy
from cvdl_jax.nn import norms

ROOT = Path(__file__).parents[2]
DIGITS = ["--mode=augment", "--config=configs/classify/lenet5.py"]


def test_the_originals_come_first_and_every_draw_differs():
    image = np.random.default_rng(0).random((4, 6, 6, 1), np.float32)
    batch = {"image": jnp.asarray(image), "label": jnp.arange(4)}
    found = augmented.draws(policy.build("brightness | mixup(1.0)", 4), batch, 3)
    assert len(found) == 4
    np.testing.assert_array_equal(found[0]["image"], image)
    assert found[1]["label"].shape == (4, 4)
    assert len({each["image"].tobytes() for each in found}) == 4
    again = augmented.draws(policy.build("brightness | mixup(1.0)", 4), batch, 3)
    np.testing.assert_array_equal(found[3]["image"], again[3]["image"])


def test_labels_boxes_and_masks_are_drawn():
    mask = np.zeros((1, 4, 4, 1), np.uint8)
    mask[0, 1], mask[0, 3] = 2, 255
    batch = {
        "image": np.zeros((1, 4, 4, 3), np.float32), "label": np.float32([[0.7, 0.0, 0.3]]), "segmentation_mask": mask,
        "objects/label": np.array([[1, 0]]),
        "objects/bbox": np.float32([[[0, 0, 0.5, 1], [0, 0, 0, 0]]]), "boxes_mask": np.float32([[1, 0]]),
    }  # fmt: skip
    hard = batch | {"label": np.array([2]), "image": np.zeros((1, 4, 4, 1), np.float32)}
    figure = augmented.grid([hard, batch], ("ant", "bee", "cat"))
    first, second = figure.axes
    assert first.get_title() == "original: cat" and second.get_title() == "ant 0.70, cat 0.30"
    (box,) = second.patches  # the second one is padding
    assert [text.get_text() for text in second.texts] == ["bee"]
    assert box.get_bbox().bounds == (-0.5, -0.5, 4, 2)
    _, coloured, ignored = (np.ma.getmaskarray(shown.get_array()) for shown in second.images)
    assert (~coloured).sum(1).tolist() == [0, 4, 0, 0] and (~ignored).sum(1).tolist() == [0, 0, 0, 4]


def test_the_mode_writes_a_picture(tmp_path, capsys):
    out = tmp_path / "augmented.png"
    assert launch.main([*DIGITS, "--config.augment=flip | mixup(0.4)", f"--out={out}"]) == 0
    assert f"12 images, 6 draws of 'flip | mixup(0.4)'; written to {out}" in capsys.readouterr().out
    with Image.open(out) as image:
        assert min(image.size) > 500


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([*DIGITS, "--config.augment=flip"], r"--mode augment needs --out FILE\.png"),
        ([*DIGITS, "--config.augment=flip", "--out=x.txt"], r"--mode augment needs --out FILE\.png"),
        ([DIGITS[0], "--config.augment=flip", "--out=x.png"], "--config is missing; for example"),
        ([*DIGITS, "--config.augment=", "--out=x.png"], r"config\.augment is empty.*for example"),
        ([*DIGITS, "--config.augment=flop", "--out=x.png"], "no operation 'flop'; did you mean 'flip'"),
        ([*DIGITS, "--config.augment=flip", "--out=/nowhere/x.png"], "--out /nowhere/x.png cannot be written"),
        (
            ["--mode=augment", "--config=configs/toy/mlp.py", "--config.augment=flip", "--out=x.png"],
            "no.*images to show",
        ),
    ],
)
def test_what_the_mode_refuses(flags, words, capsys):
    assert launch.main(flags) == 2
    assert re.search(words, capsys.readouterr().err)


def test_documents_name_every_operation_and_every_normalisation():
    named = set(re.findall(r"`(\w+)`", (ROOT / "docs/augmentation.md").read_text()))
    assert policy.operations().keys() <= named
    rows = re.findall(r"^\| `(\w+)", (ROOT / "docs/normalisation.md").read_text(), re.MULTILINE)
    assert norms.known().keys() <= set(rows)

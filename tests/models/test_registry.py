"""The registry: discovery without imports, families from outside, errors that name the thing and what to type next."""

import ast
import shutil
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from models_for_tests import input_of, make_model
from test_models import TINY

import cvdl_jax.models
import launch
from cvdl_jax.cli.describe import variants as describe
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import backbones, registry


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("lenet6", {}, "config.model.name='lenet6' is not a model; did you mean 'lenet5'"),
        ("resnet", {}, "'resnet' is a family; choose one of resnet20, resnet32"),
        (5, {}, "must be a string, such as"),
        ("mlp", {"num_classes": 3}, "config.model.num_classes is set by the program; remove it from the config"),
        ("mlp", {"dtype": "float32"}, "config.model.dtype is set by the program"),
        ("resnet20", {"remat": True}, "config.model.remat is set by the program"),
        ("mlp", {"params": 3}, "config.model.params is not a field of mlp"),
        ("mlp", {"parent": None}, "config.model.parent is not a field of mlp"),
        ("mlp", {"hiden": (3,)}, "config.model.hiden is not a field of mlp; did you mean 'hidden'"),
        ("mlp", {"hidden": 3}, "config.model.hidden=3"),
        ("mlp", {"hidden": (3, 0.5)}, r"config.model.hidden=\(3, 0.5\)"),
        ("mlp", {"dropout": "0.1"}, "config.model.dropout='0.1'"),
        ("mlp", {"activation": None}, "config.model.activation=None"),
    ],
)
def test_wrong_names_and_types_are_refused(name, kwargs, message):
    context = {"kinds": ("backbones",), "num_classes": 10, "dtype": "float32", "remat": False}
    with pytest.raises(ConfigError, match=message):
        registry.create({"name": name, **kwargs}, "config.model", **context)


@pytest.mark.parametrize(
    ("kinds", "name", "context", "message"),
    [
        (
            ("backbones",), "dcgan_generator_28", {"num_classes": 10},
            "config.model.name='dcgan_generator_28' is of kind 'generative', expected 'backbones'; did you mean "
            "'dcgan_discriminator_28'",
        ),
        (("backbones", "detection"), "lstm", {"num_classes": 10}, "expected 'backbones' or 'detection'; known"),
        (("detection",), "anchor_detectr", {"outputs": 3}, "is not a model; did you mean 'anchor_detector'"),
        (("sequence",), "recurrent", {"num_classes": 3}, "is a family; choose one of lstm, gru, rnn"),
        (("detection",), "resnet", {"outputs": 3}, "of kind 'backbones', expected 'detection'; did you mean 'fcos_res"),
        (None, "lenet5", {"shape": (8, 8, 1)}, "is made for num_classes, and is given shape; known: cgan_gen"),
        (None, "lenet5", {}, "is made for num_classes, and is given nothing"),
        (None, "lenet5", {"num_classes": 3, "outputs": 3}, "is given num_classes and outputs"),
        (None, "anchor_detector", {"outputs": 0}, "outputs=0 must be a whole number of at least 1"),
        (None, "anchor_detector", {"outputs": 2.5}, "outputs=2.5 is of type float; expected int"),
        (None, "dcgan_discriminator", {"num_classes": None}, "num_classes=None must be a whole number"),
        (None, None, {"outputs": 3}, "config.model.name is missing; known: anchor_detector, anchor_detector_tiny"),
    ],
)  # fmt: skip
def test_what_an_experiment_cannot_use_is_refused(kinds, name, context, message):
    section = {} if name is None else {"name": name}
    with pytest.raises(ConfigError, match=message):
        registry.create(section, "config.model", kinds=kinds, **context)


def test_a_kind_that_does_not_exist_is_a_mistake_of_the_experiment():
    with pytest.raises(
        ValueError,
        match="not all kinds of models; known: backbones, detection, generative, graph, multi_task, multimodal, "
        "segmentation, sequence",
    ):
        registry.create({"name": "mlp"}, "config.model", kinds=("backbone",), num_classes=3)


def test_messages_name_the_section():
    with pytest.raises(ConfigError, match=r"config\.study\.models\.wide\.hiden is not a field of mlp"):
        registry.create({"name": "mlp", "hiden": (3,)}, "config.study.models.wide", num_classes=3)


@pytest.mark.parametrize(("num_classes", "dtype"), [(-1, "float32"), (2.5, "float32"), (3, "int8"), (3, "floaty")])
def test_wrong_class_counts_and_dtypes_are_refused(num_classes, dtype):
    with pytest.raises(ConfigError, match=r"num_classes|config\.compute_dtype"):
        make_model("linear", num_classes, dtype)


@pytest.mark.parametrize(
    ("name", "kwargs", "shape", "message"),
    [
        ("lenet5", {}, (1, 28, 28, 1), r"at least 32x32 pixels, got 28x28; set config.data.image_size=\(32, 32\)"),
        ("lenet5", {"pool": "mean"}, (1, 32, 32, 1), "config.model.pool='mean'"),
        ("lenet5", {"activation": "rellu"}, (1, 32, 32, 1), "did you mean 'relu'"),
        ("lenet5", {}, (1, 32, 32), r"takes images \[b, h, w, c\], got shape \(1, 32, 32\)"),
        ("resnet8_tiny", {}, (1, 3, 8, 3), "at least 4x4 pixels, got 3x8"),
        ("resnet8_tiny", {"depths": (1, 1)}, (1, 8, 8, 3), r"depths=\(1, 1\)"),
        ("resnet8_tiny", {"shortcut": "C"}, (1, 8, 8, 3), "shortcut='C'"),
        ("resnet8_tiny", {"widths": (8, 4, 2)}, (1, 8, 8, 3), "from 8 to 4 channels"),
        ("vit_patch4_16_tiny", {}, (1, 28, 28, 3), "16x16 pixels, got 28x28; set config.model.image_size=28"),
        (
            "vit_patch4_16_tiny",
            {"patch_size": 5},
            (1, 16, 16, 3),
            r"patch_size=5 .* 16x16; use one of \[1, 2, 4, 8, 16\]",
        ),
        ("vit_patch4_16_tiny", {"heads": 3}, (1, 16, 16, 3), "heads=3 must divide the width 16"),
        ("vit_patch4_16_tiny", {"dropout": 1.0}, (1, 16, 16, 3), r"dropout=1.0 .* \[0, 1\)"),
        ("mlp_tiny", {"norm": "batchnorm"}, (1, 8), "did you mean 'batch'"),
        ("mlp_tiny", {"hidden": (4, 0)}, (1, 8), r"hidden\[1\]=0 must be from 1"),
    ],
)
def test_wrong_inputs_and_values_are_refused(name, kwargs, shape, message):
    with pytest.raises(ConfigError, match=message):
        model = make_model(name, 3, "float32", **kwargs)
        jax.eval_shape(partial(model.init, train=False), jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))


@pytest.mark.parametrize("name", TINY)
def test_bytes_are_refused(name):
    model = make_model(name, 3, "float32")
    x = jax.ShapeDtypeStruct((2, *input_of(name)), jnp.uint8)
    with pytest.raises(ConfigError, match="divide bytes by 255 first"):
        jax.eval_shape(partial(model.init, train=False), jax.random.key(0), x)


@pytest.mark.parametrize("name", ["lenet5_tiny", "resnet8_tiny", "vit_patch4_16_tiny"])
def test_parameters_for_other_channels_are_refused(name):
    model = make_model(name, 3, "float32")
    h, w, c = input_of(name)
    variables = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), jnp.zeros((1, h, w, c)))
    with pytest.raises(
        ConfigError, match=f"parameters for {c} channels, got images with 4; set config.data.channels={c}"
    ):
        jax.eval_shape(partial(model.apply, train=False), variables, jnp.zeros((1, h, w, 4)))


def test_no_family_imports_another():
    files = {variant.file for variant in registry.variants().values()}
    assert len(files) > 8
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or ""]
            )
            if names == ["cvdl_jax.models"]:
                names = [f"cvdl_jax.models.{alias.name}" for alias in node.names]
            ours = [
                n for n in names if isinstance(node, ast.Import | ast.ImportFrom) and n.startswith("cvdl_jax.models")
            ]
            shared = {f"cvdl_jax.models.{name}" for name in ("registry", "torch_names", "criterion", "region_stage")}
            if path.stem == "mask_rcnn":  # which is Faster R-CNN with one head more
                shared |= {"cvdl_jax.models.detection.faster_rcnn"}
            if path.stem == "text_transformer":  # which reads tokens as BERT does, and has its variants
                shared |= {"cvdl_jax.models.sequence"}
            if path.stem == "diffusion_unet":  # which reads captions
                shared |= {"cvdl_jax.models.sequence.text_transformer"}
            if path.stem == "stylegan":  # which grows as the progressive GAN does, and has its discriminator
                shared |= {"cvdl_jax.models.generative.progressive"}
            if path.parent.name == "segmentation":  # a segmenter is written on the maps of one backbone, such as VGG's
                ours = [name for name in ours if not name.startswith("cvdl_jax.models.backbones.")]
            assert set(ours) <= shared


@pytest.mark.long
def test_importing_vit_imports_no_other_model():
    """Nor does looking up a variant import JAX."""
    script = """
import sys
from cvdl_jax.models import registry
assert registry.variants()["resnet20"].module == "cvdl_jax.models.backbones.resnet"
assert "jax" not in sys.modules and "flax" not in sys.modules
import cvdl_jax.models.backbones.vit
registry.create({"name": "vit_tiny_patch4_32"}, "config.model", num_classes=10)
print(sorted(m for m in sys.modules if m.startswith("cvdl_jax.models.") and m.count(".") > 2))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['cvdl_jax.models.backbones.vit']"


MINE = '''"""My network: one dense layer."""
from typing import Any
import flax.linen as nn
import jax.numpy as jnp
from cvdl_jax.models.registry import from_row

VARIANTS = {
    # Me et al. 2026, table 1
    "mynet": {"input": (4, 4, 1), "num_classes": 10, "params": 170, "width": 1},
    "mynet_tiny": {"input": (2, 2, 1), "num_classes": 3, "params": 15, "width": 1},
}

class MyNet(nn.Module):
    num_classes: int
    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, train):
        x = x.reshape(len(x), -1)
        return nn.Dense(self.num_classes * self.width)(x), {"pre_logits": x}

def build(variant, num_classes, dtype=jnp.float32, **overrides):
    return from_row(MyNet, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
'''


@pytest.mark.parametrize("kind", ["backbones", "novelties"])
def test_a_family_from_outside_is_one_file(kind, tmp_path, monkeypatch, capsys):
    """In a folder that there is, and in a new one: it is listed, made, counted, and described, with the old ones."""
    room = tmp_path / "models"
    shutil.copytree(registry.ROOM, room, ignore=shutil.ignore_patterns("__pycache__"))
    (room / kind).mkdir(exist_ok=True)
    (room / kind / "mynet.py").write_text(MINE)
    before = registry.variants()
    monkeypatch.setattr(registry, "ROOM", room)
    monkeypatch.setattr(cvdl_jax.models, "__path__", [*cvdl_jax.models.__path__, str(room)])
    if kind == "backbones":
        monkeypatch.setattr(backbones, "__path__", [*backbones.__path__, str(room / kind)])
    after = registry.variants()
    assert set(after) == {*before, "mynet", "mynet_tiny"}
    assert after["mynet"].module == f"cvdl_jax.models.{kind}.mynet" and after["mynet"].kind == kind
    model = registry.create({"name": "mynet", "width": 2}, "config.model", kinds=(kind,), num_classes=5)
    assert model.width == 2 and model.num_classes == 5
    with pytest.raises(ConfigError, match=r"config\.model\.widt is not a field of mynet; did you mean 'width'"):
        registry.create({"name": "mynet", "widt": 2}, "config.model", kinds=(kind,), num_classes=5)
    with pytest.raises(ConfigError, match="did you mean 'mynet'"):
        registry.create({"name": "mynett"}, "config.model", num_classes=5)
    assert describe.size(after["mynet"]) == ("4x4x1", "170", "160")
    assert launch.main(["--mode=describe", "--config=mynet"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"mynet (cvdl_jax/models/{kind}/mynet.py), input 4x4x1\nMe et al. 2026, table 1")
    assert out.splitlines()[-1].split() == ["total", "170", "160"]


BUILD = "\ndef build(variant, num_classes, dtype=None, **overrides): ..."
ROW = '{"input": (1, 1, 1), "num_classes": 1, "params": 1}'


@pytest.mark.parametrize(
    ("one", "two", "message"),
    [
        (f'VARIANTS = {{"same": {ROW}}}{BUILD}', f'VARIANTS = {{"same": {ROW}}}{BUILD}',
         r"models/a/one\.py and models/b/two\.py both have a variant 'same'"),
        (f"A = 3{BUILD}", "", r"one\.py has no literal table VARIANTS"),
        (f"VARIANTS = dict(a=1){BUILD}", "", r"one\.py has no literal table VARIANTS"),
        (f'VARIANTS = {{"x": {ROW}}}', "", r"one\.py has no function build\(variant"),
        (f'VARIANTS = {{"x": {{"input": (1,)}}}}{BUILD}', "", r"the row 'x' lacks 'num_classes', with which"),
        (f'VARIANTS = {{"x": {{**{ROW}, "kind": "c"}}}}{BUILD}'.replace(f"**{ROW}", ROW[1:-1]), "",
         r"'x' is of kind 'c'; known: a"),
    ],
)  # fmt: skip
def test_wrong_families_are_errors(one, two, message, tmp_path):
    for path, text in (("a/one.py", one), ("b/two.py", two)):
        if text:
            (tmp_path / path).parent.mkdir()
            (tmp_path / path).write_text(text)
    with pytest.raises(ValueError, match=message):
        registry.variants(tmp_path)

"""Models by name: discovery without imports, and errors that name the thing, the numbers and what to type next."""

import ast
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from test_models import TINY

from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("lenet6", {}, "config.model.name='lenet6' is not a model; did you mean 'lenet5'"),
        ("resnet", {}, "'resnet' is a family; choose one of resnet20, resnet32"),
        (5, {}, "must be a string"),
        ("mlp", {"hiden": (3,)}, "config.model.hiden is not a field of mlp; did you mean 'hidden'"),
        ("mlp", {"hidden": 3}, "config.model.hidden=3"),
        ("mlp", {"hidden": (3, 0.5)}, r"config.model.hidden=\(3, 0.5\)"),
        ("mlp", {"dropout": "0.1"}, "config.model.dropout='0.1'"),
        ("mlp", {"activation": None}, "config.model.activation=None"),
    ],
)
def test_wrong_names_and_types_are_refused(name, kwargs, message):
    with pytest.raises(ConfigError, match=message):
        registry.create(name, 10, "float32", **kwargs)


@pytest.mark.parametrize(("num_classes", "dtype"), [(0, "float32"), (2.5, "float32"), (3, "int8"), (3, "floaty")])
def test_wrong_class_counts_and_dtypes_are_refused(num_classes, dtype):
    with pytest.raises(ConfigError, match=r"num_classes|config\.compute_dtype"):
        registry.create("linear", num_classes, dtype)


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
        ("mlp_tiny", {"hidden": (4, 0)}, (1, 8), r"hidden=\(4, 0\)"),
    ],
)
def test_wrong_inputs_and_values_are_refused(name, kwargs, shape, message):
    model = registry.create(name, 3, "float32", **kwargs)
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(partial(model.init, train=False), jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))


@pytest.mark.parametrize("name", TINY)
def test_bytes_are_refused(name):
    model = registry.create(name, 3, "float32")
    x = jax.ShapeDtypeStruct((2, *registry.row(name)["input"]), jnp.uint8)
    with pytest.raises(ConfigError, match="divide bytes by 255 first"):
        jax.eval_shape(partial(model.init, train=False), jax.random.key(0), x)


@pytest.mark.parametrize("name", ["lenet5_tiny", "resnet8_tiny", "vit_patch4_16_tiny"])
def test_parameters_for_other_channels_are_refused(name):
    model = registry.create(name, 3, "float32")
    h, w, c = registry.row(name)["input"]
    variables = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), jnp.zeros((1, h, w, c)))
    with pytest.raises(
        ConfigError, match=f"parameters for {c} channels, got images with 4; set config.data.channels={c}"
    ):
        jax.eval_shape(partial(model.apply, train=False), variables, jnp.zeros((1, h, w, 4)))


def test_no_family_imports_another():
    for path in registry.FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or ""]
            )
            assert not [
                n for n in names if isinstance(node, ast.Import | ast.ImportFrom) and n.startswith("cvdl_jax.models.")
            ]


@pytest.mark.long
def test_importing_vit_imports_no_other_model():
    """Nor does looking up a variant import JAX."""
    script = """
import sys
from cvdl_jax.models import registry
assert registry.variants()["resnet20"] == "resnet"
assert "jax" not in sys.modules and "flax" not in sys.modules
import cvdl_jax.models.backbones.vit
registry.create("vit_tiny_patch4_32", 10, "float32")
print(sorted(m for m in sys.modules if m.startswith("cvdl_jax.models.")))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['cvdl_jax.models.backbones.vit']"


def test_two_families_with_one_variant_are_an_error(tmp_path):
    for family in ("one", "two"):
        (tmp_path / f"{family}.py").write_text('VARIANTS = {"same": {"input": (1, 1, 1)}}')
    with pytest.raises(ValueError, match=r"one\.py and models/two\.py both have a variant 'same'"):
        registry.tables(tmp_path)


def test_a_family_without_a_table_is_an_error(tmp_path):
    (tmp_path / "one.py").write_text("A = 3")
    with pytest.raises(ValueError, match="no literal table VARIANTS"):
        registry.tables(tmp_path)

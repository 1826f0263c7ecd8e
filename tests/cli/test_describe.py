"""`--mode describe`: where variants are from, read from the source; layer tables against tables by hand."""

import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import launch
from cvdl_jax.cli.describe import layers as layer_table
from cvdl_jax.cli.describe import variants as describe
from cvdl_jax.cli.describe.layers import Layer
from cvdl_jax.core import counting
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry

ROOT = Path(__file__).resolve().parents[2]


VARIANTS = registry.variants()


# Where variants are from ------------------------------------------------------------------------------------------

SOURCE = '''"""Nets."""

OTHER = {"a": 1}  # not this
VARIANTS = {
    # First et al. 2001, table 1,
    # and its appendix
    "one": {"x": 1},
    "two": {
        "x": 2,
        # how it is counted
        "y": 3,
    },  # 0.2 M
    # Second et al. 2002, figure 3
    "three": {
        "x": 3,  # an inner remark
    },  # 0.3 M
    "three_tiny": {"x": 0},
    "four_tiny": {"x": 0},  # for the demo
}
'''


def test_comments_say_where_a_row_is_from(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(SOURCE)
    assert describe.comments(path) == {
        "one": "First et al. 2001, table 1, and its appendix",
        "two": "First et al. 2001, table 1, and its appendix; 0.2 M",
        "three": "Second et al. 2002, figure 3; 0.3 M",
        "three_tiny": "",
        "four_tiny": "for the demo",
    }
    path.write_text('"""Nothing."""\n')
    assert describe.comments(path) == {}


def test_every_variant_says_where_it_is_from():
    sources = {name: describe.source(variant) for name, variant in VARIANTS.items()}
    assert [name for name, source in sources.items() if not source and not name.endswith("_tiny")] == []
    assert "table 6; 0.27 M" in sources["resnet20"] and sources["lenet5_tiny"] == ""
    assert sources["dcgan_discriminator"].endswith("figure 1 mirrored")


def test_every_family_says_what_it_is():
    assert all(describe.summary(variant.file) for variant in VARIANTS.values())


def test_paths_are_those_of_the_repository():
    assert all((ROOT / describe.path_of(variant)).samefile(variant.file) for variant in VARIANTS.values())


def test_unknown_names_get_the_nearest():
    with pytest.raises(ConfigError, match="no such config file or model variant; did you mean 'lenet5'"):
        describe.find("lenet6")
    assert describe.find("lenet5").module == "cvdl_jax.models.backbones.lenet"


TINY = [n for n, v in VARIANTS.items() if n.endswith("_tiny") and v.row["params"] < 100_000]


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_sizes_of_variants(variant):
    shape, parameters, macs = describe.size(variant)
    assert shape and int(macs.replace(",", "")) > 0
    assert parameters == f"{variant.row['params']:,}"


@pytest.mark.parametrize(
    ("name", "words"),
    [("lenet5_tiny", "16x16x1"), ("conv1d_tiny", "32"), ("gru_tiny", "1 symbol"), ("anchor_detector_tiny", "16x16x3"),
     ("dcgan_generator_tiny", "6 -> 8x8x1")],
)  # fmt: skip
def test_what_a_variant_takes(name, words):
    assert describe.initialiser(VARIANTS[name])[1] == words


# Layers -----------------------------------------------------------------------------------------------------------


def layers_of(name):
    init, _ = describe.initialiser(describe.find(name))
    return layer_table.trace(init, jax.random.key(0))


def test_lenet_layer_by_layer():
    """LeCun et al. 1998, figure 2: C1, S2, C3, S4, C5, F6, output."""
    assert layers_of("lenet5") == [
        Layer("LeNet/conv0", "Conv", (28, 28, 6), "5x5", "1x1", 156, 117_600),
        Layer("LeNet/avg_pool", "avg_pool", (14, 14, 6), "2x2", "2x2", 0, 0),
        Layer("LeNet/conv1", "Conv", (10, 10, 16), "5x5", "1x1", 2416, 240_000),
        Layer("LeNet/avg_pool", "avg_pool", (5, 5, 16), "2x2", "2x2", 0, 0),
        Layer("LeNet/dense0", "Dense", (120,), "", "", 48_120, 48_000),
        Layer("LeNet/dense1", "Dense", (84,), "", "", 10_164, 10_080),
        Layer("LeNet/head", "Dense", (10,), "", "", 850, 840),
    ]


@pytest.mark.parametrize("name", TINY)
def test_layers_add_up_to_the_model(name):
    layers = layers_of(name)
    _, parameters, macs = describe.size(describe.find(name))
    assert f"{sum(layer.parameters for layer in layers):,}" == parameters
    assert f"{sum(layer.macs for layer in layers):,}" == macs


def test_what_is_not_in_a_layer_of_its_own():
    by_name = {layer.name: layer for layer in layers_of("vit_patch4_16_tiny")}
    assert by_name["ViT"].type == "ViT: class_token, positions" and by_name["ViT"].parameters == 18 * 16
    attention = by_name["ViT/block0/attention"]  # 17 tokens: each with each, 16 channels, scores and sums
    assert (attention.type, attention.macs) == ("Attention: products", 2 * 17 * 17 * 16)
    mean = next(layer for layer in layers_of("resnet8_tiny") if layer.type == "mean")
    assert (mean.name, mean.shape, mean.kernel) == ("ResNet/mean", (16,), "4x4")


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Conv(8, (3, 3), 2, kernel_dilation=2, feature_group_count=2, name="conv")(x)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.remat(Block)(name="block")(x)
        x = nn.max_pool(x, (3, 3), (2, 2))
        return nn.Dropout(0.5, deterministic=True, name="drop")(x), {"more": x}


def test_kernels_dilation_groups_pools_dropout_and_remat():
    layers = layer_table.trace(lambda key: Net().init(key, jnp.zeros((1, 20, 20, 4))), jax.random.key(0))
    assert layers == [
        Layer("Net/block/conv", "Conv", (10, 10, 8), "3x3, dilation 2x2, 2 groups", "2x2", 9 * 2 * 8 + 8, 100 * 18 * 8),
        Layer("Net/max_pool", "max_pool", (4, 4, 8), "3x3", "2x2", 0, 0),
        Layer("Net/drop", "Dropout", (4, 4, 8), "", "", 0, 0),
    ]


def test_the_printed_table():
    lines = layer_table.format_table([Layer("A/conv", "Conv", (8, 8, 16), "3x3", "1x1", 1234, 56789)])
    assert lines == [
        "layer   type  output  kernel  stride  parameters    MACs",
        "A/conv  Conv  8x8x16  3x3     1x1          1,234  56,789",
        "total                                      1,234  56,789",
    ]


# The command ------------------------------------------------------------------------------------------------------


def test_describe_a_config_and_a_variant(capsys):
    assert launch.main(["--mode=describe", "--config=configs/toy/mlp.py", "--config.model.hidden=(16,)"]) == 0
    out = capsys.readouterr().out
    assert "experiment classify, features float32[2], label int32[]" in out
    assert "MLP/dense0  Dense  16" in out and [*map(str.split, out.splitlines())][5] == ["total", "82", "64"]
    assert out.splitlines()[-1] == "82 parameters trained, 0 frozen"
    assert launch.main(["--mode=describe", "--config=lenet5"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("lenet5 (cvdl_jax/models/backbones/lenet.py), input 32x32x1\nLeCun et al. 1998")
    assert out.splitlines()[-1].split() == ["total", "61,706", "416,520"]


@pytest.mark.parametrize(
    ("config", "words"),
    [("resnt20", "did you mean 'resnet20'"), ("configs/toy/mpl.py", "did you mean 'configs/toy/mlp")],
)
def test_describe_refuses_by_name(capsys, config, words):
    assert launch.main(["--mode=describe", f"--config={config}"]) == 2
    assert words in capsys.readouterr().err


def test_the_overview(capsys, monkeypatch):
    """Every variant has a row; what stands in it is counted for three here, and for all in `test_sizes_of_variants`."""
    counted = {"resnet56", "vit_base_patch16_224", "lenet5_tiny"}
    size = describe.size
    monkeypatch.setattr(describe, "size", lambda v: size(v) if v.name in counted else ("1x1x1", "0", "0"))
    assert launch.main(["--mode=describe"]) == 0
    out = capsys.readouterr().out
    lines = {line.split()[0]: line for line in out.splitlines() if line.startswith("  ")}
    assert set(VARIANTS) <= set(lines)
    assert lines["resnet56"].split()[1:4] == ["32x32x3", "853,018", "125,485,696"]
    assert lines["vit_base_patch16_224"].split()[2:4] == ["86,567,656", "17,563,828,224"]
    assert "Dosovitskiy et al. 2021" in lines["vit_base_patch16_224"] and "for tests" in lines["lenet5_tiny"]


@pytest.mark.long
def test_reading_the_tables_imports_no_jax():
    script = (
        "import sys; from cvdl_jax.cli.describe import variants; variants.find('mlp'); assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)


def test_a_batch_has_no_place_in_the_counts():
    init, _ = describe.initialiser(describe.find("mlp_tiny"))
    jaxpr = jax.make_jaxpr(init)(jax.random.key(0)).jaxpr
    assert counting.jaxpr_macs(jaxpr) == 64 * 16 + 16 * 8 + 8 * 10

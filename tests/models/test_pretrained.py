"""Weights by other libraries' names: files, layouts, both ways, shapes that differ, what is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import make_model

from cvdl_jax.core.trees import path_name
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.models import pretrained, tensor_files
from cvdl_jax.models.backbones import resnet

RNG = np.random.default_rng(0)
SECTION = {"name": "resnet8_tiny"}


def torch_names(variant):
    """As a family's own: the CIFAR form has no counterpart in torchvision, so the names are made up."""
    names = {
        "stem/kernel": ("conv1.weight", "conv"),
        "head/kernel": ("fc.weight", "dense"),
        "head/bias": ("fc.bias", ""),
    }
    norms = {"stem_norm": "bn1"}
    for i in range(3):
        for k in (0, 1):
            names[f"stage{i}_block0/conv{k}/kernel"] = (f"layer{i}.conv{k}.weight", "conv")
            norms[f"stage{i}_block0/norm{k}"] = f"layer{i}.bn{k}"
    for ours, theirs in norms.items():
        for our, their in {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}.items():
            names[f"{ours}/{our}"] = (f"{theirs}.{their}", "")
    return names


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setattr(resnet, "torch_names", torch_names, raising=False)


@pytest.fixture(scope="module")
def arrays():
    """Parameters and statistics of a tiny network by their paths, no two numbers alike."""
    model = make_model("resnet8_tiny", 10, "float32")
    shapes = jax.eval_shape(lambda k: model.init(k, jnp.zeros((1, 16, 16, 3)), False), jax.random.key(0))
    flat = {path_name(p): x for p, x in jax.tree_util.tree_leaves_with_path(shapes)}
    return {name: RNG.random(x.shape).astype(np.float32) for name, x in flat.items()}


# Layouts ------------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("I6")
def test_kernels_change_their_layout_both_ways():
    """PyTorch's convolution is [out, in, h, w], its linear layer [out, in]."""
    conv, dense = RNG.random((5, 3, 2, 4)), RNG.random((5, 3))
    ours = pretrained.to_ours(conv, "conv")
    assert ours.shape == (2, 4, 3, 5) and ours[1, 3, 2, 4] == conv[4, 2, 1, 3]
    assert pretrained.to_ours(dense, "dense")[2, 4] == dense[4, 2]
    assert pretrained.to_ours(RNG.random((5, 3, 7)), "conv").shape == (7, 3, 5)
    flat = np.arange(2 * 3 * 4.0)[None]  # [out, c h w] of a map of two channels, 3x4 pixels
    ours = pretrained.to_ours(flat, "dense 3x4").reshape(3, 4, 2)
    assert ours[2, 1, 1] == 1 * 12 + 2 * 4 + 1
    pairs = [(conv, "conv"), (dense, "dense"), (dense, ""), (flat, "dense 3x4"), (dense[:, :, None, None], "pixel")]
    for array, transform in [*pairs, (np.ones((4, 1, 1)), "factors")]:
        back = pretrained.to_theirs(pretrained.to_ours(array, transform), transform)
        np.testing.assert_array_equal(back, array)


@pytest.mark.curriculum("I7")
def test_a_model_goes_out_and_comes_back(known, arrays):
    theirs = pretrained.exported(arrays, SECTION)
    assert theirs["conv1.weight"].shape == (4, 3, 3, 3) and theirs["bn1.num_batches_tracked"] == 0
    np.testing.assert_array_equal(theirs["layer2.bn1.running_var"], arrays["batch_stats/stage2_block0/norm1/var"])
    found = pretrained.imported({**theirs, "other.weight": np.zeros(3)}, SECTION)
    assert found.arrays.keys() == arrays.keys() and found.unknown == ("other.weight",)
    for name, x in arrays.items():
        np.testing.assert_array_equal(found.arrays[name], x, err_msg=name)


def test_what_the_other_library_has_no_place_for_is_named(known, arrays):
    with pytest.raises(DataError, match="1 arrays without a place there, 'params/gate/kernel' first"):
        pretrained.exported({**arrays, "params/gate/kernel": np.zeros(3)}, SECTION)


def test_a_family_without_names_says_which_have_them(arrays):
    with pytest.raises(ConfigError, match="weights by other libraries' names are known of"):
        pretrained.imported({"conv1.weight": np.zeros((4, 3, 3, 3))}, SECTION)


def test_a_kernel_of_another_kind_is_refused(known):
    with pytest.raises(DataError, match="no conv kernel"):
        pretrained.imported({"conv1.weight": np.zeros((4, 3))}, SECTION)
    one_pixel = pretrained.imported({"fc.weight": np.ones((10, 16, 1, 1))}, SECTION)  # timm's heads are convolutions
    assert one_pixel.arrays["params/head/kernel"].shape == (16, 10)


# Shapes that differ -------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("I6")
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6])
def test_a_first_convolution_serves_other_channels(channels):
    """A grey image, repeated over whatever channels there are, gives the same outputs."""
    kernel, grey = RNG.random((3, 3, 3, 5)), RNG.random((3, 3, 1))
    new = pretrained.fitted("params/stem/kernel", kernel, (3, 3, channels, 5))
    assert new.shape == (3, 3, channels, 5)
    expected = np.einsum("hwc,hwck->k", np.repeat(grey, 3, 2), kernel)
    np.testing.assert_allclose(np.einsum("hwc,hwck->k", np.repeat(grey, channels, 2), new), expected)
    if channels == 4:  # R G B R
        np.testing.assert_allclose(new[:, :, 1], kernel[:, :, 1])
        np.testing.assert_allclose(new[:, :, 3], kernel[:, :, 0] / 2)
    assert pretrained.fitted("params/stem/kernel", kernel, (5, 5, channels, 5)) is None
    assert pretrained.fitted("params/stem/kernel", kernel[:, :, :2], (3, 3, channels, 5)) is None


@pytest.mark.curriculum("I6")
def test_positions_of_another_grid_are_interpolated():
    """A class token stays; a plane that rises evenly still rises evenly inside, along the right axis."""
    rows = np.broadcast_to(np.arange(4.0)[:, None], (4, 4))
    grid = np.stack([rows, 10 * rows.T], -1)
    old = np.concatenate([[[7.0, 7.0]], grid.reshape(16, 2)])[None].astype(np.float32)
    new = pretrained.fitted("params/positions", old, (1, 65, 2))
    assert new[0, 0].tolist() == [7, 7]
    new = new[0, 1:].reshape(8, 8, 2)
    np.testing.assert_allclose(np.diff(new[3:5, :, 0], axis=0), 0.5, atol=1e-5)
    np.testing.assert_allclose(np.diff(new[:, 3:5, 1], axis=1), 5, atol=1e-4)
    assert pretrained.fitted("params/positions", old, (1, 60, 2)) is None


def test_preprocessing_travels_with_weights():
    normalise = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2)}
    about = pretrained.preprocessing(normalise, (224, 224))
    assert json.loads(about["preprocessing"])["image_size"] == [224, 224]
    pretrained.check_preprocessing(about, normalise, "x.safetensors")
    pretrained.check_preprocessing({}, {}, "x.safetensors")  # a file that says nothing
    with pytest.raises(ConfigError, match=r"set --config\.normalise\.mean=0\.5,0\.4,0\.3"):
        pretrained.check_preprocessing(about, {"mean": (0.5, 0.5, 0.5), "std": (0.2,) * 3}, "x.safetensors")
    with pytest.raises(ConfigError, match="expect none"):
        pretrained.check_preprocessing(pretrained.preprocessing({}, (8, 8)), normalise, "x.safetensors")
    own = {"per_image": True}
    pretrained.check_preprocessing(pretrained.preprocessing(own, (8, 8)), own, "x.safetensors")
    for weights, config in (({}, own), (own, {}), (normalise, own)):
        with pytest.raises(ConfigError, match=r"set --config\.normalise\.per_image="):
            pretrained.check_preprocessing(pretrained.preprocessing(weights, (8, 8)), config, "x.safetensors")


# Files --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_file_is_read_as_it_was_written(tmp_path, suffix):
    tensors = {"a": np.float32([[1, 2], [3, 4]]), "b.c": np.array(3, np.int64)}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".npz":
        np.savez(path, **tensors)
    else:
        path.write_bytes(tensor_files.to_bytes(tensors, {"by": "us"}))
    file = tensor_files.read(path)
    assert file.tensors.keys() == tensors.keys() and len(file.sha256) == 64
    for name, x in tensors.items():
        np.testing.assert_array_equal(file.tensors[name], x, strict=True)
    assert file.metadata == ({"by": "us"} if suffix == ".safetensors" else {})


def test_bfloat16_is_read(tmp_path):
    header = json.dumps({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    values = np.array([1.5, -2], jnp.bfloat16)
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + values.tobytes())
    assert tensor_files.read(tmp_path / "x.safetensors").tensors["x"].astype(np.float32).tolist() == [1.5, -2]


@pytest.mark.parametrize("cut", [4, 20, -1])
def test_damaged_files_are_refused(tmp_path, cut):
    path = tmp_path / "x.safetensors"
    path.write_bytes(tensor_files.to_bytes({"a": np.ones(8, np.float32)})[:cut])
    with pytest.raises(DataError, match="is damaged or no safetensors file"):
        tensor_files.read(path)
    path = tmp_path / "x.npz"
    np.savez(path, a=np.ones(8))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="is damaged or no file of arrays"):
        tensor_files.read(path)


def test_pickles_and_missing_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="is a pickle of PyTorch, which is not read here"):
        tensor_files.read(tmp_path / "x.pth")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        tensor_files.read(tmp_path / "x.npz")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], object))
    with pytest.raises(DataError, match="no file of arrays"):
        tensor_files.read(tmp_path / "objects.npz")

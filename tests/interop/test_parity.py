"""Our models against torchvision's and timm's: the same weights give the same logits, in both directions.

    make test-interop

It needs torch, torchvision and timm (`requirements-interop.txt`), in an environment of its own; elsewhere it is
skipped. Weights are random: seeded by the model's name, kernels scaled as He et al., running variances in 0.5 ... 1.5.
"""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")

from cvdl_jax.models import pretrained, registry  # noqa: E402

TOLERANCE = 1e-4  # of the standard deviation of the logits
# {variant: side of the images}; where a family is smaller than its largest variants, those are left out for their time.
TESTED = {
    "alexnet": 224, "vgg11": 224, "vgg16_bn": 224, "googlenet": 96, "densenet121": 96, "densenet161": 96,
    "resnet18": 96, "resnet34": 64, "resnet50": 96, "resnet101": 64, "resnet152": 64, "wide_resnet50_2": 64,
    "resnext50_32x4d": 64, "resnext101_32x8d": 64, "resnext101_64x4d": 64, "seresnet50": 64, "seresnext50_32x4d": 64,
    "mobilenetv1_100": 96, "mobilenetv1_125": 65, "mobilenet_v2": 96, "mobilenet_v3_large": 97,
    "mobilenet_v3_small": 96, "efficientnet_b0": 96, "efficientnet_b1": 64, "efficientnet_b3": 64,
    "convnext_tiny": 96, "convnext_small": 75, "convnext_base": 64, "swin_t": 100, "swin_s": 64, "swin_b": 64,
    "vit_b_16": 224, "vit_b_32": 224, "vit_l_32": 224, "vit_tiny_patch16_224": 224, "vit_small_patch16_224": 224,
    "deit_small_patch16_224": 224, "deit_tiny_distilled_patch16_224": 224, "mixer_s16_224": 224, "mixer_b32_224": 224,
    "mixer_b16_224": 224,
}  # fmt: skip
IN_FLOAT64 = ("efficientnet_b1", "efficientnet_b3", "resnet152")  # deep enough for random weights to amplify rounding
GATE = 0.2  # of the last normalisation of blocks with gates, whose arguments random weights drive far apart


def theirs(name: str):
    """The model of torchvision, else of timm, with 1000 classes and random weights, in evaluation."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    if name in torchvision.models.list_models():
        how = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
        model = torchvision.models.get_model(name, weights=None, **how)
    else:
        model = timm.create_model(name, pretrained=False, num_classes=1000)
    with torch.no_grad():
        for key, x in model.state_dict().items():
            if key.endswith("num_batches_tracked") or not x.is_floating_point() or "attn_mask" in key:
                continue
            noise = torch.randn(x.shape, generator=generator)
            if key.endswith("running_var"):
                x.copy_(0.5 + torch.rand(x.shape, generator=generator))
            elif x.ndim >= 2 and "embed" not in key and "token" not in key and "bias_table" not in key:
                x.copy_(noise * (2 / x[0].numel()) ** 0.5 if x[0].numel() > 1 else noise)
            elif key.endswith("weight"):
                x.copy_(1 + 0.1 * noise)
            else:
                x.copy_(0.1 * noise)
        if name.startswith("se"):
            for key, x in model.state_dict().items():
                if key.endswith("bn3.weight"):
                    x.mul_(GATE)
    return model.eval()


def ours(name: str, arrays, image, dtype):
    """Our logits of images [b, h, w, 3]."""
    side = image.shape[1]
    section = {"name": name}
    if registry.variants()[name].file.stem in ("vit", "mlp_mixer"):
        section["image_size"] = side
    model = registry.create(section, "config.model", num_classes=1000, dtype=dtype)
    variables: dict = {}
    for path, x in arrays.items():
        *folders, last = path.split("/")
        node = variables
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = jnp.asarray(x, dtype)
    shapes = jax.eval_shape(lambda k: model.init(k, jnp.zeros((1, side, side, 3), dtype), False), jax.random.key(0))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(lambda x: x.shape, dict(shapes))
    return np.asarray(jax.jit(lambda v, x: model.apply(v, x, False)[0])(variables, jnp.asarray(image, dtype)))


@pytest.mark.parametrize("name", TESTED)
def test_the_same_weights_give_the_same_logits(name):
    double = name in IN_FLOAT64
    model = theirs(name)
    image = np.random.default_rng(1).normal(size=(2, TESTED[name], TESTED[name], 3)).astype(np.float32)
    tensors = {key: x.numpy().copy() for key, x in model.state_dict().items()}
    with torch.no_grad():
        x = torch.from_numpy(image.transpose(0, 3, 1, 2).copy())
        expected = (model.double()(x.double()) if double else model(x)).numpy()
    found = pretrained.imported(tensors, {"name": name})
    assert not [n for n in found.unknown if "relative_position_index" not in n and "attn_mask" not in n]
    with jax.enable_x64(double):
        dtype = jnp.float64 if double else jnp.float32
        logits = ours(name, found.arrays, image, dtype)
        assert expected.std() > 0.1 and logits.shape == expected.shape
        assert np.abs(logits - expected).max() <= TOLERANCE * expected.std()
        wrong = dict(found.arrays)
        first = next(k for k in wrong if k.endswith("kernel"))
        wrong[first] = wrong[first] * 1.01  # what a comparison that sees nothing would pass
        assert np.abs(ours(name, wrong, image, dtype) - expected).max() > TOLERANCE * expected.std()
    # and back: their own loader takes what we write
    written = pretrained.exported(found.arrays, {"name": name})
    back = {key: torch.from_numpy(np.array(x)) for key, x in written.items()}
    loaded = model.float().load_state_dict(back, strict=False)
    assert not loaded.unexpected_keys
    assert all("relative_position_index" in key or "attn_mask" in key for key in loaded.missing_keys)
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), tensors[key], err_msg=key)

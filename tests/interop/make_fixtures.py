"""Writes tests/interop/fixtures from torchvision and timm, so that `make test` compares with them without torch.

    .venv-interop/bin/python tests/interop/make_fixtures.py

names.json.gz has the names and shapes of whole models, small.json.gz those of small ones and their logits for weights
that `tests/weights_for_tests.py` makes from the names.
"""

import gzip
import json
import sys
from pathlib import Path

import timm
import torch
import torchvision
from timm.models import mlp_mixer
from torchvision.models import convnext, densenet, resnet, swin_transformer, vision_transformer

FOLDER = Path(__file__).parent / "fixtures"
sys.path.insert(0, str(FOLDER.parent.parent))
from weights_for_tests import CLASSES, SIDE, SMALL, image, weight  # noqa: E402

WHOLE = (
    "alexnet", "vgg11", "vgg16_bn", "googlenet", "densenet121", "resnet18", "resnet50", "resnext50_32x4d",
    "seresnet50", "mobilenetv1_100", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "efficientnet_b0",
    "efficientnet_b3", "convnext_tiny", "swin_t", "vit_b_32", "vit_small_patch16_224",
    "deit_tiny_distilled_patch16_224", "vit_small_patch14_reg4_dinov2", "mixer_s16_224",
)  # fmt: skip


def whole(name: str) -> torch.nn.Module:
    """A model of torchvision, else of timm, without numbers."""
    with torch.device("meta"):
        if name in torchvision.models.list_models():
            how = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
            return torchvision.models.get_model(name, weights=None, **how)
        return timm.create_model(name, pretrained=False, num_classes=1000)


def small(case: str) -> torch.nn.Module:
    """The model of a case, with random weights of torch's."""
    n = CLASSES
    tokens = {"img_size": SIDE, "embed_dim": 24, "depth": 1, "num_heads": 2, "num_classes": n}
    blocks = [convnext.CNBlockConfig(8, 16, 1), convnext.CNBlockConfig(16, None, 1)]
    make = {
        "resnet": lambda: resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1], n),
        "densenet": lambda: densenet.DenseNet(8, (1, 2), 16, num_classes=n),
        "convnext": lambda: convnext.ConvNeXt(blocks, num_classes=n),
        "swin": lambda: swin_transformer.SwinTransformer([4, 4], 12, [2, 1], [2, 4], [4, 4], num_classes=n),
        "vit": lambda: vision_transformer.VisionTransformer(SIDE, 16, 1, 2, 24, 96, num_classes=n),
        "deit": lambda: timm.create_model("deit_tiny_distilled_patch16_224", **tokens),
        "dinov2": lambda: timm.create_model("vit_giant_patch14_reg4_dinov2", **{**tokens, "img_size": 28}),
        "mixer": lambda: mlp_mixer.MlpMixer(n, SIDE, patch_size=16, num_blocks=1, embed_dim=24),
    }
    return make[case]().eval()


def shapes(model: torch.nn.Module) -> dict[str, list[int]]:
    """{name: shape} of what a model keeps, without what follows from its sizes."""
    state = model.state_dict()
    return {k: list(x.shape) for k, x in state.items() if "relative_position_index" not in k and "attn_mask" not in k}


def filled(case: str) -> dict:
    """Names and shapes of a case, and its logits for the weights of these names."""
    model = small(case)
    state = {name: torch.from_numpy(weight(name, tuple(shape))) for name, shape in shapes(model).items()}
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    with torch.no_grad():
        logits = model.double()(torch.from_numpy(image(case).transpose(0, 3, 1, 2).copy()).double()).numpy()
    assert logits.std() > 0.1, (case, logits.std())
    return {"shapes": shapes(model), "logits": [[float(f"{x:.8g}") for x in row] for row in logits]}


def write(name: str, content: dict) -> None:
    """Writes a file, the same bytes for the same content."""
    text = json.dumps(content, separators=(",", ":")).encode()
    (FOLDER / name).write_bytes(gzip.compress(text, 9, mtime=0))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    write("names.json.gz", {name: shapes(whole(name)) for name in WHOLE})
    write("small.json.gz", {case: filled(case) for case in SMALL})

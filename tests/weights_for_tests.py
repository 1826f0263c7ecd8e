"""Weights that anybody can make again from their names, and small models of other libraries that are filled with them.

Each array is drawn by `numpy.random.default_rng(zlib.crc32(name))`: kernels normal with the variance 2 / fan-in of He
et al., running variances uniform in 0.5 ... 1.5, scales 1 + 0.1 n, all others 0.1 n, with n standard normal.
"""

import zlib

import numpy as np

SIDE, CLASSES = 32, 10
# {case: our model}; `tests/interop/make_fixtures.py` builds the same ones of torchvision's and timm's parts.
SMALL = {
    "resnet": {"name": "resnet18", "depths": (1, 1, 1, 1)},
    "densenet": {"name": "densenet121", "depths": (1, 2), "growth": 8, "channels": 16},
    "convnext": {"name": "convnext_tiny", "depths": (1, 1), "widths": (8, 16)},
    "swin": {"name": "swin_t", "width": 12, "depths": (2, 1), "heads": (2, 4), "window": 4},
    "vit": {"name": "vit_b_16", "image_size": SIDE, "width": 24, "depth": 1, "heads": 2},
    "deit": {
        "name": "deit_tiny_distilled_patch16_224", "image_size": SIDE, "width": 24, "depth": 1, "heads": 2,
    },
    "dinov2": {"name": "vit_giant_patch14_reg4_dinov2", "image_size": 28, "width": 24, "depth": 1, "heads": 2},
    "mixer": {
        "name": "mixer_s16_224", "image_size": SIDE, "width": 24, "depth": 1, "token_units": 12, "channel_units": 96,
    },
}  # fmt: skip

BERT = {"vocabulary": 30, "width": 16, "depth": 2, "heads": 2, "hidden": 24, "positions": 12}  # a small one


def bert_inputs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens and segments int32 [3, 10], lengths [3], one text without padding."""
    rng, lengths = np.random.default_rng(1), np.asarray([10, 7, 4], np.int32)
    places = np.arange(10)[None]
    tokens = np.where(places < lengths[:, None], rng.integers(1, 30, (3, 10)), 0)
    return tokens.astype(np.int32), ((places >= 3) & (places < lengths[:, None])).astype(np.int32), lengths


def image(case: str) -> np.ndarray:
    """The images [2, h, w, 3] of a case."""
    side = SMALL[case].get("image_size", SIDE)
    return np.random.default_rng(1).normal(size=(2, side, side, 3)).astype(np.float32)


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of a name of PyTorch's."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    n = rng.standard_normal(shape, np.float32)
    if name.endswith("running_var"):
        return 0.5 + rng.random(shape, np.float32)
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    if fan_in > 1 and not any(word in name for word in ("embed", "token", "bias_table")):
        return n * np.float32((2 / fan_in) ** 0.5)
    return 1 + n / 10 if name.endswith("weight") and len(shape) == 1 else n / 10

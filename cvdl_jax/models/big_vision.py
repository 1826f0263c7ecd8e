"""Vision Transformers by the names of Google's JAX code: vit_jax (the `.npz` files of AugReg) and big_vision.

    theirs                                                          ours
    embedding/{kernel,bias}                                         patch_embed
    cls                                                             class_token
    Transformer/posembed_input/pos_embedding, or pos_embedding      positions
    Transformer/encoderblock_i/LayerNorm_0, LayerNorm_2 or _1       block{i}/norm0, norm1
    .../MultiHeadDotProductAttention_1 or _0/{query,key,value}      block{i}/attention/qkv, the three side by side
    .../MultiHeadDotProductAttention_1 or _0/out                    block{i}/attention/proj
    .../MlpBlock_3 or _0/Dense_0, Dense_1                           block{i}/dense0, dense1
    Transformer/encoder_norm                                        norm
    head                                                            head

vit_jax adds a position to the class token too; big_vision adds none, which is a position of zero. All may stand below
"params/". Their GELU is the approximation by tanh, ours is exact: scores differ in the third digit.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.models import registry

_BLOCK = re.compile(r"Transformer/encoderblock_(\d+)/(.+)")
_IN_BLOCK = {
    "LayerNorm_0": "norm0", "LayerNorm_1": "norm1", "LayerNorm_2": "norm1",
    "MlpBlock_0/Dense_0": "dense0", "MlpBlock_3/Dense_0": "dense0",
    "MlpBlock_0/Dense_1": "dense1", "MlpBlock_3/Dense_1": "dense1",
}  # fmt: skip
_ATTENTION = re.compile(r"MultiHeadDotProductAttention_[01]/(query|key|value|out)")
_TOP = {"embedding": "patch_embed", "Transformer/encoder_norm": "norm", "head": "head"}
_POSITIONS = ("Transformer/posembed_input/pos_embedding", "Transformer/pos_embedding", "pos_embedding")


def named_so(names: Any) -> bool:
    """Whether names of a file are of this scheme."""
    return any(_BLOCK.fullmatch(name.removeprefix("params/")) for name in names)


def by_our_names(
    tensors: Mapping[str, np.ndarray], section: Mapping[str, Any], path: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The arrays of a file by our names, and their names that a ViT has no place for.

    A layer between the pooled token and the head ("pre_logits") has none; then neither has the head behind it.

    Args:
        tensors: {their name: array}; what begins with "opt/" is of their optimizer and is passed over.
        section: as `config.model`.
        path: of the section, for messages.

    Raises:
        ConfigError: for another family, or settings that are not those of the weights: heads, pooling, positions.
        DataError: for weights that pool by attention, or a block that is not whole.
    """
    given = {name.removeprefix("params/"): x for name, x in tensors.items() if not name.startswith("opt/")}
    pooling = sorted(name for name in given if name.startswith(("MAPHead_0/", "probe")))
    if pooling:
        raise DataError(
            f"{pooling[0]!r}: these weights pool the patches by attention (MAP head), which no ViT here does; take "
            "weights with a class token or the mean of the patches"
        )
    model = _model(section, path)
    arrays: dict[str, np.ndarray] = {}
    unknown, parts = [], {}
    without_head = any(name.startswith("pre_logits/") for name in given)
    for name, x in given.items():
        if name == "cls" or name in _POSITIONS:
            continue
        block, (layer, _, entry) = _BLOCK.fullmatch(name), name.rpartition("/")
        inner = block[2].rpartition("/")[0] if block else ""
        attention = _ATTENTION.fullmatch(inner)
        if attention:
            parts.setdefault((int(block[1]), entry), {})[attention[1]] = x
        elif inner in _IN_BLOCK:
            arrays[f"params/block{block[1]}/{_IN_BLOCK[inner]}/{entry}"] = x
        elif layer in _TOP and not (layer == "head" and without_head):
            arrays[f"params/{_TOP[layer]}/{entry}"] = x
        else:
            unknown.append(name)
    for (i, entry), four in parts.items():
        arrays |= {f"params/block{i}/attention/{key}": x for key, x in _attention(i, entry, four, model, path).items()}
    return arrays | _tokens(given, model, path), tuple(unknown)


def _model(section: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The fields of the model that decide how weights are laid out."""
    variant = registry.variants()[section["name"]]
    if variant.file.stem != "vit":
        raise ConfigError(
            f"{path}.name={variant.name!r}: the file has the weights of a Vision Transformer by the names of vit_jax; "
            "name one, such as vit_base_patch16_224"
        )
    return {"pool": "token", "sincos": False, "all_positions": True, **variant.row, **section}


def _attention(
    i: int, entry: str, four: Mapping[str, np.ndarray], model: Mapping[str, Any], path: str
) -> dict[str, np.ndarray]:
    """Query, key and value of all heads [d, heads, d / heads] side by side, [d, 3 d]; what goes out, [d, d]."""
    missing = [name for name in ("query", "key", "value", "out") if name not in four]
    if missing:
        raise DataError(f"encoderblock_{i} has no {missing[0]}/{entry}; the file is not whole")
    heads = four["query"].shape[-2]
    if heads != model["heads"]:
        raise ConfigError(f"{path}.heads={model['heads']}, and the weights have {heads}; set --{path}.heads={heads}")
    qkv = [four[name].reshape(*four[name].shape[:-2], -1) for name in ("query", "key", "value")]
    out = four["out"].reshape(-1, four["out"].shape[-1]) if entry == "kernel" else four["out"]
    return {f"qkv/{entry}": np.concatenate(qkv, -1), f"proj/{entry}": out}


def _tokens(given: Mapping[str, np.ndarray], model: Mapping[str, Any], path: str) -> dict[str, np.ndarray]:
    """Class token and positions."""
    cls, place = given.get("cls"), next((name for name in _POSITIONS if name in given), None)
    pool = "mean" if cls is None else "token"
    if model["pool"] != pool:
        what = "the mean of the patches" if cls is None else "a class token"
        raise ConfigError(f"{path}.pool={model['pool']!r}, and the weights have {what}; set --{path}.pool={pool}")
    if model["sincos"] != (place is None):
        raise ConfigError(
            f"{path}.sincos={model['sincos']}, and the weights have {'fixed' if place is None else 'learned'} "
            f"positions; set --{path}.sincos={place is None}"
        )
    positions = given[place] if place else None
    if cls is None:
        return {} if positions is None else {"params/positions": positions}
    if positions is None:
        return {"params/class_token": cls}
    first = np.zeros_like(cls)
    if place == _POSITIONS[0] or math.isqrt(positions.shape[1] - 1) ** 2 == positions.shape[1] - 1:
        first, positions = positions[:, :1], positions[:, 1:]
    if model["all_positions"]:
        return {"params/class_token": cls, "params/positions": np.concatenate([first, positions], 1)}
    return {"params/class_token": cls + first, "params/positions": positions}

"""CLIP by the names of Hugging Face's transformers, as those of OpenAI's file, which `models/multimodal/clip.py` knows.

theirs                                                    OpenAI's
vision_model.embeddings.{class,patch,position}_embedding  visual.class_embedding, conv1, positional_embedding
vision_model.pre_layrnorm, post_layernorm                 visual.ln_pre, ln_post
text_model.embeddings.{token,position}_embedding          token_embedding, positional_embedding
text_model.final_layer_norm                               ln_final
{vision,text}_model.encoder.layers.i                      (visual.)transformer.resblocks.i
    self_attn.{q,k,v}_proj                                    attn.in_proj, the three one below the other
    self_attn.out_proj, layer_norm1, layer_norm2              attn.out_proj, ln_1, ln_2
    mlp.fc1, mlp.fc2                                          mlp.c_fc, mlp.c_proj
visual_projection, text_projection                        visual.proj, text_projection, transposed
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np

from cvdl_jax.errors import DataError

_LAYER = re.compile(r"(vision|text)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_IN_LAYER = {
    "self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}  # fmt: skip
_TOP = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",  # so it is spelt
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "logit_scale": "logit_scale",
}
_TRANSPOSED = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}
_COUNTS = re.compile(r"(vision|text)_model\.embeddings\.position_ids")  # 0, 1, 2 ...


def named_so(names: Iterable[str]) -> bool:
    """Whether names of a file are of this scheme."""
    return any(_LAYER.fullmatch(name) for name in names)


def by_openai_names(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a file by OpenAI's names; a name that is not of this scheme stays.

    Args:
        tensors: {their name: array}.

    Raises:
        DataError: for a layer that has not all of queries, keys and values.
    """
    out: dict[str, np.ndarray] = {}
    parts: dict[str, dict[str, np.ndarray]] = {}
    for name, x in tensors.items():
        layer = _LAYER.fullmatch(name)
        if _COUNTS.fullmatch(name):
            continue
        if name in _TRANSPOSED:
            out[_TRANSPOSED[name]] = x.T
        elif layer is None:
            out[_TOP.get(name, name)] = x
        else:
            block = f"{'visual.' if layer[1] == 'vision' else ''}transformer.resblocks.{layer[2]}"
            projected = re.fullmatch(r"self_attn\.([qkv])_proj", layer[3])
            if projected:
                parts.setdefault(f"{block}.attn.in_proj_{layer[4]}", {})[projected[1]] = x
            else:
                ours = _IN_LAYER.get(layer[3])
                out[f"{block}.{ours}.{layer[4]}" if ours else name] = x
    for name, of in parts.items():
        if len(of) < 3:
            raise DataError(
                f"{name} is made of q_proj, k_proj and v_proj, and the file has {', '.join(sorted(of))} alone"
            )
        out[name] = np.concatenate([of[part] for part in "qkv"])
    return out

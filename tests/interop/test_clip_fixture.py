"""CLIP against names, shapes and logits that transformers once gave; `make_clip_fixture.py` writes them."""

import gzip
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from weights_for_tests import weight

from cvdl_jax.core.trees import path_name
from cvdl_jax.models import pretrained, registry

CONTENT = json.loads(gzip.decompress((Path(__file__).parent / "fixtures" / "clip.json.gz").read_bytes()))
TOLERANCE = 1e-4  # of the largest logit
SECTION = {
    "name": "ViT-B-32-quickgelu", "image_size": 12, "patch_size": 4, "image_width": 16, "image_depth": 2,
    "head_size": 8, "text_width": 8, "text_depth": 2, "positions": 6, "embedding": 4, "end": 9,
}  # fmt: skip
TOKENS = np.asarray([[1, 4, 9, 0, 0], [1, 5, 6, 7, 9], [9, 3, 2, 1, 8]], np.int32)


def of_file(shapes):
    return {name: weight(name, tuple(shape)) for name, shape in shapes.items()}


@pytest.mark.curriculum("I7")
def test_a_whole_file_fills_the_model_and_nothing_is_left():
    """ViT-B/32 by the names of transformers; zeros of one byte stand for the numbers."""
    tensors = {name: np.broadcast_to(np.int8(0), shape) for name, shape in CONTENT["whole"].items()}
    filled = pretrained.imported(tensors, {"name": "ViT-B-32-quickgelu"})
    assert filled.unknown == ()
    model, inputs = registry.example("ViT-B-32-quickgelu")
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), *inputs)
    flat = {path_name(path): x.shape for path, x in jax.tree_util.tree_leaves_with_path(shapes)}
    assert {path: x.shape for path, x in filled.arrays.items()} == flat


@pytest.mark.curriculum("I7", "J24")
def test_the_same_weights_give_their_similarities():
    """And others do not: an array of each encoder, some of it larger, is seen."""
    model = registry.create(SECTION, "config.model", vocabulary=10, dtype="float32")
    image = np.random.default_rng(1).normal(size=(2, 12, 12, 3)).astype(np.float32)
    apply = jax.jit(partial(model.apply, train=False), compiler_options={"xla_backend_optimization_level": 0})

    def logits(tensors):
        variables: dict = {}
        for path, x in pretrained.imported(tensors, SECTION).arrays.items():
            *folders, last = path.split("/")
            node = variables
            for folder in folders:
                node = node.setdefault(folder, {})
            node[last] = jnp.asarray(x, jnp.float32)
        return apply(variables, image, TOKENS)[0]

    tensors, expected = of_file(CONTENT["small"]["shapes"]), np.asarray(CONTENT["small"]["logits"])
    limit = TOLERANCE * np.abs(expected).max()
    assert expected.std() > 0.1 and np.abs(logits(tensors) - expected).max() <= limit
    for name in ("vision_model.encoder.layers.1.self_attn.k_proj.weight", "text_projection.weight",
                 "text_model.encoder.layers.0.mlp.fc2.weight"):  # fmt: skip
        wrong = tensors[name] * np.linspace(1, 1.3, tensors[name].shape[-1], dtype=np.float32)
        assert np.abs(logits({**tensors, name: wrong}) - expected).max() > limit, name

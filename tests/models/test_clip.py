"""CLIP against a plain NumPy forward by OpenAI's names; what a text is read at; what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from weights_for_tests import weight

from cvdl_jax.core.trees import path_name
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.models import clip_names, pretrained, registry

SMALL = {
    "name": "ViT-B-32-quickgelu", "image_size": 12, "patch_size": 4, "image_width": 16, "image_depth": 2,
    "head_size": 8, "text_width": 8, "text_depth": 2, "positions": 6, "embedding": 4, "end": 9,
}  # fmt: skip
WORDS = 10
TOKENS = np.asarray([[1, 4, 9, 0, 0], [1, 5, 6, 7, 9], [9, 3, 2, 1, 8]], np.int32)


def made(**more):
    section = {**SMALL, **more}
    return registry.create(section, "config.model", vocabulary=WORDS, dtype="float32")


def theirs(depths=(2, 2)):
    """Names and shapes of a small model as OpenAI's file would have them, with weights made of the names."""
    d, e, w = SMALL["image_width"], SMALL["embedding"], SMALL["text_width"]
    shapes = {
        "visual.conv1.weight": (d, 3, 4, 4), "visual.class_embedding": (d,), "visual.positional_embedding": (10, d),
        "visual.proj": (d, e), "token_embedding.weight": (WORDS, w), "positional_embedding": (6, w),
        "text_projection": (w, e), "logit_scale": (),
    }  # fmt: skip
    norms = {"visual.ln_pre": d, "visual.ln_post": d, "ln_final": w}
    for prefix, width, depth in (("visual.", d, depths[0]), ("", w, depths[1])):
        for i in range(depth):
            block = f"{prefix}transformer.resblocks.{i}"
            norms |= {f"{block}.ln_1": width, f"{block}.ln_2": width}
            shapes |= {f"{block}.attn.in_proj_weight": (3 * width, width), f"{block}.attn.in_proj_bias": (3 * width,)}
            for name, (out, of) in {"attn.out_proj": (1, 1), "mlp.c_fc": (4, 1), "mlp.c_proj": (1, 4)}.items():
                shapes |= {f"{block}.{name}.weight": (out * width, of * width), f"{block}.{name}.bias": (out * width,)}
    shapes |= {f"{name}.{entry}": (width,) for name, width in norms.items() for entry in ("weight", "bias")}
    return {name: np.asarray(weight(name, shape), np.float64) for name, shape in shapes.items()}


def layer_norm(p, name, x):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def transformer(p, prefix, depth, x, causal):
    """Pre-norm blocks over tokens [n, d] of one example, head by head."""
    n, d = x.shape
    for i in range(depth):
        block = f"{prefix}transformer.resblocks.{i}"
        y = layer_norm(p, f"{block}.ln_1", x)
        q, k, v = np.split(y @ p[f"{block}.attn.in_proj_weight"].T + p[f"{block}.attn.in_proj_bias"], 3, -1)
        heads = []
        for h in range(d // 8):
            part = np.s_[:, 8 * h : 8 * h + 8]
            scores = q[part] @ k[part].T / np.sqrt(8)
            scores = np.where(np.tril(np.ones((n, n), bool)) | (not causal), scores, -np.inf)
            heads.append(special.softmax(scores, -1) @ v[part])
        x = x + np.concatenate(heads, 1) @ p[f"{block}.attn.out_proj.weight"].T + p[f"{block}.attn.out_proj.bias"]
        y = layer_norm(p, f"{block}.ln_2", x) @ p[f"{block}.mlp.c_fc.weight"].T + p[f"{block}.mlp.c_fc.bias"]
        y = y * special.expit(1.702 * y)
        x = x + y @ p[f"{block}.mlp.c_proj.weight"].T + p[f"{block}.mlp.c_proj.bias"]
    return x


def plain(p, images, tokens):
    """exp(t) cos of images [b, 12, 12, 3] and tokens, as the paper's figure 3 and OpenAI's model.py say."""
    embeddings = []
    for image in images:
        patches = image.reshape(3, 4, 3, 4, 3).transpose(0, 2, 4, 1, 3).reshape(9, -1)  # row by row, channels first
        x = patches @ p["visual.conv1.weight"].reshape(16, -1).T
        x = np.concatenate([p["visual.class_embedding"][None], x]) + p["visual.positional_embedding"]
        x = transformer(p, "visual.", 2, layer_norm(p, "visual.ln_pre", x), False)
        embeddings.append(layer_norm(p, "visual.ln_post", x[:1])[0] @ p["visual.proj"])
    texts = []
    for row in tokens:
        x = p["token_embedding.weight"][row] + p["positional_embedding"][: len(row)]
        x = layer_norm(p, "ln_final", transformer(p, "", 2, x, True))
        texts.append(x[row.tolist().index(9)] @ p["text_projection"])
    unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (np.asarray(embeddings), np.asarray(texts))]
    return np.exp(p["logit_scale"]) * unit[0] @ unit[1].T


def nested(arrays):
    variables: dict = {}
    for path, x in arrays.items():
        *folders, last = path.split("/")
        node = variables
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = jnp.asarray(x, jnp.float32)
    return variables


@pytest.fixture(scope="module")
def small():
    """(model, its variables from the file of the other library, the compiled forward)."""
    model = made()
    imported = pretrained.imported(theirs(), {"name": "ViT-B-32-quickgelu"})
    assert imported.unknown == ()
    apply = jax.jit(partial(model.apply, train=False), compiler_options={"xla_backend_optimization_level": 0})
    return model, nested(imported.arrays), apply


IMAGES = np.random.default_rng(1).normal(size=(2, 12, 12, 3)).astype(np.float32)


@pytest.mark.curriculum("J24", "I7")
def test_the_same_weights_give_the_same_similarities(small):
    """A forward of its own in NumPy, by their names; one kernel, larger by a hundredth, is seen."""
    _, variables, apply = small
    expected = plain(theirs(), IMAGES, TOKENS)
    assert expected.std() > 0.1
    logits, out = apply(variables, IMAGES, TOKENS)
    np.testing.assert_allclose(logits, expected, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_allclose(np.linalg.norm(out["image"], axis=1), 1, rtol=1e-6)
    for name in ("visual.conv1.weight", "transformer.resblocks.1.attn.in_proj_weight", "positional_embedding"):
        wrong = theirs()
        wrong[name] = wrong[name] * 1.01
        assert np.abs(plain(wrong, IMAGES, TOKENS) - expected).max() > 1e-4 * np.abs(expected).max(), name


def test_names_go_both_ways_and_are_those_of_a_whole_file():
    """OpenAI's ViT-B/32 has 302 arrays: 8 + 12 * 12 of the image encoder, 5 + 12 * 12 of the text encoder, and t."""
    model, inputs = registry.example("ViT-B-32")
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), *inputs)
    flat = {path_name(path): x.shape for path, x in jax.tree_util.tree_leaves_with_path(shapes)}
    zeros = {path: np.broadcast_to(np.int8(0), shape) for path, shape in flat.items()}
    names = {name: x.shape for name, x in pretrained.exported(zeros, {"name": "ViT-B-32"}).items()}
    assert len(names) == 302
    assert names["visual.conv1.weight"] == (768, 3, 32, 32) and names["visual.positional_embedding"] == (50, 768)
    assert names["transformer.resblocks.11.attn.in_proj_weight"] == (1536, 512) and names["logit_scale"] == ()
    assert names["visual.transformer.resblocks.0.mlp.c_fc.weight"] == (3072, 768)
    assert names["token_embedding.weight"] == (49408, 512) and names["visual.proj"] == (768, 512)
    tensors = {name: np.broadcast_to(np.int8(0), x) for name, x in names.items()}
    back = pretrained.imported(tensors, {"name": "ViT-B-32"})
    assert {path: x.shape for path, x in back.arrays.items()} == flat and back.unknown == ()


def test_names_of_hugging_face_are_those_of_the_same_arrays():
    """Queries, keys and values of a layer apart, projections transposed, as transformers' CLIPModel has them."""
    renamed = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
               "attn.out_proj": "self_attn.out_proj"}  # fmt: skip
    top = {theirs: ours for ours, theirs in clip_names._TOP.items()}
    tensors = {"text_model.embeddings.position_ids": np.arange(6)[None]}
    for name, x in theirs().items():
        if "resblocks" not in name:
            projection = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
            tensors[projection.get(name) or top[name]] = x.T if name in projection else x
            continue
        tower = "vision" if name.startswith("visual") else "text"
        layer, _, rest = name.partition("resblocks.")[2].partition(".")
        begin, (part, _, entry) = f"{tower}_model.encoder.layers.{layer}", rest.rpartition(".")
        if rest.startswith("attn.in_proj"):
            for letter, third in zip("qkv", np.split(x, 3), strict=True):
                tensors[f"{begin}.self_attn.{letter}_proj.{rest.rpartition('_')[2]}"] = third
        else:
            tensors[f"{begin}.{renamed[part]}.{entry}"] = x
    assert "vision_model.encoder.layers.1.self_attn.k_proj.bias" in tensors
    same, expected = (pretrained.imported(x, {"name": "ViT-B-32-quickgelu"}) for x in (tensors, theirs()))
    assert same.unknown == () and same.arrays.keys() == expected.arrays.keys()
    for name, x in expected.arrays.items():
        np.testing.assert_array_equal(same.arrays[name], x, err_msg=name)
    del tensors["text_model.encoder.layers.0.self_attn.k_proj.weight"]
    with pytest.raises(
        DataError, match=r"in_proj_weight is made of q_proj, k_proj and v_proj, and the file has q, v al"
    ):
        pretrained.imported(tensors, {"name": "ViT-B-32"})


def test_what_follows_the_end_of_a_text_has_no_influence(small):
    """And what precedes it has."""
    model, variables, _ = small
    encode = jax.jit(partial(model.apply, train=False, method="encode_text"))
    base = encode(variables, np.asarray([[1, 4, 5, 9, 0]] * 3, np.int32))
    other = encode(variables, np.asarray([[1, 4, 5, 9, 7], [1, 4, 6, 9, 0], [4, 1, 5, 9, 0]], np.int32))
    np.testing.assert_array_equal(base[0], other[0])
    assert np.abs(base - other).max(1)[1:].min() > 1e-3
    shorter = encode(variables, np.asarray([[1, 4, 5, 9]], np.int32))  # no padding at all
    np.testing.assert_allclose(shorter[0], base[0], atol=1e-6)


def test_bad_tokens_are_refused_or_nan(small):
    model, variables, apply = small
    encode = partial(model.apply, variables, train=False, method="encode_text")
    with pytest.raises(DataError, match=r"tokens\[1, 2\]=10 is no word of clip's vocabulary, 0 to 9"):
        encode(np.asarray([[1, 9, 0], [1, 9, 10]], np.int32))
    with pytest.raises(DataError, match=r"tokens\[0, 0\]=-1 is no word"):
        encode(np.asarray([[-1, 9]], np.int32))
    with pytest.raises(DataError, match=r"tokens\[1\] has no end, the id 9"):
        encode(np.asarray([[1, 9], [1, 4]], np.int32))
    with pytest.raises(ConfigError, match=r"texts of 7 tokens are longer than the 6 positions of clip; set config"):
        encode(np.full((1, 7), 9, np.int32))
    with pytest.raises(ConfigError, match=r"clip takes tokens \[b, t\] of whole numbers, got float32\[1, 2\]"):
        encode(np.zeros((1, 2), np.float32))
    logits, _ = apply(variables, IMAGES, np.asarray([[1, 4, 9, 0, 0], [1, 4, 12, 9, 0], [1, 4, 4, 4, 4]], np.int32))
    assert np.isnan(logits).tolist() == [[False, True, True]] * 2


@pytest.mark.curriculum("J24")
def test_any_backbone_is_an_image_encoder():
    model = registry.create({"name": "clip_tiny", "backbone": "resnet8_tiny"}, "config.model", vocabulary=WORDS)
    inputs = (jnp.zeros((1, 20, 16, 3)), jnp.full((1, 2), model.end))  # of any size
    params = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), *inputs)["params"]
    assert model.backbone.num_classes == 0 and {"backbone", "text", "image_projection"} < params.keys()
    assert "image" not in params and params["image_projection"]["kernel"].shape == (16, 8)


def test_settings_of_another_image_encoder_are_refused():
    with pytest.raises(ConfigError, match=r"config\.model\.image_depth is of the Vision Transformer, and"):
        registry.create({"name": "clip_small", "image_depth": 3}, "config.model", vocabulary=9)
    with pytest.raises(ConfigError, match=r"config\.model\.backbone.name='lstm' is of kind 'sequence'"):
        registry.create({"name": "clip_small", "backbone": "lstm"}, "config.model", vocabulary=9)
    with pytest.raises(ConfigError, match="'ViT-B-32' is made for vocabulary, and is given num_classes"):
        registry.create({"name": "ViT-B-32"}, "config.model", num_classes=9)


def test_the_temperature_begins_at_seven_hundredths():
    model, inputs = registry.example("clip_tiny")
    params = jax.jit(partial(model.init, train=False))(jax.random.key(0), *inputs)["params"]
    np.testing.assert_allclose(np.exp(params["log_scale"]), 1 / 0.07, rtol=1e-6)

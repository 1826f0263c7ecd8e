"""CLIP: an encoder of images and one of texts whose embeddings are compared by their cosine.

    s_ij = exp(t) cos(f(image_i), g(text_j)),    t learned, at first log(1 / 0.07)

The image encoder is the paper's Vision Transformer, or any backbone; the text encoder is a causal Transformer, read out
at the token that ends the text. A multimodal model takes images and tokens: `model(image, tokens, train)`.

Reference: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", section 2.4 and
table 20.
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config.binding import Counted, Layers, Share, Size
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.models.criterion import with_backbone
from cvdl_jax.models.registry import from_row
from cvdl_jax.models.torch_names import NameMap, pair_names
from cvdl_jax.nn.batch_norm import layer_norm
from cvdl_jax.nn.common import check_images, check_patches, remat_block
from cvdl_jax.nn.transformer import Block
from cvdl_jax.ops.precision import at_least_float32
from cvdl_jax.ops.value_checks import is_concrete, or_nan

VARIANTS = {
    # Radford et al. 2021, table 20, by the names of open_clip; "quickgelu" is the activation of OpenAI's own weights
    "ViT-B-32": {
        "input": (224, 224, 3), "vocabulary": 49_408, "end": 49_407, "patch_size": 32,
        # image: 3 * 32^2 d + d + 50 d + 12 * (12 d^2 + 13 d) + 4 d, d = 768, and 768 * 512; text: 49,408 d + 77 d +
        # 12 * (12 d^2 + 13 d) + 2 d, d = 512, and 512^2; the temperature
        "params": 151_277_313,
    },
    "ViT-B-32-quickgelu": {
        "input": (224, 224, 3), "vocabulary": 49_408, "end": 49_407, "patch_size": 32, "activation": "quick_gelu",
        "params": 151_277_313,
    },
    "ViT-B-16": {
        "input": (224, 224, 3), "vocabulary": 49_408, "end": 49_407, "patch_size": 16, "params": 149_620_737,
    },
    "ViT-B-16-quickgelu": {
        "input": (224, 224, 3), "vocabulary": 49_408, "end": 49_407, "patch_size": 16, "activation": "quick_gelu",
        "params": 149_620_737,
    },
    "ViT-L-14": {
        "input": (224, 224, 3), "vocabulary": 49_408, "end": 49_407, "patch_size": 14, "image_width": 1024,
        "image_depth": 24, "text_width": 768, "embedding": 768, "params": 427_616_513,
    },
    "ViT-L-14-quickgelu": {
        "input": (224, 224, 3), "vocabulary": 49_408, "end": 49_407, "patch_size": 14, "image_width": 1024,
        "image_depth": 24, "text_width": 768, "embedding": 768, "activation": "quick_gelu", "params": 427_616_513,
    },
    # a small one for drawn scenes of 64 pixels: ResNet-18 with a quarter of the width
    "clip_small": {
        "input": (64, 64, 3), "vocabulary": 40, "backbone": {"name": "resnet18", "widths": (16, 32, 64, 128)},
        "text_width": 128, "text_depth": 2, "head_size": 32, "positions": 24, "embedding": 128,
        # ResNet-18 without its head 702,096, and 128 * 128; 40 d + 24 d + 2 * (12 d^2 + 13 d) + 2 d + d^2, d = 128; 1
        "params": 1_139_857,
    },
    "clip_tiny": {
        "input": (16, 16, 3), "vocabulary": 40, "patch_size": 4, "image_width": 16, "image_depth": 2, "head_size": 8,
        "text_width": 16, "text_depth": 1, "positions": 16, "embedding": 8,
        # 48 d + d + 17 d + 2 * (12 d^2 + 13 d) + 4 d + 8 d; 40 d + 16 d + 12 d^2 + 13 d + 2 d + 8 d, d = 16; 1
        "params": 12_145,
    },
}  # fmt: skip
OF_TRANSFORMER = ("image_size", "patch_size", "image_width", "image_depth")
EPSILON = 1e-5  # of the layer norms
INITIAL = math.log(1 / 0.07)  # of the temperature's logarithm
LARGEST = math.log(100)  # section 2.5; a training step keeps it below


class ImageTransformer(nn.Module):
    """The paper's Vision Transformer: a norm before the first block, no bias of the patches. [b, h, w, c] -> [b, d].

    Attributes:
        image_size: pixels, one number or (h, w).
        patch_size: side of a patch in pixels.
        width: d.
        depth: number of blocks.
        head_size: channels of a head.
        dropout: rate in the blocks.
        activation: of the perceptrons.
        remat: recompute blocks in the backward pass.
        dtype: of the products.
    """

    image_size: int | tuple[int, int]
    patch_size: int
    width: int
    depth: int
    head_size: int
    dropout: float
    activation: str
    remat: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """The normalised class token. Args: x float [b, h, w, c]; train: dropout. Returns: [b, d]."""
        check_images(x, self, "clip", first="patch_embed")
        check_patches(x, "clip", "positions", self.image_size, self.patch_size)
        wide, patch, d = at_least_float32(self.dtype), (self.patch_size, self.patch_size), self.width
        how = {"use_bias": False, "dtype": self.dtype, "param_dtype": wide, "name": "patch_embed"}
        x = nn.Conv(d, patch, patch, padding="VALID", **how)(x.astype(self.dtype))
        x = x.reshape(x.shape[0], -1, d)  # [b, n, d]
        normal = nn.initializers.normal(d**-0.5)
        token = self.param("class_token", normal, (d,), wide).astype(self.dtype)
        positions = self.param("positions", normal, (x.shape[1] + 1, d), wide).astype(self.dtype)
        x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, d)), x], 1) + positions[None]
        x = layer_norm(self.dtype, "norm_before", EPSILON)(x)
        x = _blocks(self, x, train, causal=False)
        return layer_norm(self.dtype, "norm", EPSILON)(x[:, 0])


class TextTransformer(nn.Module):
    """A causal Transformer, read out at the first token that ends the text. int [b, t] -> [b, d].

    Attributes:
        vocabulary: number of words.
        positions: the longest text.
        end: the id that ends a text; what follows it has no influence.
        width: d.
        depth: number of blocks.
        head_size: channels of a head.
        dropout: rate in the blocks.
        activation: of the perceptrons.
        remat: recompute blocks in the backward pass.
        dtype: of the products.
    """

    vocabulary: int
    positions: int
    end: int
    width: int
    depth: int
    head_size: int
    dropout: float
    activation: str
    remat: bool
    dtype: Any

    @nn.compact
    def __call__(self, tokens: jax.Array, train: bool) -> jax.Array:
        """The normalised token that ends each text. Args: tokens int [b, t]; train: dropout. Returns: [b, d]."""
        good = check_tokens(tokens, self.vocabulary, self.positions, self.end)
        wide, d = at_least_float32(self.dtype), self.width
        embed = nn.Embed(
            self.vocabulary, d, self.dtype, wide, embedding_init=nn.initializers.normal(0.02), name="tokens"
        )
        positions = self.param("positions", nn.initializers.normal(0.01), (self.positions, d), wide)
        x = embed(tokens) + positions[None, : tokens.shape[1]].astype(self.dtype)  # [b, t, d]
        x = _blocks(self, x, train, causal=True)
        ends = jnp.argmax(tokens == self.end, 1)
        last = jnp.take_along_axis(x, ends[:, None, None], 1)[:, 0]
        return or_nan(good[:, None], layer_norm(self.dtype, "norm", EPSILON)(last))


def _blocks(module: ImageTransformer | TextTransformer, x: jax.Array, train: bool, causal: bool) -> jax.Array:
    block = remat_block(Block, module.remat)
    for i in range(module.depth):
        x, _ = block(
            module.width // module.head_size, 4 * module.width, dropout=module.dropout, causal=causal,
            activation=module.activation, epsilon=EPSILON, dtype=module.dtype, name=f"block{i}",
        )(x, train)  # fmt: skip
    return x


def check_tokens(tokens: Any, vocabulary: int, positions: int, end: int) -> jax.Array:
    """Refuses tokens that the text encoder cannot read.

    Args:
        tokens: int [b, t].
        vocabulary: number of words.
        positions: the longest text.
        end: the id that ends a text.

    Returns:
        Where a text consists of words and has an end, bool [b]; where values can be read, all of them.

    Raises:
        ConfigError: for texts that are too long, or tokens of another shape.
        DataError: for an id that is no word's, or a text without an end, where values can be read.
    """
    if tokens.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise ConfigError(f"clip takes tokens [b, t] of whole numbers, got {tokens.dtype}{list(tokens.shape)}")
    if tokens.shape[1] > positions:
        raise ConfigError(
            f"texts of {tokens.shape[1]} tokens are longer than the {positions} positions of clip; set "
            f"config.model.positions={tokens.shape[1]}, or config.data.caption_length={positions}"
        )
    values = np.asarray(tokens) if is_concrete(tokens) else tokens
    known, ended = (values >= 0) & (values < vocabulary), (values == end).any(1)
    if is_concrete(tokens):
        wrong = np.argwhere(~known)
        if len(wrong):
            row, column = wrong[0].tolist()
            raise DataError(
                f"tokens[{row}, {column}]={values[row, column]} is no word of clip's vocabulary, 0 to "
                f"{vocabulary - 1}; encode texts with the vocabulary that it was trained with"
            )
        if not ended.all():
            row = int(np.argmin(ended))
            raise DataError(f"tokens[{row}] has no end, the id {end}, at which clip reads a text")
    return jnp.asarray(known.all(1) & ended)


class CLIP(nn.Module):
    """Embeddings of images and texts, and their scaled cosines.

    Attributes:
        vocabulary: number of words.
        backbone: the image encoder, the name of a variant or a section with its `name`; None for the Transformer that
            the next four describe.
        image_size: pixels, one number or (h, w); the positions are for it.
        patch_size: side of a patch in pixels.
        image_width: size of an image's tokens.
        image_depth: number of its blocks.
        text_width: size of a text's tokens.
        text_depth: number of its blocks.
        head_size: channels of a head of attention.
        positions: the longest text, with its begin and end.
        end: the id that ends a text: that of `data/captions.py`, or 49,407 of OpenAI's vocabulary.
        embedding: e, the size of the common space.
        activation: of the perceptrons.
        dropout: rate in the blocks; the paper has none.
        remat: recompute blocks in the backward pass.
        dtype: of the products; embeddings and similarities are at least float32.
    """

    vocabulary: int
    backbone: nn.Module | None = None
    image_size: int | tuple[int, int] = 224
    patch_size: Size = 32
    image_width: Size = 768
    image_depth: Layers = 12
    text_width: Size = 512
    text_depth: Layers = 12
    head_size: Size = 64
    positions: Size = 77
    end: Counted = 2
    embedding: Size = 512
    activation: str = "gelu"
    dropout: Share = 0.0
    remat: bool = False
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """The two encoders, their projections, and the temperature."""
        rest = {"head_size": self.head_size, "dropout": self.dropout, "activation": self.activation}
        rest |= {"remat": self.remat, "dtype": self.dtype}
        if self.backbone is None:
            sizes = (self.image_size, self.patch_size, self.image_width, self.image_depth)
            self.image = ImageTransformer(*sizes, **rest)
        texts = (self.vocabulary, self.positions, self.end, self.text_width, self.text_depth)
        self.text = TextTransformer(*texts, **rest)
        wide = at_least_float32(self.dtype)
        how = {"use_bias": False, "dtype": self.dtype, "param_dtype": wide}
        how["kernel_init"] = nn.initializers.variance_scaling(1.0, "fan_in", "normal")  # d^-0.5
        self.image_projection, self.text_projection = (nn.Dense(self.embedding, **how) for _ in range(2))
        self.log_scale = self.param("log_scale", nn.initializers.constant(INITIAL), (), wide)

    def encode_image(self, image: jax.Array, train: bool) -> jax.Array:
        """Unit vectors of images. Args: image float [b, h, w, c]; train: dropout, batch statistics. Returns: [b, e]."""
        if self.backbone is None:
            features = self.image(image, train)
        else:
            features = self.backbone(image, train)[1]["pre_logits"]
        return normalised(self.image_projection(features.astype(self.dtype)))

    def encode_text(self, tokens: jax.Array, train: bool) -> jax.Array:
        """Unit vectors of texts. Args: tokens int [b, t], each with an `end`; train: dropout. Returns: [b, e]."""
        return normalised(self.text_projection(self.text(tokens, train).astype(self.dtype)))

    def __call__(self, image: jax.Array, tokens: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Compares every image with every text.

        Args:
            image: float [b, h, w, c].
            tokens: int [m, t].
            train: dropout, batch statistics.

        Returns:
            similarities `exp(t) cos` [b, m]; {"image": [b, e], "text": [m, e], "scale": exp(t), []}.

        Raises:
            ConfigError: for images of another size, or texts that are too long; see `check_tokens`.
        """
        images, texts = self.encode_image(image, train), self.encode_text(tokens, train)
        scale = jnp.exp(self.log_scale)
        return scale * images @ texts.T, {"image": images, "text": texts, "scale": scale}


def normalised(x: jax.Array) -> jax.Array:
    """Vectors of length one, in at least float32; a zero stays zero. Args: x [..., e]."""
    x = x.astype(at_least_float32(x.dtype))
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), jnp.finfo(x.dtype).tiny))


def build(variant: str, vocabulary: int, dtype: Any = jnp.float32, remat: bool = False, **overrides: Any) -> CLIP:
    """A variant of the table with overrides; `image_size` is that of the table's input unless given."""
    row = VARIANTS[variant]
    if "backbone" in row or overrides.get("backbone"):
        useless = sorted(overrides.keys() & set(OF_TRANSFORMER))
        if useless:
            raise ConfigError(
                f"config.model.{useless[0]} is of the Vision Transformer, and config.model.backbone takes its place; "
                "leave one of them out"
            )
        fields = {key: value for key, value in row.items() if key not in OF_TRANSFORMER}
        given = {key: {"name": x} if isinstance(x, str) else x for key, x in overrides.items() if key == "backbone"}
        overrides = with_backbone({"backbone": {}, **row}, {**overrides, **given}, dtype, remat)
    else:
        fields = {"image_size": row["input"][0], **row}
    return from_row(CLIP, fields, overrides, vocabulary=vocabulary, dtype=dtype, remat=remat)


def example(row: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
    """A black image and the empty text, whose only token is its end."""
    return jnp.zeros((1, *row["input"])), jnp.full((1, 1), row.get("end", 2), jnp.int32)


def torch_names(variant: str) -> NameMap:
    """{our path: (name, transform)} of OpenAI's and open_clip's files; {} for our own variants."""
    row = VARIANTS[variant]
    if not variant.startswith("ViT"):
        return {}
    names = {"log_scale": ("logit_scale", "")}
    names |= {"image/class_token": ("visual.class_embedding", ""), "image_projection/kernel": ("visual.proj", "")}
    names |= {"image/positions": ("visual.positional_embedding", ""), "text/positions": ("positional_embedding", "")}
    names |= {"text_projection/kernel": ("text_projection", "")}
    names |= {"image/patch_embed/kernel": ("visual.conv1.weight", "conv")}
    names |= {"text/tokens/embedding": ("token_embedding.weight", "")}
    norms = {"image/norm_before": "visual.ln_pre", "image/norm": "visual.ln_post", "text/norm": "ln_final"}
    for ours, theirs in norms.items():
        names |= pair_names(ours, theirs, "", "scale")
    towers = {"image": ("visual.", row.get("image_depth", 12)), "text": ("", row.get("text_depth", 12))}
    for tower, (prefix, depth) in towers.items():
        for i in range(depth):
            ours, theirs = f"{tower}/block{i}", f"{prefix}transformer.resblocks.{i}"
            for j, dense in enumerate(("c_fc", "c_proj")):
                names |= pair_names(f"{ours}/norm{j}", f"{theirs}.ln_{j + 1}", "", "scale")
                names |= pair_names(f"{ours}/dense{j}", f"{theirs}.mlp.{dense}")
            names |= pair_names(f"{ours}/attention/proj", f"{theirs}.attn.out_proj")
            names[f"{ours}/attention/qkv/kernel"] = (f"{theirs}.attn.in_proj_weight", "dense")
            names[f"{ours}/attention/qkv/bias"] = (f"{theirs}.attn.in_proj_bias", "")
    return {f"params/{ours}": their for ours, their in names.items()}

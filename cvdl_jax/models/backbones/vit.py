"""Vision Transformer: an image as a sequence of patches, a class token, learned positions, pre-norm encoder blocks.

z_0 = [class; patches E] + positions
z'_l = MSA(LN(z_{l-1})) + z_{l-1},   z_l = MLP(LN(z'_l)) + z'_l
s = LN(z_L)[0] W

Forms of it: a distillation token with a second head (DeiT), whose scores are averaged; registers, tokens of no place
that take up what is global; factors of every branch (layer scale) and patches of 14 pixels (DINOv2). Patches may have
positions of their own, without the other tokens. `ops/positions.py` changes positions to another size of image.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, Layers, NotNegative, Positive, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.models.torch_names import pair_names
from cvdl_jax.nn.batch_norm import layer_norm
from cvdl_jax.nn.common import check_images, check_patches, head, remat_block
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.transformer import KERNEL_INIT, Block
from cvdl_jax.ops.positions import sincos
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Touvron et al. 2021, "Training data-efficient image transformers", table 1
    "vit_tiny_patch16_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 192, "depth": 12, "heads": 3,
        "macs": 1_253_683_200, "params": 5_717_416,  # timm's count
    },
    "vit_small_patch16_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 384, "depth": 12, "heads": 6,
        "macs": 4_598_882_304, "params": 22_050_664,  # timm's count
    },
    # Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", table 1
    "vit_base_patch16_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 768, "depth": 12, "heads": 12,
        "macs": 17_563_828_224, "params": 86_567_656,  # timm's count
    },
    "vit_large_patch16_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 1024, "depth": 24, "heads": 16,
        "macs": 61_554_712_576, "params": 304_326_632,  # timm's count
    },
    # more of table 1 of Dosovitskiy et al., which gives 86 M, 307 M and 632 M parameters; timm's names and counts, then
    # torchvision's
    "vit_small_patch32_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 32, "width": 384, "depth": 12, "heads": 6,
        "macs": 1_142_909_952, "params": 22_878_952,
    },
    "vit_base_patch32_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 32, "width": 768, "depth": 12, "heads": 12,
        "macs": 4_409_186_304, "params": 88_224_232,
    },
    "vit_base_patch8_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 8, "width": 768, "depth": 12, "heads": 12,
        "macs": 78_148_337_664, "params": 86_576_872,
    },
    "vit_base_patch16_384": {
        "input": (384, 384, 3), "num_classes": 1000, "patch_size": 16, "width": 768, "depth": 12, "heads": 12,
        "macs": 55_484_350_464, "params": 86_859_496,
    },
    "vit_large_patch14_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 14, "width": 1024, "depth": 24, "heads": 16,
        "macs": 81_013_006_336, "params": 304_203_752,
    },
    "vit_b_16": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 768, "depth": 12, "heads": 12,
        "macs": 17_563_828_224, "params": 86_567_656,
    },
    "vit_b_32": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 32, "width": 768, "depth": 12, "heads": 12,
        "macs": 4_409_186_304, "params": 88_224_232,
    },
    "vit_l_16": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 1024, "depth": 24, "heads": 16,
        "macs": 61_554_712_576, "params": 304_326_632,
    },
    "vit_l_32": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 32, "width": 1024, "depth": 24, "heads": 16,
        "macs": 15_377_539_072, "params": 306_535_400,
    },
    "vit_h_14": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 14, "width": 1280, "depth": 32, "heads": 16,
        "macs": 167_295_109_120, "params": 632_045_800,
    },
    # Touvron et al. 2021, "Training data-efficient image transformers", table 1: 5 M, 22 M and 86 M parameters
    "deit_tiny_patch16_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 192, "depth": 12, "heads": 3,
        "macs": 1_253_683_200, "params": 5_717_416,
    },
    "deit_small_patch16_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 384, "depth": 12, "heads": 6,
        "macs": 4_598_882_304, "params": 22_050_664,
    },
    "deit_base_patch16_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 768, "depth": 12, "heads": 12,
        "macs": 17_563_828_224, "params": 86_567_656,
    },
    "deit_base_patch16_384": {
        "input": (384, 384, 3), "num_classes": 1000, "patch_size": 16, "width": 768, "depth": 12, "heads": 12,
        "macs": 55_484_350_464, "params": 86_859_496,
    },
    # Touvron et al. 2021, section 4: a distillation token and a second head
    "deit_tiny_distilled_patch16_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 192, "depth": 12, "heads": 3,
        "distilled": True, "macs": 1_261_003_776, "params": 5_910_800,
    },
    "deit_small_distilled_patch16_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 384, "depth": 12, "heads": 6,
        "distilled": True, "macs": 4_624_140_288, "params": 22_436_432,
    },
    "deit_base_distilled_patch16_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 768, "depth": 12, "heads": 12,
        "distilled": True, "macs": 17_656_811_520, "params": 87_338_192,
    },
    "deit_base_distilled_patch16_384": {
        "input": (384, 384, 3), "num_classes": 1000, "patch_size": 16, "width": 768, "depth": 12, "heads": 12,
        "distilled": True, "macs": 55_591_342_080, "params": 87_630_032,
    },
    # Oquab et al. 2023, "DINOv2"; with registers, Darcet et al. 2024, "Vision Transformers Need Registers". timm's
    # counts, 22,056,192 and so on, are without a head, which adds 1000 (d + 1)
    "vit_small_patch14_dinov2": {
        "input": (518, 518, 3), "num_classes": 1000, "patch_size": 14, "width": 384, "depth": 12, "heads": 6,
        "layer_scale": 1e-5, "macs": 46_697_123_328, "params": 22_441_192,
    },
    "vit_base_patch14_dinov2": {
        "input": (518, 518, 3), "num_classes": 1000, "patch_size": 14, "width": 768, "depth": 12, "heads": 12,
        "layer_scale": 1e-5, "macs": 151_574_486_016, "params": 87_348_712,
    },
    "vit_large_patch14_dinov2": {
        "input": (518, 518, 3), "num_classes": 1000, "patch_size": 14, "width": 1024, "depth": 24, "heads": 16,
        "layer_scale": 1e-5, "macs": 506_804_850_688, "params": 305_392_616,
    },
    "vit_small_patch14_reg4_dinov2": {
        "input": (518, 518, 3), "num_classes": 1000, "patch_size": 14, "width": 384, "depth": 12, "heads": 6,
        "layer_scale": 1e-5, "registers": 4, "all_positions": False, "macs": 46_883_212_800, "params": 22_442_344,
    },
    "vit_base_patch14_reg4_dinov2": {
        "input": (518, 518, 3), "num_classes": 1000, "patch_size": 14, "width": 768, "depth": 12, "heads": 12,
        "layer_scale": 1e-5, "registers": 4, "all_positions": False, "macs": 152_116_534_272, "params": 87_351_016,
    },
    "vit_large_patch14_reg4_dinov2": {
        "input": (518, 518, 3), "num_classes": 1000, "patch_size": 14, "width": 1024, "depth": 24, "heads": 16,
        "layer_scale": 1e-5, "registers": 4, "all_positions": False, "macs": 508_552_302_592, "params": 305_395_688,
    },
    # the giant ones have a gate in every perceptron (SwiGLU, Shazeer 2020)
    "vit_giant_patch14_dinov2": {
        "input": (518, 518, 3), "num_classes": 1000, "patch_size": 14, "width": 1536, "depth": 40, "heads": 24,
        "layer_scale": 1e-5, "gated": True, "mlp_ratio": 2.6666667, "macs": 1_783_344_494_592,
        "params": 1_138_016_232,
    },
    "vit_giant_patch14_reg4_dinov2": {
        "input": (518, 518, 3), "num_classes": 1000, "patch_size": 14, "width": 1536, "depth": 40, "heads": 24,
        "layer_scale": 1e-5, "gated": True, "mlp_ratio": 2.6666667, "registers": 4, "all_positions": False,
        "macs": 1_789_223_073_792, "params": 1_138_020_840,
    },
    # ViT-Tiny for CIFAR images: 64 patches of 4x4 pixels
    "vit_tiny_patch4_32": {
        "input": (32, 32, 3), "num_classes": 10, "patch_size": 4, "width": 192, "depth": 12, "heads": 3,
        "macs": 365_107_584,
        "params": 5_362_762,  # 49 * d + 66 * d + 12 * (12 * d**2 + 13 * d) + 2 * d + (d + 1) * 10, d = 192
    },
    "vit_patch4_16_tiny": {
        "input": (16, 16, 3), "num_classes": 10, "patch_size": 4, "width": 16, "depth": 2, "heads": 2,
        "macs": 135_392, "params": 7_834,  # 49 * d + 18 * d + 2 * (12 * d**2 + 13 * d) + 2 * d + (d + 1) * 10, d = 16
    },
}  # fmt: skip


class ViT(nn.Module):
    """A Vision Transformer that classifies by its class token, or by the mean of its patches.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        image_size: pixels, one number or (h, w); the positions are for it.
        patch_size: side of a patch in pixels, a divisor of h and w.
        width: d, size of a token.
        depth: number of blocks.
        heads: attention heads, a divisor of d.
        mlp_ratio: hidden units of the perceptron over d.
        dropout: rate after the positions, the projections and the perceptron's layers.
        attention_dropout: rate on the attention weights.
        drop_path: rate of stochastic depth in the last block; it rises linearly from 0 in the first.
        attention_weights: return the weights of every block (memory of order n^2 each).
        distilled: a distillation token after the class token, and a second head on it; logits are the mean of both.
        registers: number of learned tokens after these that no head reads.
        all_positions: class and distillation token have positions too; registers never have.
        layer_scale: first value of the factors of every branch; 0 for none.
        gated: SwiGLU in place of GELU in the perceptron, whose first layer is then twice as wide.
        pool: what the head reads: the class "token", or the "mean" of the patches, without a class token.
        sincos: fixed positions of sines and cosines (`ops/positions.py:sincos`) in place of learned ones.
        remat: recompute blocks in the backward pass.
        dtype: dtype of the products; norms, softmax and logits are at least float32.
    """

    num_classes: int
    image_size: int | tuple[int, int]
    patch_size: Size
    width: Size
    depth: Layers
    heads: Size
    mlp_ratio: Positive = 4.0
    dropout: Share = 0.0
    attention_dropout: Share = 0.0
    drop_path: Share = 0.0
    attention_weights: bool = False
    distilled: bool = False
    registers: Counted = 0
    all_positions: bool = True
    layer_scale: NotNegative = 0.0
    gated: bool = False
    pool: Literal["token", "mean"] = "token"
    sincos: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c], of `image_size`.
            train: dropout and stochastic depth on.

        Returns:
            logits [b, num_classes]; {"stages": tokens [b, t, d] after every block, "tokens": the last ones normalised,
            "pre_logits": the class token [b, d], its mean with the distillation token, or the mean of the patches, and
            "attention": weights [b, heads, t, t] of every block if `attention_weights`, "heads": the logits of the
            class and of the distillation token if `distilled`}. Token 0 is the class token, then come the distillation
            token and the registers, if any; patches follow row by row. t is the number of all.

        Raises:
            ConfigError: if the image is not of `image_size`, the patch does not divide it, or tokens are asked for that
                the pooling has not.
        """
        self._check(x)
        x = self._embed(x.astype(self.dtype))  # [b, 1 + n, d]
        x = Dropout(self.dropout)(x, train)
        block = remat_block(Block, self.remat)
        rates = (self.dropout, self.attention_dropout)
        rest = (self.attention_weights, self.dtype, self.layer_scale, self.gated)
        stages, attention = [], []
        for i in range(self.depth):
            drop_path = self.drop_path * i / max(self.depth - 1, 1)
            hidden = round(self.mlp_ratio * self.width)
            x, of_block = block(self.heads, hidden, *rates, drop_path, *rest, name=f"block{i}")(x, train)
            stages.append(x)
            attention.append(of_block.get("weights"))
        x = layer_norm(self.dtype, "norm")(x)
        pooled = x[:, 0] if self.pool == "token" else x.astype(at_least_float32(self.dtype)).mean(1)
        out: dict[str, Any] = {"stages": tuple(stages), "tokens": x, "pre_logits": pooled}
        if self.attention_weights:
            out["attention"] = tuple(attention)
        if not self.distilled:
            return head(pooled, self.num_classes, self.dtype, KERNEL_INIT), out
        names = ("head", "head_distillation")
        both = [head(x[:, i], self.num_classes, self.dtype, KERNEL_INIT, name=name) for i, name in enumerate(names)]
        out["pre_logits"] = x[:, :2].astype(at_least_float32(self.dtype)).mean(1)
        return (both[0] + both[1]) / 2, out | ({"heads": tuple(both)} if self.num_classes else {})

    def _embed(self, x: jax.Array) -> jax.Array:
        """Patches, other tokens and positions: [b, h, w, c] -> [b, t, d]."""
        wide, patch = at_least_float32(self.dtype), (self.patch_size, self.patch_size)
        types = {"dtype": self.dtype, "param_dtype": wide}
        x = nn.Conv(self.width, patch, patch, padding="VALID", **types, name="patch_embed")(x)  # [b, h / p, w / p, d]
        b, h, w, d = x.shape
        x = x.reshape(b, h * w, d)

        def learned(name: str, count: int, std: float) -> jax.Array:
            return self.param(name, nn.initializers.normal(std), (1, count, d), wide).astype(self.dtype)

        tokens = [learned("class_token", 1, 1e-6)] if self.pool == "token" else []
        tokens += [learned("distillation_token", 1, 0.02)] if self.distilled else []
        if self.sincos:
            positions = jnp.pad(sincos((h, w), d), ((len(tokens) if self.all_positions else 0, 0), (0, 0)))[None]
            positions = positions.astype(self.dtype)
        else:
            positions = learned("positions", h * w + (len(tokens) if self.all_positions else 0), 0.02)
        tokens = [jnp.broadcast_to(token, (b, 1, d)) for token in tokens]
        if self.all_positions:
            x = jnp.concatenate([*tokens, x], axis=1) + positions
        else:
            x = jnp.concatenate([*tokens, x + positions], axis=1)
        if not self.registers:
            return x
        registers = jnp.broadcast_to(learned("registers", self.registers, 1e-6), (b, self.registers, d))
        return jnp.concatenate([x[:, : len(tokens)], registers, x[:, len(tokens) :]], axis=1)

    def _check(self, x: jax.Array) -> None:
        check_images(x, self, "vit", first="patch_embed")
        check_patches(x, "vit", "positions", self.image_size, self.patch_size)
        if self.pool == "mean" and (self.distilled or self.registers):
            raise ConfigError(
                "config.model.pool='mean' is of all tokens, and distilled or registers add some that are no patches; "
                "set config.model.pool='token'"
            )


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> ViT:
    """A variant of the table with overrides; `image_size` is that of the table's input unless given."""
    fields = {"image_size": VARIANTS[variant]["input"][0], **overrides}
    return from_row(ViT, VARIANTS[variant], fields, num_classes=num_classes, dtype=dtype)


def torch_names(variant: str) -> dict[str, tuple[str, str]]:
    """{our path: (name, transform)}: torchvision's for its own variants ("vit_b_16" ...), else timm's."""
    row, torchvision = VARIANTS[variant], variant.startswith(("vit_b_", "vit_l_", "vit_h_"))
    names: dict[str, tuple[str, str]] = {}

    def add(ours: str, torch: str, how: str = "dense", entry: str = "kernel") -> None:
        names.update(pair_names(f"params/{ours}", torch, how, entry))

    single = {"class_token": "cls_token", "positions": "pos_embed"}
    single |= {"distillation_token": "dist_token"} if row.get("distilled") else {}
    single |= {"registers": "reg_token"} if row.get("registers") else {}
    if torchvision:
        single = {"class_token": "class_token", "positions": "encoder.pos_embedding"}
    names |= {f"params/{ours}": (torch, "") for ours, torch in single.items()}
    add("patch_embed", "conv_proj" if torchvision else "patch_embed.proj", "conv")
    for i in range(row["depth"]):
        ours, torch = f"block{i}", f"encoder.layers.encoder_layer_{i}" if torchvision else f"blocks.{i}"
        for j in range(2):
            add(f"{ours}/norm{j}", f"{torch}.ln_{j + 1}" if torchvision else f"{torch}.norm{j + 1}", "", "scale")
            add(f"{ours}/dense{j}", f"{torch}.mlp.{3 * j}" if torchvision else f"{torch}.mlp.fc{j + 1}")
            if row.get("layer_scale"):
                names[f"params/{ours}/scale{j}/scale"] = (f"{torch}.ls{j + 1}.gamma", "")
        add(f"{ours}/attention/proj", f"{torch}.self_attention.out_proj" if torchvision else f"{torch}.attn.proj")
        add(f"{ours}/attention/qkv", f"{torch}.attn.qkv")
        if torchvision:
            names[f"params/{ours}/attention/qkv/kernel"] = (f"{torch}.self_attention.in_proj_weight", "dense")
            names[f"params/{ours}/attention/qkv/bias"] = (f"{torch}.self_attention.in_proj_bias", "")
    add("norm", "encoder.ln" if torchvision else "norm", "", "scale")
    add("head", "heads.head" if torchvision else "head")
    if row.get("distilled"):
        add("head_distillation", "head_dist")
    return names

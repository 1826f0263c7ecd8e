"""StyleGAN's generator: a network maps z to a style, which says at each resolution how every channel is scaled.

Called as `(z [b, latent], train) -> (images, out)` and, as the progressive GAN's, with `level`, how far it has grown.
Its discriminator is that of `progressive.py`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.config.binding import Layers, Probability, Share, Size
from cvdl_jax.core.parallel import mean_devices, row_random
from cvdl_jax.models.generative.progressive import LEAKY, check_size, latent_or_refuse, mixed
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.equalised import EqualisedConv, EqualisedDense, EqualisedLinearConv
from cvdl_jax.nn.norms import AdaptiveInstanceNorm
from cvdl_jax.ops.growing import doubled
from cvdl_jax.ops.normalise import pixel_norm
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks", section 2
    "stylegan_generator": {
        "input": (512,), "shape": (1024, 1024, 3), "latent": 512, "style": 512, "mapping": 8,
        "widths": (512, 512, 512, 512, 256, 128, 64, 32, 16),
        # mapping 8 * 262,656; constant 8,192; 3x3 kernels 7 * 2,359,808 + 2,357,984; two styles and noises at each
        # resolution, 513 * 2c + c: 8 * 525,824 + 2 * (262,912 + 131,456 + 65,728 + 32,864 + 16,432); colours 7,659
        # The paper: 26.2 million
        "params": 26_219_115,
    },
    # the same for 32x32 images, with fewer maps and no paper
    "stylegan_generator_32": {
        "input": (64,), "shape": (32, 32, 1), "latent": 64, "style": 64, "mapping": 4, "widths": (64, 64, 32, 16),
        # 4 * 4,160; 1,024; 3 * 36,928 + 27,712 + 6,944; 65 * 2c + c: 4 * 8,384 + 2 * (4,192 + 2,096); 180
        "params": 209_396,
    },
    "stylegan_generator_tiny": {
        "input": (6,), "shape": (8, 8, 1), "latent": 6, "style": 5, "mapping": 2, "widths": (6, 4),
        "params": 1_131,  # 35 + 30; 96; 330 + 220 + 148; 6 * 2c + c: 2 * 78 + 2 * 52; 12
    },
}  # fmt: skip


class Noise(nn.Module):
    """`x + scale noise`: one standard normal number for each pixel, times a learned number for each channel.

    Reference: Karras et al. 2019, section 2 and figure 1b.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Args: x float [b, h, w, c]. Draws from the rng "dropout"; without one, in evaluation, the noise is 0."""
        scale = self.param("scale", nn.initializers.zeros, (x.shape[-1],), at_least_float32(self.dtype))
        if not self.has_rng("dropout"):
            return x
        noise = row_random(jax.random.normal, self.make_rng("dropout"), (*x.shape[:3], 1))
        return x + (noise.astype(scale.dtype) * scale[None, None, None]).astype(x.dtype)


class Generator(nn.Module):
    """A learned constant, and for each width two convolutions with noise, each normalised by a style (AdaIN).

    z is normalised and mapped by dense layers to a style w. In training another style takes its place at some images
    from a random layer on ("mixing"), one that the present resolution has, and the mean of w is kept; an evaluation
    moves w towards it ("truncation"), `w <- mean + truncation (w - mean)`.

    Attributes:
        shape: (h, w, c) of the images.
        latent: d, the length of z.
        style: length of w.
        mapping: dense layers from z to w, whose learning rate is a hundredth.
        widths: channels at each resolution, from the coarsest.
        mixing: share of the images of a training batch with two styles.
        truncation: of evaluations; 1 for none.
        mean_decay: of the kept mean of w.
        dtype: of all layers; the images are at least float32.

    Reference: Karras et al. 2019, sections 2 and 3, appendices B and C.
    """

    shape: tuple[int, int, int]
    latent: Size = 64
    style: Size = 64
    mapping: Layers = 4
    widths: tuple[Size, ...] = (64, 64, 32, 16)
    mixing: Probability = 0.9
    truncation: Probability = 1.0
    mean_decay: Share = 0.995
    dtype: Any = jnp.float32

    grows = True

    @property
    def layers(self) -> int:
        """How many styles an image takes: two at each resolution."""
        return 2 * len(self.widths)

    def styles_of(self, z: jax.Array) -> jax.Array:
        """The styles of z [..., latent], [..., style]: in a compact method."""
        wide = at_least_float32(self.dtype)
        w = pixel_norm(z.astype(wide))
        for i in range(self.mapping):
            w = activation(LEAKY)(EqualisedDense(self.style, rate=0.01, dtype=wide, name=f"mapping{i}")(w))
        return w

    @nn.compact
    def __call__(
        self,
        z: jax.Array,
        train: bool,
        level: jax.Array | None = None,
        other: jax.Array | None = None,
        first: int | jax.Array = 0,
        truncation: float | jax.Array | None = None,
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Makes images.

        Args:
            z: float [b, latent].
            train: styles mixed, and their mean updated.
            level: float [], in 0 ... len(widths) - 1; None for the last.
            other: in evaluation, another z [b, latent], whose style is taken ...
            first: ... from this layer on, of 0 ... 2 len(widths) - 1.
            truncation: in evaluation, in place of the field.

        Returns:
            images [b, h, w, c], about -1..1 and not bounded; {"stages": one array per width, "style": w [b, style]}.

        Raises:
            ConfigError: for images that cannot be halved often enough, or z of another length.
        """
        side = check_size(self.shape, self.widths, "config.model.generator")
        wide, b = at_least_float32(self.dtype), len(latent_or_refuse(z, self.latent))
        if train and self.mixing:
            keys = jax.random.split(self.make_rng("dropout"), 3)
            other = row_random(jax.random.normal, keys[0], z.shape).astype(z.dtype)
            present = self.layers if level is None else 2 * (jnp.ceil(level).astype(jnp.int32) + 1)
            begins = row_random(lambda k, s: jax.random.randint(k, s, 1, present), keys[1], (b,))
            mixed_rows = row_random(lambda k, s: jax.random.bernoulli(k, self.mixing, s), keys[2], (b,))
            begin = jnp.where(mixed_rows, begins, self.layers)
        else:
            begin = jnp.full((b,), first if other is not None else self.layers)
        both = self.styles_of(jnp.stack([z] if other is None else [z, other], 1))  # [b, 1 or 2, style]
        w, second = both[:, 0], both[:, -1]
        mean = self.variable("batch_stats", "mean_style", jnp.zeros, (self.style,), wide)
        if train:
            new = lax.stop_gradient(mean_devices(w.mean(0)))
            if not self.is_initializing():
                mean.value = self.mean_decay * mean.value + (1 - self.mean_decay) * new
        elif truncation is not None or self.truncation < 1:
            psi = self.truncation if truncation is None else truncation
            w, second = (mean.value[None] + psi * (x - mean.value[None]) for x in (w, second))

        def style(layer: int) -> jax.Array:
            return jnp.where((layer >= begin)[:, None], second, w)

        types = {"dtype": self.dtype, "param_dtype": wide}
        constant = self.param("constant", nn.initializers.ones, (side, side, self.widths[0]), wide)
        x = jnp.broadcast_to(constant[None], (b, *constant.shape)).astype(self.dtype)
        images, stages = [], []
        for k, width in enumerate(self.widths):
            x = doubled(x) if k else x
            for i in range(2):
                if k or i:
                    x = EqualisedConv(width, (3, 3), **types, name=f"level{k}_conv{i}")(x)
                x = activation(LEAKY)(Noise(self.dtype, name=f"level{k}_noise{i}")(x))
                x = AdaptiveInstanceNorm(dtype=self.dtype, name=f"level{k}_style{i}")(x, style(2 * k + i))
            stages.append(x)
            colour = EqualisedLinearConv(self.shape[2], (1, 1), dtype=wide, param_dtype=wide, name=f"level{k}_colour")
            images.append(colour(x.astype(wide)))
        return mixed(images, level), {"stages": tuple(stages), "style": w}


def build(variant: str, shape: tuple[int, int, int], dtype: Any = jnp.float32, **overrides: Any) -> Generator:
    """A variant of the table with overrides, which makes images of `shape`."""
    return from_row(Generator, VARIANTS[variant], overrides, shape=shape, dtype=dtype)

"""What families of models share: checks of their inputs, the last layer, and rematerialisation of their blocks."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.core.trees import STACKED
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.precision import at_least_float32

LECUN_NORMAL = nn.initializers.lecun_normal()


def check_float(x: jax.Array, model: str) -> None:
    """Refuses integer inputs: a model trained on unscaled bytes 0..255 learns badly, and nothing would say why.

    Raises:
        ConfigError: naming the dtype.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ConfigError(f"{model} takes float pixels or features, got {x.dtype}; divide bytes by 255 first")


def product_of_rows(x: jax.Array, kernel: jax.Array, dimension_numbers: Any, **how: Any) -> jax.Array:
    """`x W` of tokens as one matrix product, for `nn.Dense(dot_general=product_of_rows)`.

    XLA's CPU backend multiplies [b, n, d] by [d, k] and, in the gradient, sums over b and n much slower than it does
    [b n, d]: forward and backward, a layer took 1.3 to 1.7 times the CPU time. On a GPU both are one product.

    Args:
        x: [..., d].
        kernel: [d, k].
        dimension_numbers: those of a dense layer: the last axis of x and the first of the kernel.
        **how: of `lax.dot_general`.
    """
    if dimension_numbers != (((x.ndim - 1,), (0,)), ((), ())):
        raise ValueError(f"the product of a dense layer was expected, got dimension_numbers={dimension_numbers}")
    rows = x.reshape(-1, x.shape[-1])
    return lax.dot_general(rows, kernel, (((1,), (0,)), ((), ())), **how).reshape(*x.shape[:-1], kernel.shape[-1])


def check_images(x: jax.Array, module: nn.Module, model: str, smallest: int = 1, first: str = "") -> None:
    """Refuses images that the model cannot take.

    Args:
        x: float [b, h, w, c].
        module: the bound model, whose parameters show how many channels it was made for.
        model: the family's name, for messages.
        smallest: least height and width.
        first: name of its first convolution, whose kernel is [kh, kw, c, out]; empty to skip that check.

    Raises:
        ConfigError: with the numbers and what to set.
    """
    check_float(x, model)
    if x.ndim != 4:
        raise ConfigError(f"{model} takes images [b, h, w, c], got shape {x.shape}; for features use mlp or linear")
    _, h, w, c = x.shape
    if min(h, w) < smallest:
        raise ConfigError(
            f"{model} takes images of at least {smallest}x{smallest} pixels, got {h}x{w}; "
            f"set config.data.image_size=({max(h, smallest)}, {max(w, smallest)}), or crop less in config.augment"
        )
    if first and module.has_variable("params", first):
        made_for = module.get_variable("params", first)["kernel"].shape[2]
        if made_for != c:
            raise ConfigError(
                f"this {model} has parameters for {made_for} channels, got images with {c}; "
                f"set config.data.channels={made_for}, or train it anew"
            )


def check_patches(x: jax.Array, model: str, made_of: str, image_size: int | tuple[int, int], patch: int) -> None:
    """Refuses images that are not of the size that a network's parameters are for, or that patches do not tile.

    Args:
        x: [b, h, w, c].
        model: the family's name, for messages.
        made_of: what fixes the size, "positions".
        image_size: pixels, one number or (h, w).
        patch: side of a patch in pixels.

    Raises:
        ConfigError: with the numbers and what to set.
    """
    h, w = x.shape[1:3]
    wanted = image_size if isinstance(image_size, tuple) else (image_size, image_size)
    if (h, w) != wanted:
        raise ConfigError(
            f"this {model} has {made_of} for images of {wanted[0]}x{wanted[1]} pixels, got {h}x{w}; "
            f"set config.model.image_size={h if h == w else (h, w)} or config.data.image_size={wanted}"
        )
    if patch < 1 or h % patch or w % patch:
        divisors = [p for p in range(1, min(h, w) + 1) if h % p == 0 and w % p == 0]
        raise ConfigError(f"config.model.patch_size={patch} does not divide the image, {h}x{w}; use one of {divisors}")


def remat_block(block: type[nn.Module], enabled: bool) -> type[nn.Module]:
    """The block class itself, or one that computes its activations again in the backward pass.

    Only the inputs of the blocks are kept in memory, at the cost of one more forward pass. Results do not change. Give
    every block an explicit `name`: Flax derives default names from the class, which is another one here.

    Args:
        block: a module with `__call__(self, x, train)`; `train` must be passed by position.
        enabled: `config.remat`.

    Reference: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", section 4.
    """
    return nn.remat(block, static_argnums=(2,)) if enabled else block  # argument 0 is self, 2 is train


def head(
    x: jax.Array,
    num_classes: int,
    dtype: Any,
    kernel_init: Callable[..., jax.Array] = LECUN_NORMAL,
    use_bias: bool = True,
    name: str = "head",
) -> jax.Array:
    """The linear layer of scores, called in a compact method; without classes the features themselves.

    Args:
        x: features [b, ..., d].
        num_classes: number of scores; 0 for a network of features, which then has no parameters here.
        dtype: of the other layers; scores and parameters are at least float32.
        kernel_init: initialiser of the kernel; LeCun's by default.
        use_bias: whether scores have one.
        name: of the layer.

    Returns:
        Scores [b, ..., num_classes], or x in at least float32.
    """
    wide = at_least_float32(dtype)
    if num_classes == 0:
        return x.astype(wide)
    layer = nn.Dense(num_classes, use_bias, dtype=wide, param_dtype=wide, kernel_init=kernel_init, name=name)
    return layer(x)


def adaptive_mean(x: jax.Array, side: int) -> jax.Array:
    """Means over side x side windows that cover a map: window i of n pixels is `floor(i n / side) .. ceil((i + 1) n /
    side)`, as in `torch.nn.AdaptiveAvgPool2d`. Windows overlap where the side does not divide the map.

    Args:
        x: float [b, h, w, c].
        side: of the result.

    Returns:
        [b, side, side, c]; x itself where it has this size.
    """
    for axis in (1, 2):
        n = x.shape[axis]
        if n == side:
            continue
        begins = [i * n // side for i in range(side)]
        ends = [-(-(i + 1) * n // side) for i in range(side)]
        parts = [lax.slice_in_dim(x, a, b, axis=axis) for a, b in zip(begins, ends, strict=True)]
        x = jnp.concatenate([part.mean(axis, keepdims=True) for part in parts], axis)
    return x


def scan_blocks(block: nn.Module, x: jax.Array, train: bool, length: int) -> jax.Array:
    """Equal blocks one after the other, compiled once: `x <- block_i(x)` for i = 1 .. length, in a compact method.

    Args:
        block: a module `(x, train) -> array like x`, unbound, whose name ends in `core.trees.STACKED`. Its parameters
            and statistics get a leading axis of this length.
        x: the first input.
        train: as the block takes it.
        length: how many blocks.

    Returns:
        Array like x.
    """
    if not (block.name or "").endswith(STACKED):
        raise ValueError(f"the name of a scanned block must end in {STACKED!r}, got {block.name!r}")
    run = nn.scan(
        lambda module, carry, _: (module(carry, train), None),
        variable_axes={"params": 0, "batch_stats": 0, "moments": 0},
        split_rngs={"params": True, "dropout": True},
        length=length,
    )
    return run(block, x, None)[0]

"""Images that are made by a gradient: what a class looks like to a function, DeepDream, style transfer.

Images are floats in 0..1 and stay in there.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cvdl_jax.analysis.arguments import method
from cvdl_jax.analysis.explain.layers import Layer, reach
from cvdl_jax.analysis.logits import LogitsFn, checked_by, score, targets
from cvdl_jax.config.binding import Counted, NotNegative, Positive, Size
from cvdl_jax.errors import ConfigError, DataError


@partial(jax.jit, static_argnums=(0, 6))
def _ascend(
    logits_fn: LogitsFn, start: jax.Array, i: jax.Array, target: jax.Array, decay: Any, rate: Any, clip: bool
) -> tuple[jax.Array, jax.Array]:
    def objective(i: jax.Array) -> jax.Array:
        return (score(logits_fn, start + i, target) - decay * (i**2).sum(tuple(range(1, i.ndim)))).sum()

    value, slope = jax.value_and_grad(objective)(i)
    new = i + rate * slope
    return (jnp.clip(start + new, 0, 1) - start if clip else new), value


@method
def class_image(
    logits_fn: LogitsFn,
    start: Any,
    target: Any,
    steps: Size = 200,
    rate: Positive = 0.1,
    decay: NotNegative = 0.01,
    clip: bool = True,
) -> jax.Array:
    """`argmax_I S_c(x_0 + I) - lambda |I|^2`, by gradient ascent on the un-normalised score from I = 0.

    Args:
        logits_fn: `[b, ...] -> [b, k]`.
        start: x_0 [b, ...]: grey or black images, the mean image, or noise.
        target: c, one for each row or one for all.
        steps: of the ascent.
        rate: of a step.
        decay: lambda.
        clip: whether x_0 + I stays in 0..1.

    Returns:
        x_0 + I, float like `start`.

    Raises:
        ConfigError, DataError: for a class that does not exist, or a start that is not in 0..1 though `clip` is set.

    Reference: Simonyan et al. 2014, "Deep Inside Convolutional Networks", section 2.
    """
    x = checked_by(logits_fn, start).astype(jnp.float32)
    if clip and not (float(x.min()) >= 0 and float(x.max()) <= 1):
        raise DataError(
            f"class_image keeps images in 0..1, and start is in {float(x.min()):.4g}..{float(x.max()):.4g}; give such "
            "images, or clip=False"
        )
    if target is None:
        raise ConfigError("class_image(target=None): name the class whose image is to be made")
    chosen = targets(jax.eval_shape(logits_fn, x), target)
    i = jnp.zeros_like(x)
    for _ in range(steps):
        i, _ = _ascend(logits_fn, x, i, chosen, decay, rate, clip)
    return x + i


@partial(jax.jit, static_argnums=0)
def _dream(run: Any, x: jax.Array, shift: jax.Array, rate: jax.Array) -> jax.Array:
    rolled = jnp.roll(x, shift, (1, 2))
    slope = jax.grad(lambda x: 0.5 * (run(x).astype(jnp.float32) ** 2).sum())(rolled)
    size = jnp.abs(slope).mean((1, 2, 3), keepdims=True)
    moved = jnp.clip(rolled + rate * slope / jnp.maximum(size, 1e-12), 0, 1)
    return jnp.roll(moved, -shift, (1, 2))


@method
def deepdream(
    logits_fn: LogitsFn,
    x: Any,
    layer: Layer,
    octaves: Size = 3,
    scale: Positive = 1.4,
    steps: Size = 10,
    rate: Positive = 0.01,
    jitter: Counted = 8,
    seed: int = 0,
) -> jax.Array:
    """Raises `1/2 |a|^2` of a layer, so that the gradient at the layer is its activation: more of what it sees.

    The image is made in several sizes, from small to large; what was added to one is enlarged and added to the next.
    Every step shifts the image by a random number of pixels, and is as long as the gradient divided by its mean size.

    Args:
        logits_fn: see `layers.split`. Only what comes before the layer is run, so that a dense head does not mind other
            sizes; a model whose layers before it need one size takes octaves=1.
        x: images [b, h, w, c] in 0..1.
        layer: whose activation is raised.
        octaves: number of sizes.
        scale: ratio of one to the next, above 1.
        steps: in each.
        rate: mean change of a pixel in one step.
        jitter: most pixels that the image is shifted by.
        seed: of the shifts.

    Returns:
        Float array like x, in 0..1.

    Raises:
        ConfigError: for a layer that does not exist, or a scale of at most 1.

    Reference: Mordvintsev et al. 2015, "Inceptionism: Going Deeper into Neural Networks".
    """
    if scale <= 1 and octaves > 1:
        raise ConfigError(f"deepdream(scale={scale}) is the ratio of a size to the next smaller one; give more than 1")
    x = _images(x)
    run, rng = reach(logits_fn, x[:1], layer), np.random.default_rng(seed)
    h, w = x.shape[1:3]
    added = jnp.zeros_like(x)
    for octave in reversed(range(octaves)):
        size = (len(x), max(1, round(h / scale**octave)), max(1, round(w / scale**octave)), x.shape[3])
        base = jax.image.resize(x, size, "bilinear")
        image = jnp.clip(base + jax.image.resize(added, size, "bilinear"), 0, 1)
        for _ in range(steps):
            image = _dream(run, image, jnp.asarray(rng.integers(-jitter, jitter + 1, 2)), jnp.float32(rate))
        added = image - base
    return jnp.clip(x + added, 0, 1)


def gram(a: jax.Array) -> jax.Array:
    """`G_ij = 1/(h w) sum over pixels of a_i a_j`: which features come together, wherever; [b, h, w, k] -> [b, k, k].

    Reference: Gatys et al. 2016, "Image Style Transfer Using Convolutional Neural Networks", equation 3.
    """
    a = a.reshape(len(a), -1, a.shape[-1]).astype(jnp.float32)
    return jnp.einsum("bpi,bpj->bij", a, a, precision="highest") / a.shape[1]


@method
def style_transfer(
    logits_fn: LogitsFn,
    content: Any,
    style: Any,
    content_layer: Layer,
    style_layers: Sequence[Layer] | Mapping[str, float],
    style_weight: Positive = 1e3,
    steps: Size = 200,
    rate: Positive = 0.02,
) -> jax.Array:
    """The image with the content of one and the style of another: `mean (F - P)^2 + w sum_l w_l mean (G_l - A_l)^2`.

    F and P are the content layer's maps of the image and of `content`, G and A the Gram matrices (`gram`) of the image
    and of `style`. Adam on the pixels, from the content.

    Args:
        logits_fn: see `layers.split`; only what comes before the layers is run.
        content: images [b, h, w, c] in 0..1.
        style: images [b or 1, h', w', c] in 0..1.
        content_layer: by name.
        style_layers: by name, or {name: weight}.
        style_weight: w.
        steps: of Adam.
        rate: of Adam.

    Returns:
        Float array like `content`, in 0..1.

    Raises:
        ConfigError: for a layer that does not exist.

    Reference: Gatys et al. 2016, equations 1, 4, 5 and 7.
    """
    x, style = _images(content), _images(style)
    weights = dict(style_layers) if isinstance(style_layers, Mapping) else dict.fromkeys(style_layers, 1.0)
    if not weights:
        raise ConfigError("style_transfer(style_layers=()) needs one layer at least")
    of_content = reach(logits_fn, x[:1], content_layer)
    of_style = {layer: reach(logits_fn, x[:1], layer) for layer in weights}
    p, a = of_content(x), {layer: gram(run(style)) for layer, run in of_style.items()}
    adam = optax.adam(rate)

    def loss(x: jax.Array) -> jax.Array:
        total = ((of_content(x) - p) ** 2).mean()
        for layer, run in of_style.items():
            total = total + style_weight * weights[layer] * ((gram(run(x)) - a[layer]) ** 2).mean()
        return total

    @jax.jit
    def step(x: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        change, state = adam.update(jax.grad(loss)(x), state)
        return jnp.clip(x + change, 0, 1), state

    state = adam.init(x)
    for _ in range(steps):
        x, state = step(x, state)
    return x


def _images(x: Any) -> jax.Array:
    x = jnp.asarray(x, jnp.float32)
    if x.ndim != 4 or float(x.min()) < 0 or float(x.max()) > 1:
        raise DataError(
            f"expected images [b, h, w, c] in 0..1, got {list(x.shape)} in {float(x.min())}..{float(x.max())}"
        )
    return x

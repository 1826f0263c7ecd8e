"""The explanations of a decision by name, as `--mode explain --method` and the study of them call them.

What can be asked is of three kinds (every module of this folder is one of them):

- interpretation of the model, for no particular input: `units` (filters, patches that excite a unit), `synthesis`
  (class-score images, DeepDream);
- training that is made to be explained, where the explanation is part of the model: `cam`, of networks that end in
  global average pooling and one dense layer;
- interpretation of a decision, for one input: all others, and all methods here. Some decompose the score into parts
  that add up (`ADD_UP`), the others say where to look.

Every method is `(logits_fn, x, target, **numbers) -> maps [b, h, w, channels]`, channels those of x or one.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np

from cvdl_jax.analysis.explain import attention, differences, gradients, perturbation, relevance, relu_rules
from cvdl_jax.analysis.explain import cam as maps
from cvdl_jax.analysis.logits import LogitsFn
from cvdl_jax.config.binding import Counted, NotNegative, Size

Filling = float | Literal["mean", "blur"]


def saliency(logits_fn: LogitsFn, x: Any, target: Any = None) -> jax.Array:
    """The largest absolute gradient over channels."""
    return gradients.saliency(logits_fn, x, target)


def gradient(logits_fn: LogitsFn, x: Any, target: Any = None) -> jax.Array:
    """The gradient of the score."""
    return gradients.gradient(logits_fn, x, target)


def gradient_x_input(logits_fn: LogitsFn, x: Any, target: Any = None) -> jax.Array:
    """The gradient times the input."""
    return gradients.gradient_x_input(logits_fn, x, target)


def smoothgrad(
    logits_fn: LogitsFn, x: Any, target: Any = None, samples: Size = 32, noise: NotNegative = 0.15, seed: Counted = 0
) -> jax.Array:
    """The absolute value of the mean gradient of noisy copies."""
    return abs(gradients.smoothgrad(logits_fn, x, target, jax.random.key(seed), samples, noise))


def ig(logits_fn: LogitsFn, x: Any, target: Any = None, steps: Size = 50, baseline: float = 0.0) -> jax.Array:
    """Integrated gradients."""
    return gradients.integrated_gradients(logits_fn, x, target, baseline, steps)


def occlusion(
    logits_fn: LogitsFn, x: Any, target: Any = None, size: Counted = 0, stride: Counted = 0, fill: Filling = 0.0
) -> jax.Array:
    """What the class's probability loses where a square covers a pixel."""
    return perturbation.occlusion(logits_fn, x, target, size, stride, fill).drops


def shapley(
    logits_fn: LogitsFn,
    x: Any,
    target: Any = None,
    patch: Counted = 0,
    permutations: Size = 20,
    baseline: Filling = 0.0,
    seed: Counted = 0,
) -> jax.Array:
    """Sampled Shapley values of square patches, an eighth of the side where nothing else is said."""
    side = patch or max(1, min(np.shape(x)[1:3]) // 8)
    players = perturbation.patches(np.shape(x)[1:], side)
    return perturbation.shapley(logits_fn, x, players, target, baseline, permutations, seed).spread


def cam(logits_fn: LogitsFn, x: Any, target: Any = None, layer: str | None = None) -> jax.Array:
    """Class activation maps."""
    return maps.cam(logits_fn, x, target, layer)


def gradcam(
    logits_fn: LogitsFn, x: Any, target: Any = None, layer: str | None = None, positive: bool = True
) -> jax.Array:
    """Grad-CAM."""
    return maps.gradcam(logits_fn, x, target, layer, positive)


def gradcam_plus_plus(logits_fn: LogitsFn, x: Any, target: Any = None, layer: str | None = None) -> jax.Array:
    """Grad-CAM++."""
    return maps.gradcam_plus_plus(logits_fn, x, target, layer)


def guided_gradcam(logits_fn: LogitsFn, x: Any, target: Any = None, layer: str | None = None) -> jax.Array:
    """Grad-CAM times guided back-propagation."""
    return maps.guided_gradcam(logits_fn, x, target, layer)


def guided(logits_fn: LogitsFn, x: Any, target: Any = None) -> jax.Array:
    """Guided back-propagation."""
    return relu_rules.guided_backpropagation(logits_fn, x, target)


def deconvnet(logits_fn: LogitsFn, x: Any, target: Any = None) -> jax.Array:
    """Back through ReLUs as a deconvnet."""
    return relu_rules.deconvnet(logits_fn, x, target)


def lrp(
    logits_fn: LogitsFn,
    x: Any,
    target: Any = None,
    rule: Literal["epsilon", "gamma", "alpha_beta"] = "epsilon",
    epsilon: NotNegative = 0.25,
    gamma: NotNegative = 0.25,
    beta: NotNegative = 0.0,
) -> jax.Array:
    """Layer-wise relevance propagation."""
    return relevance.lrp(logits_fn, x, target, rule, epsilon, gamma, beta)


def deeplift(logits_fn: LogitsFn, x: Any, target: Any = None, baseline: float = 0.0) -> jax.Array:
    """DeepLIFT, rule "rescale"."""
    return differences.deeplift(logits_fn, x, target, baseline)


def rollout(logits_fn: LogitsFn, x: Any, target: Any = None) -> jax.Array:
    """Attention rollout, the same for all classes."""
    return attention.attention_rollout(logits_fn, x)


METHODS: dict[str, Callable[..., jax.Array]] = {
    f.__name__: f
    for f in (
        saliency, gradient, gradient_x_input, smoothgrad, ig, occlusion, shapley, cam, gradcam, gradcam_plus_plus,
        guided_gradcam, guided, deconvnet, lrp, deeplift, rollout,
    )
}  # fmt: skip
OF_NO_CLASS = ("rollout",)  # whose maps are the same for all classes
ADD_UP = ("gradient_x_input", "ig", "shapley", "lrp", "deeplift")

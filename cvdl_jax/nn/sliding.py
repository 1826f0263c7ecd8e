"""A classifier with dense layers, run on larger images: its scores for every window, in one pass.

A dense layer on a map of h x w features is a convolution with an h x w kernel, and every dense layer after it is one
with a 1 x 1 kernel (`ops/convolution.py:dense_as_convolution`). On a larger image they give a map of scores, one for
each place where the image that the network was trained on fits, at distances of the product of all strides. Without
padding inside the network it equals the network on each crop; a network that pads sees pixels where its crops see
padding, and differs from them near their borders, but its head is the same.

Reference: LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition", section VII (space displacement
networks); Sermanet et al. 2014, "OverFeat", section 3.5; Long et al. 2015, "Fully Convolutional Networks", section 3.1.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.dropout import DropConnect
from cvdl_jax.ops.convolution import correlate, dense_as_convolution


def sliding(
    model: nn.Module, variables: Mapping[str, Any], trained_on: Sequence[int]
) -> Callable[[jax.Array], jax.Array]:
    """The classifier for images of any larger size.

    Args:
        model: `(x, train) -> (logits [b, classes], {"stages": ..., ...})`, with a dense layer on the last stage, flat.
        variables: its parameters, and batch statistics if it has any; they may be tracers.
        trained_on: the shape [h, w, c] of the images it was made for.

    Returns:
        images [b, H, W, c] -> logits [b, H', W', classes], 1 x 1 for an image of the size it was made for. It can be
        compiled and differentiated.

    Raises:
        ConfigError: for a model that has no such layer: one that averages over all pixels takes images of any size
            itself.
    """
    random = np.random.default_rng(0)
    example = random.normal(size=(2, *trained_on)).astype(np.float32)
    # The layer is found with other variables of the same shapes, as those that are given may be tracers. Positive ones,
    # since some are variances.
    others = jax.tree.map(lambda v: random.uniform(0.01, 0.1, v.shape).astype(v.dtype), dict(variables))
    with jax.ensure_compile_time_eval():
        stages, inputs = jax.device_get(jax.jit(lambda variables, x: _look(model, variables, x))(others, example))
    last = stages[-1] if stages else np.zeros((2, 0))
    flat = last.reshape(len(last), -1)
    layers = [path for path, x in inputs.items() if x.shape == flat.shape and np.allclose(x, flat, 1e-5)]
    if not layers or last.ndim != 4:
        raise ConfigError(
            f"{type(model).__name__} has no dense layer on a map of features [h, w, c], its last stage is "
            f"{list(last.shape[1:])}; a network that averages over all pixels takes larger images as it is"
        )
    layer = layers[0]

    def slide(x: jax.Array) -> jax.Array:
        stages, _ = _look(model, variables, x, layer)
        parameters = variables["params"]
        for name in layer:
            parameters = parameters[name]
        kernel = dense_as_convolution(parameters["kernel"], last.shape[1:-1])
        scores = correlate(stages[-1], kernel, parameters.get("bias"))  # [b, H', W', units]
        places, units = scores.shape[:-1], scores.reshape(-1, scores.shape[-1])  # each place as an example of its own

        def put(call: Callable, args: Any, kwargs: Any, context: Any) -> Any:
            return units if _is_call(context) and context.module.path == layer else call(*args, **kwargs)

        with nn.intercept_methods(put):
            logits, _ = model.apply(variables, x, False)
        return logits.reshape(*places, -1)

    return slide


def _look(
    model: nn.Module, variables: Mapping[str, Any], x: jax.Array, without: tuple[str, ...] | None = None
) -> tuple[Sequence[jax.Array], dict[tuple[str, ...], jax.Array]]:
    """The stages, and what every dense layer on vectors gets, by its path.

    One layer may be left out: it gives zeros, as it does not take a map of this size.
    """
    inputs: dict[tuple[str, ...], jax.Array] = {}

    def look(call: Callable, args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        if not (_is_call(context) and isinstance(module, nn.Dense | DropConnect) and args[0].ndim == 2):
            return call(*args, **kwargs)
        inputs.setdefault(module.path, args[0])
        leave_out = module.path == without
        return jnp.zeros((len(args[0]), module.features), args[0].dtype) if leave_out else call(*args, **kwargs)

    with nn.intercept_methods(look):
        _, out = model.apply(variables, x, False)
    return out.get("stages", ()), inputs


def _is_call(context: Any) -> bool:
    return context.method_name == "__call__"

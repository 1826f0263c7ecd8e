"""Activation functions by the name that a config gives them: "relu", "leaky_relu(slope=0.1)", "prelu".

Their derivatives are in `ops/activation_derivatives.py`, under the same names.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import bind_calls
from cvdl_jax.config.parsing import parse_calls
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.nn import observe
from cvdl_jax.ops.activation_derivatives import DERIVATIVES
from cvdl_jax.ops.activation_derivatives import prelu as prelu_derivative
from cvdl_jax.ops.precision import at_least_float32

PATH = "config.model.activation"


class PReLU(nn.Module):
    """Parametric ReLU, `g(z) = z` for z >= 0, else `a z`, with a learned slope `a` that has no weight decay.

    The derivative with respect to the slope is `dg/da = min(z, 0)`.

    Attributes:
        initial: first value of every slope.
        shared: one slope for the layer instead of one for each channel (the last axis).
        dtype: of the result; None for that of the input.

    Reference: He et al. 2015, "Delving Deep into Rectifiers", equations 1 to 3, and section 2.1 for 0.25.
    """

    initial: float = 0.25
    shared: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Args: z float [..., c]. Returns: array like z."""
        dtype = self.dtype or z.dtype
        shape = (1,) if self.shared else (z.shape[-1],)
        slope = self.param("slope", nn.initializers.constant(self.initial), shape, at_least_float32(dtype))
        slope = slope.astype(dtype).reshape((1,) * (z.ndim - 1) + shape)
        return jnp.where(z >= 0, z, slope * z).astype(dtype)


def identity(x: jax.Array, /) -> jax.Array:
    """`g(z) = z`: a stack of such layers is one linear map."""
    return x


def relu(x: jax.Array, /, at_zero: float = 0.0) -> jax.Array:
    """`max(0, z)`; the derivative at 0 is `at_zero`, in [0, 1]. Reference: Nair and Hinton 2010."""
    if not 0 <= at_zero <= 1:
        raise ConfigError(f"{PATH}: relu(at_zero={at_zero}) must lie in [0, 1], the subdifferential of max(0, z) at 0")
    return jax.nn.relu(x) if at_zero == 0 else jnp.where(x == 0, at_zero * x, jax.nn.relu(x))


def relu6(x: jax.Array, /) -> jax.Array:
    """`min(max(0, z), 6)`, with derivative 0 at both kinks. Reference: Howard et al. 2017, "MobileNets"."""
    return jnp.where(x > 0, jnp.where(x < 6, x, jnp.asarray(6, x.dtype)), jnp.zeros((), x.dtype))


def leaky_relu(x: jax.Array, /, slope: float = 0.01) -> jax.Array:
    """`z` for z >= 0, else `slope z`. It differs from `max(slope z, z)` if the slope is above 1.

    Reference: Maas et al. 2013, "Rectifier Nonlinearities Improve Neural Network Acoustic Models", where it is 0.01.
    """
    return jax.nn.leaky_relu(x, slope)


def prelu(x: jax.Array, /, initial: float = 0.25, shared: bool = False) -> jax.Array:
    """`z` for z >= 0, else `a z` with learned `a`, one for each channel or one for the layer."""
    layer = PReLU(initial, shared)
    if layer.scope is None:
        raise ConfigError(f"{PATH}: prelu has a parameter, so it works only inside a Flax module's compact method")
    return layer(x)


def elu(x: jax.Array, /, alpha: float = 1.0) -> jax.Array:
    """`z` for z > 0, else `alpha (e^z - 1)`. Reference: Clevert et al. 2016, equation 16."""
    return jax.nn.elu(x, alpha)


def tanh(x: jax.Array, /) -> jax.Array:
    """`(e^z - e^-z) / (e^z + e^-z)`, in (-1, 1) and zero-centred."""
    return jnp.tanh(x)


def lecun_tanh(x: jax.Array, /) -> jax.Array:
    """`1.7159 tanh(2 z / 3)`, with g(1) = 1 and g(-1) = -1. Reference: LeCun et al. 1998, appendix A."""
    return 1.7159 * jnp.tanh(2 / 3 * x)


def sigmoid(x: jax.Array, /) -> jax.Array:
    """`1 / (1 + e^-z)`, in (0, 1); finite for any z."""
    return jax.nn.sigmoid(x)


def hard_sigmoid(x: jax.Array, /) -> jax.Array:
    """`relu6(z + 3) / 6`, piecewise linear in [0, 1]. Reference: Howard et al. 2019, section 5.2."""
    return relu6(x + 3) / 6


def sine(x: jax.Array, /, omega: float = 1.0) -> jax.Array:
    """`sin(omega z)`. Reference: Sitzmann et al. 2020, "Implicit Neural Representations", section 3.2: omega = 30."""
    return jnp.sin(omega * x)


def silu(x: jax.Array, /) -> jax.Array:
    """`z sigmoid(z)`, also called swish."""
    return jax.nn.silu(x)


def hard_swish(x: jax.Array, /) -> jax.Array:
    """`z relu6(z + 3) / 6`. Reference: Howard et al. 2019, "Searching for MobileNetV3", section 5.2."""
    return x * hard_sigmoid(x)


def gelu(x: jax.Array, /) -> jax.Array:
    """`z Phi(z)`, by the error function. Reference: Hendrycks and Gimpel 2016, section 2."""
    return jax.nn.gelu(x, approximate=False)


def quick_gelu(x: jax.Array, /) -> jax.Array:
    """`z sigmoid(1.702 z)`, near `gelu`. Reference: Hendrycks and Gimpel 2016, section 2; the weights of CLIP."""
    return x * jax.nn.sigmoid(1.702 * x)


def gelu_tanh(x: jax.Array, /) -> jax.Array:
    """`z / 2 (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3)))`, near `gelu`. Reference: Hendrycks and Gimpel 2016."""
    return jax.nn.gelu(x, approximate=True)


ACTIVATIONS: dict[str, Callable[..., jax.Array]] = {
    f.__name__: f
    for f in (
        identity, relu, relu6, leaky_relu, prelu, elu, tanh, lecun_tanh, sigmoid, hard_sigmoid, sine, silu, hard_swish,
        gelu, gelu_tanh, quick_gelu,
    )
}  # fmt: skip


def read(name: str) -> tuple[str, dict[str, Any]]:
    """The name and the checked arguments of an activation such as "elu(alpha=0.5)".

    Raises:
        ConfigError: for an unknown name, with the nearest known one, or an unknown argument.
    """
    calls = parse_calls(name, PATH) if isinstance(name, str) else []
    if len(calls) != 1 or calls[0][0] not in ACTIVATIONS:
        raise ConfigError(f"{PATH}={name!r} is not known; {nearest(calls[0][0] if calls else '', ACTIVATIONS)}")
    ((fn, arguments),) = bind_calls(name, ACTIVATIONS, PATH)
    return fn.__name__, arguments


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """The element-wise function called `name`, which may carry arguments: "leaky_relu(slope=0.1)".

    Raises:
        ConfigError: for an unknown name, with the nearest known one, or an unknown argument.
    """
    kind, arguments = read(name)
    g = partial(ACTIVATIONS[kind], **arguments)

    def apply(x: jax.Array) -> jax.Array:
        y = g(x)
        if observe.inside():
            observe.Activation()(x, _slope(kind, arguments, x, y))
        return y

    return apply


def derivative(name: str) -> Callable[[jax.Array], jax.Array]:
    """The derivative `g'` of the activation called `name`, in closed form.

    Raises:
        ConfigError: as `activation`; also for prelu, whose slope only its layer knows.
    """
    kind, arguments = read(name)
    if kind not in DERIVATIVES:
        raise ConfigError(f"{PATH}: the derivative of {kind} needs its learned slope; {nearest('', DERIVATIVES)}")
    return partial(DERIVATIVES[kind], **arguments)


def _slope(kind: str, arguments: dict[str, Any], z: jax.Array, y: jax.Array) -> jax.Array:
    """The derivative at z, where y = g(z)."""
    if kind == "prelu":  # only the layer knows its slope, but where z < 0 it is y / z
        return prelu_derivative(z, y / jnp.where(z < 0, z, 1))
    return DERIVATIVES[kind](z, **arguments)

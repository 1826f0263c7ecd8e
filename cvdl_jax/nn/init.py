"""Initialisers of kernels, by the name that a config gives them: "he_normal", "he_normal(slope=0.2)", "auto".

A kernel is [..., n_in, n_out]. Its fan-in is the number of inputs of one unit, the product of all axes but the last;
its fan-out is the product of all axes but the last but one. Biases start at zero unless a model says otherwise.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import bind_calls
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn import activations

Initializer = Callable[..., jax.Array]  # (key, shape, dtype) -> array

PATH = "config.model.kernel_init"
# std = sqrt(2 / fan_in), before a ReLU. He et al. 2015, "Delving Deep into Rectifiers", equation 10
HE_NORMAL = nn.initializers.variance_scaling(2.0, "fan_in", "normal")

# Slope of the negative side in equation 15 of He et al. 2015; smooth variants of ReLU count as ReLU.
RECTIFIERS = {
    "relu": 0.0, "relu6": 0.0, "leaky_relu": 0.01, "prelu": 0.25, "elu": 0.0, "silu": 0.0, "hard_swish": 0.0,
    "gelu": 0.0, "gelu_tanh": 0.0,
}  # fmt: skip
XAVIER = ("identity", "tanh", "lecun_tanh", "sigmoid", "hard_sigmoid")  # linear around 0


def zeros() -> Initializer:
    """All zero, a counter-example: all units of a layer compute the same and stay the same."""
    return nn.initializers.zeros


def constant(value: float) -> Initializer:
    """All equal, a counter-example: units learn, but remain copies of each other."""
    return nn.initializers.constant(value)


def uniform(low: float = 0.0, high: float = 0.01) -> Initializer:
    """U(low, high); the default is `0.01 * rand`."""
    if not low < high:
        raise ConfigError(f"{PATH}: uniform({low}, {high}) needs low < high, for example uniform(0, 0.01)")

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, low, high)

    return init


def normal(std: float = 0.01) -> Initializer:
    """N(0, std^2); the default is `0.01 * randn`."""
    return nn.initializers.normal(_not_negative(std, "normal", "std"))


def sparse(sparsity: float = 0.9, std: float = 0.01) -> Initializer:
    """Every unit has weights of N(0, std^2) from the same number of random inputs; the other weights are 0.

    Args:
        sparsity: share of zeros; each unit has `ceil(sparsity * fan_in)` of them.
        std: of the other weights.

    Reference: Martens 2010, "Deep learning via Hessian-free optimization", section 5. Equal to
        `torch.nn.init.sparse_` of a tensor [n_in, n_out] (of the weight [n_out, n_in] of a
        torch.nn.Linear, that function keeps the same number of outputs per input instead).
    """
    if not 0 <= sparsity <= 1:
        raise ConfigError(f"{PATH}: sparse(sparsity={sparsity}) must be a share between 0 and 1")
    draw = nn.initializers.normal(_not_negative(std, "sparse", "std"))

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        where, what = jax.random.split(key)
        fan_in, units = math.prod(shape[:-1]), shape[-1]
        # Rounded first, as 0.1 * 30 is 3.0000000000000004
        connected = jnp.arange(fan_in) >= math.ceil(round(sparsity * fan_in, 9))
        mask = jax.random.permutation(where, jnp.tile(connected[:, None], (1, units)), axis=0, independent=True)
        return jnp.where(mask.reshape(shape), draw(what, shape, dtype), jnp.zeros((), dtype))

    return init


def xavier_fan_in(gain: float = 1.0) -> Initializer:
    """N(0, gain^2 / fan_in): keeps the variance of the forward pass. Often called Xavier's; LeCun et al. 1998,
    "Efficient BackProp", equation 16.
    """
    return _scaled(gain**2, "fan_in", "normal")


def lecun_normal() -> Initializer:
    """A normal distribution of variance 1 / fan_in, cut at two standard deviations: Flax's default."""
    return nn.initializers.lecun_normal()


def glorot_normal(gain: float = 1.0) -> Initializer:
    """N(0, gain^2 * 2 / (fan_in + fan_out)): a compromise between the variances of the forward and the backward pass.

    Reference: Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks",
        equation 12. `torch.nn.init.xavier_normal_`.
    """
    return _scaled(gain**2, "fan_avg", "normal")


def glorot_uniform(gain: float = 1.0) -> Initializer:
    """U(-b, b) with b = gain * sqrt(6 / (fan_in + fan_out)).

    Reference: Glorot and Bengio 2010, equation 16. `torch.nn.init.xavier_uniform_`.
    """
    return _scaled(gain**2, "fan_avg", "uniform")


def he_normal(mode: Literal["fan_in", "fan_out"] = "fan_in", slope: float = 0.0) -> Initializer:
    """N(0, 2 / ((1 + slope^2) * fan)), before a rectifier.

    Args:
        mode: "fan_in" keeps the variance of the forward pass, "fan_out" that of the backward pass.
        slope: of the negative side: 0 for ReLU, a for a leaky one.

    Reference: He et al. 2015, "Delving Deep into Rectifiers", equations 10, 14 and 15.
        `torch.nn.init.kaiming_normal_`.
    """
    return _scaled(2 / (1 + slope**2), mode, "normal")


def he_uniform(mode: Literal["fan_in", "fan_out"] = "fan_in", slope: float = 0.0) -> Initializer:
    """U(-b, b) with b = sqrt(6 / ((1 + slope^2) * fan)); see `he_normal`. `torch.nn.init.kaiming_uniform_`."""
    return _scaled(2 / (1 + slope**2), mode, "uniform")


def orthogonal(gain: float = 1.0) -> Initializer:
    """`gain * Q` with orthonormal columns, or rows if there are fewer of them; `|x Q| = |x|` if Q is square.

    Reference: Saxe et al. 2014, "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks".
    """
    return nn.initializers.orthogonal(gain)


def auto(activation: str) -> Initializer:
    """He's initialiser for rectifiers, with their slope; Xavier's, by fan-in, for tanh and the others of `XAVIER`.

    Args:
        activation: a name of `nn/activations.py`, with its arguments if it has any.

    Raises:
        ConfigError: for an activation without a rule.
    """
    name, arguments = activations.read(activation)
    if name in RECTIFIERS:
        return he_normal(slope=arguments.get("slope", arguments.get("initial", RECTIFIERS[name])))
    if name in XAVIER:
        return xavier_fan_in()
    raise ConfigError(
        f"{PATH}='auto' has no rule for config.model.activation={activation!r}; name an initialiser, such "
        f"as {PATH}=he_normal"
    )


INITIALIZERS: dict[str, Callable[..., Initializer]] = {
    f.__name__: f
    for f in (
        zeros, constant, uniform, normal, sparse, xavier_fan_in, lecun_normal, glorot_normal, glorot_uniform,
        he_normal, he_uniform, orthogonal, auto,
    )
} | {
    "xavier_normal": glorot_normal, "xavier_uniform": glorot_uniform,  # as other libraries call them
    "kaiming_normal": he_normal, "kaiming_uniform": he_uniform,
}  # fmt: skip


def initializer(text: str, activation: str = "identity", default: Initializer = HE_NORMAL) -> Initializer:
    """The initialiser of a layer's kernel.

    Args:
        text: `config.model.kernel_init`, such as "he_normal" or "glorot_normal(gain=1.67)"; "" for the default.
        activation: name of the activation after the layer, for "auto".
        default: the model's own initialiser.

    Returns:
        (key, shape, dtype) -> array.

    Raises:
        ConfigError: for an unknown name, with the nearest, wrong arguments, or more than one name.
    """
    if not text:
        return default
    bound = bind_calls(text, INITIALIZERS, PATH, activation=activation)
    if len(bound) != 1:
        raise ConfigError(f"{PATH}={text!r} must be one initialiser, such as 'he_normal'")
    make, arguments = bound[0]
    return make(**arguments)


def _scaled(scale: float, mode: str, distribution: str) -> Initializer:
    if not 0 < scale < math.inf:
        raise ConfigError(f"{PATH}: a gain of {math.sqrt(scale)} must be positive and finite, such as 1.0")
    return nn.initializers.variance_scaling(scale, mode, distribution)


def _not_negative(std: float, name: str, argument: str) -> float:
    if not 0 <= std < math.inf:
        raise ConfigError(f"{PATH}: {name}({argument}={std}) must be zero or more, such as 0.01")
    return std

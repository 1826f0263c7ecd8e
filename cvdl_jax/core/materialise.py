"""An array written to memory once, on CPUs, where XLA would compute it again for all that uses it.

XLA's CPU backend fuses what makes an array into the loops that read it, as often as there are such loops: a whole
augmentation into every convolution of a first layer, a normalisation into the transpose for a weight gradient. It takes
optimisation barriers away before it fuses, but does not fuse across a loop whose count it does not know.
"""

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.core.parallel import backend


@jax.custom_jvp
def stored(x: jax.Array, any_bits: jax.Array) -> jax.Array:
    """The array itself; on CPUs it passes through a loop of one pass, from a zero that is computed.

    Args:
        x: of any shape.
        any_bits: uint32, any number that the compiler does not know: it decides nothing.

    Returns:
        x, with the derivative of the identity.
    """
    if backend() != "cpu":
        return x
    zero = (any_bits >> 31 >> 1).astype(jnp.int32)
    return lax.fori_loop(zero, 1, lambda _, __: x, jnp.zeros_like(x))


def bits_of(*arrays: jax.Array) -> jax.Array:
    """A number for `stored` from the first of some arrays that the compiler will not know as a constant: uint32.

    The weights of a network that a function closes over are constants, and a loop whose count follows from them goes.
    """
    array = next((x for x in arrays if isinstance(x, jax.core.Tracer)), arrays[0])
    return lax.bitcast_convert_type(array.ravel()[0].astype(jnp.float32), jnp.uint32)


@stored.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    return stored(*primals), tangents[0]

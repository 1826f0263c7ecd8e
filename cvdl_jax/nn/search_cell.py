"""A small space of cells for architecture search: every edge of a cell of three nodes is one of five operations.

    node 1 = f_01(node 0),    node 2 = f_02(node 0) + f_12(node 1),    f in {none, skip, conv1x1, conv3x3, avgpool3x3}

so that there are 5^3 = 125 cells, NAS-Bench-201's with one node less. A convolution is ReLU, convolution and
normalisation. The network is a stem, a cell, a halving of the image with twice the channels, a cell, and the mean over
the image. An operation is an input: a step that is compiled once trains every cell, and the weights of all operations
are there, of which a cell uses, and changes, its own. So one tree is also the shared weights of one-shot search.
Convolutions are products of shifted images with a matrix, which loops on CPUs run faster than XLA's convolutions; the
normalisation is without parameters, over each example's image and channels.

Reference: Dong and Yang 2020, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", section
2.1; Guo et al. 2020, "Single Path One-Shot Neural Architecture Search with Uniform Sampling", section 3.
"""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.config.binding import Size
from cvdl_jax.nn.init import he_normal, lecun_normal
from cvdl_jax.ops.normalise import normalise

OPERATIONS = ("none", "skip", "conv1x1", "conv3x3", "avgpool3x3")
EDGES = ("0-1", "0-2", "1-2")
CELLS = tuple(itertools.product(range(len(OPERATIONS)), repeat=len(EDGES)))


def describe(cell: tuple[int, ...]) -> str:
    """A cell for people: "0-1 skip, 0-2 conv3x3, 1-2 none"."""
    return ", ".join(f"{edge} {OPERATIONS[k]}" for edge, k in zip(EDGES, cell, strict=True))


def shifted(x: jax.Array) -> jax.Array:
    """Each pixel's 3 x 3 neighbourhood, zeros beyond the border: [b, h, w, c] -> [b, h, w, 9, c], row by row."""
    h, w = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return jnp.stack([padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], 3)


def _norm(x: jax.Array) -> jax.Array:
    return normalise(x, (1, 2, 3))[0]


class Edge(nn.Module):
    """One edge of a cell: the weights of all operations, and the one that is chosen.

    Attributes:
        features: channels of the nodes.
    """

    features: Size

    @nn.compact
    def __call__(self, x: jax.Array, operation: jax.Array) -> jax.Array:
        """The operation (its number in OPERATIONS, int []) of a node [b, h, w, features]."""
        c = self.features
        point = self.param("conv1x1", he_normal(), (c, c), x.dtype)
        square = self.param("conv3x3", he_normal(), (9 * c, c), x.dtype)

        def average(x: jax.Array) -> jax.Array:
            inside = shifted(jnp.ones_like(x[:1, :, :, :1])).sum(3)  # pixels of the neighbourhood, 4 to 9
            return shifted(x).sum(3) / inside

        branches = (
            jnp.zeros_like,
            lambda x: x,
            lambda x: _norm(nn.relu(x) @ point),
            lambda x: _norm(shifted(nn.relu(x)).reshape(*x.shape[:3], 9 * c) @ square),
            average,
        )
        return lax.switch(operation, branches, x)


class Cell(nn.Module):
    """Three nodes and the edges between them; the last node is the output.

    Attributes:
        features: channels of the nodes.
    """

    features: Size

    @nn.compact
    def __call__(self, x: jax.Array, operations: jax.Array) -> jax.Array:
        """A cell of these operations, int [3], on a node [b, h, w, features]."""
        middle = Edge(self.features, name="edge01")(x, operations[0])
        direct = Edge(self.features, name="edge02")(x, operations[1])
        return direct + Edge(self.features, name="edge12")(middle, operations[2])


class CellNetwork(nn.Module):
    """The network around a cell.

    Attributes:
        num_classes: number of logits.
        features: channels of the first cell; the second has twice as many.
    """

    num_classes: int
    features: Size = 8

    @nn.compact
    def __call__(self, x: jax.Array, operations: jax.Array) -> jax.Array:
        """Logits [b, num_classes] of images [b, h, w, c] by the cell of these operations, int [3]."""
        dense = {"kernel_init": he_normal(), "use_bias": False}
        x = _norm(nn.Dense(self.features, name="stem", **dense)(shifted(x).reshape(*x.shape[:3], -1)))
        x = Cell(self.features, name="cell0")(x, operations)
        b, h, w, c = x.shape
        x = nn.relu(x)[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))
        x = _norm(nn.Dense(2 * self.features, name="reduce", **dense)(x))
        x = Cell(2 * self.features, name="cell1")(x, operations)
        x = nn.relu(_norm(x)).mean((1, 2))
        return nn.Dense(self.num_classes, kernel_init=lecun_normal(), name="head")(x)

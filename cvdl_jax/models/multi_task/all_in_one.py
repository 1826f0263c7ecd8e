"""All-In-One: one network that finds faces and says their landmarks, pose, smile, gender, age and identity.

Seven convolutions, of which six are shared. Tasks that do not depend on who is seen (detection, landmarks, their
visibility, pose, smile) see the maps behind conv1, conv3 and conv5 together: the first two are brought to 6x6 by a
convolution of their own, the third by a maximum, 1x1 convolutions mix them, and a dense layer is what these tasks
share. Age and gender have three dense layers each behind conv6. Conv7 belongs to the identity alone.

All activations are parametric rectifiers, with a slope for each channel, and nothing is normalised. The paper's network
began from one that was trained to identify people (Sankaranarayanan et al. 2016).

Reference: Ranjan et al. 2017, "An All-In-One Convolutional Neural Network for Face Analysis", section III and figure 3.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import adaptive_mean, check_images, head
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.pooling import max_pool
from cvdl_jax.ops.precision import at_least_float32

LOCAL = ("detection", "landmarks", "visibility", "pose", "smile")  # independent of who is seen
GLOBAL = ("gender", "age")  # depend on who is seen
IDENTITY = "identity"

VARIANTS = {
    # Ranjan et al. 2017, figure 3, with 21 landmarks and 10,548 people. Kernels, biases and, last, slopes:
    # conv1 ... conv7 34,944 + 614,656 + 885,120 + 1,327,488 + 1,769,984 + 2,359,808 + 2,359,808 and 2,656
    # conv1a, conv3a, mixing 393,472 + 393,472 + 262,400 and 768; dense 18,876,416 and 2,048
    # five hidden layers of 512: 5 * 1,049,088 and 5 * 512; their outputs 68 * 513
    # gender, age 2 * (18,875,392 + 131,200 + 129) and 2 * 1,152; identity 18,875,392 + 524,800 + 5,411,124 and 1,536
    "all_in_one": {
        "input": (227, 227, 3), "maps": (96, 256, 384, 384, 512, 512, 512),
        "heads": (("detection", 1), ("landmarks", 42), ("visibility", 21), ("pose", 3), ("smile", 1), ("gender", 1),
                  ("age", 1), ("identity", 10548)),
        "params": 97_394_522,
    },
    # Convolutions 2,676 + 44 slopes, branches 428 + 12, local 272 + 16, tasks 5 * (136 + 8) and 68 * 9, gender and age
    # 2 * (396 + 12 + 78 + 6 + 7), identity 528 + 16 + 136 + 8 + 90
    "all_in_one_tiny": {
        "input": (35, 35, 3), "maps": (4, 4, 6, 6, 8, 8, 8), "stem": (3, 2), "branch": 4, "local": 16, "task": 8,
        "person": (12, 6), "face": (16, 8), "places": 2, "dropout": 0.0,
        "heads": (("detection", 1), ("landmarks", 42), ("visibility", 21), ("pose", 3), ("smile", 1), ("gender", 1),
                  ("age", 1), ("identity", 10)),
        "params": 6_556,
    },
}  # fmt: skip


class AllInOne(nn.Module):
    """The network, with those of its heads that are asked for.

    Attributes:
        heads: (name, outputs) of each; the names are those of LOCAL, GLOBAL and IDENTITY.
        maps: channels of the seven convolutions.
        stem: side and stride of the first one.
        branch: channels of the convolutions of the branches, and of the mixed map.
        local: units of the dense layer that the tasks of LOCAL share.
        task: hidden units of each of them.
        person: hidden units of the two layers of each of GLOBAL.
        face: likewise of the identity.
        places: side of the maps that dense layers see; other maps are averaged to it.
        activation: name of the activation function.
        dropout: rate behind every hidden dense layer.
        dtype: of all layers but the last ones, which are at least float32.
    """

    heads: tuple[tuple[str, int], ...]
    maps: tuple[Size, Size, Size, Size, Size, Size, Size]
    stem: tuple[Size, Size] = (11, 4)
    branch: Size = 256
    local: Size = 2048
    task: Size = 512
    person: tuple[Size, Size] = (1024, 128)
    face: tuple[Size, Size] = (1024, 512)
    places: Size = 6
    activation: str = "prelu"
    dropout: Share = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[dict[str, jax.Array], dict[str, Any]]:
        """Analyses faces.

        Args:
            x: float [b, h, w, c].
            train: dropout on.

        Returns:
            {head: outputs [b, n]}, in the order of `heads`; {"stages": the maps of conv1, conv3, conv5 and conv6 behind
            their maxima, "local": [b, local]}, the last where a head of LOCAL is asked for.

        Raises:
            ConfigError: for a head that the network has not, or images that are too small.
        """
        wanted = dict(self.heads)
        unknown = sorted(wanted.keys() - {*LOCAL, *GLOBAL, IDENTITY})
        if unknown:
            raise ConfigError(
                f"config.tasks.{unknown[0]}: the network All-In-One has heads for "
                f"{', '.join((*LOCAL, *GLOBAL, IDENTITY))}; name the tasks as these"
            )
        side, stride = self.stem
        check_images(x, self, "all_in_one", side + 6 * stride, "conv1")
        x = self._conv(x.astype(self.dtype), 1, side, stride, "VALID")
        first = _pool(x)
        x = _pool(self._conv(first, 2, 5))
        third = self._conv(x, 3)
        fifth = self._conv(self._conv(third, 4), 5)
        sixth = self._conv(fifth, 6)
        last, out = {}, {"stages": (first, third, _pool(fifth), _pool(sixth))}
        if wanted.keys() & set(LOCAL):
            out["local"] = self._mixed(first, third, _pool(fifth), train)
        for name in (name for name in LOCAL if name in wanted):
            last[name] = self._hidden(out["local"], (self.task,), name, train)
        for name in (name for name in GLOBAL if name in wanted):
            last[name] = self._hidden(self._flat(_pool(sixth)), self.person, name, train)
        if IDENTITY in wanted:
            last[IDENTITY] = self._hidden(self._flat(_pool(self._conv(sixth, 7))), self.face, IDENTITY, train)
        return {name: head(last[name], n, self.dtype, name=f"head_{name}") for name, n in self.heads}, out

    def _types(self) -> dict[str, Any]:
        wide, init = at_least_float32(self.dtype), initializer("", "relu")
        return {"dtype": self.dtype, "param_dtype": wide, "kernel_init": init}

    def _conv(self, x: jax.Array, i: int, side: int = 3, stride: int = 1, padding: str = "SAME") -> jax.Array:
        layer = Conv(self.maps[i - 1], (side, side), (stride, stride), padding, **self._types(), name=f"conv{i}")
        return activation(self.activation)(layer(x))

    def _mixed(self, first: jax.Array, third: jax.Array, fifth: jax.Array, train: bool) -> jax.Array:
        """What the tasks of LOCAL share, [b, local]."""
        g, parts = activation(self.activation), []
        for x, side, name in ((first, 4, "conv1a"), (third, 2, "conv3a")):
            conv = Conv(self.branch, (side, side), (side, side), "VALID", **self._types(), name=name)
            parts.append(adaptive_mean(g(conv(x)), self.places))
        x = jnp.concatenate([*parts, adaptive_mean(fifth, self.places)], -1)
        x = g(Conv(self.branch, (1, 1), **self._types(), name="conv_all")(x))
        return self._hidden(self._flat(x), (self.local,), "local", train)

    def _flat(self, x: jax.Array) -> jax.Array:
        return adaptive_mean(x, self.places).reshape(len(x), -1)

    def _hidden(self, x: jax.Array, units: tuple[int, ...], name: str, train: bool) -> jax.Array:
        for i, n in enumerate(units):
            x = activation(self.activation)(nn.Dense(n, **self._types(), name=f"{name}{i}")(x))
            x = Dropout(self.dropout)(x, train)
        return x


def _pool(x: jax.Array) -> jax.Array:
    return max_pool(x, 3, 2)


def build(variant: str, heads: tuple[tuple[str, int], ...], dtype: Any = jnp.float32, **overrides: Any) -> AllInOne:
    """A variant of the table with overrides."""
    return from_row(AllInOne, VARIANTS[variant], overrides, heads=heads, dtype=dtype)

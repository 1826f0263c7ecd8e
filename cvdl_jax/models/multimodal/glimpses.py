"""Hard attention: a network that sees an image in a few glimpses and chooses itself where to look next.

    g_t = relu(W_1 relu(W_2 rho(x, l_t)) + W_3 relu(W_4 l_t))     what is seen, and where
    h_t = relu(W_h h_{t-1} + W_g g_t)
    l_{t+1} ~ N(tanh(W_l h_t), s^2)                               the next place; its mean where nothing is drawn
    logits = W_a h_T

The first place is the centre. What is drawn passes no gradient: the choice of places is trained by its reward
(`ops/losses/reinforce.py`), and the state gets no gradient from it nor from the baseline, which is linear in the state.

Reference: Mnih et al. 2014, "Recurrent Models of Visual Attention", sections 3 and 4.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Positive, Size
from cvdl_jax.core.parallel import row_random
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_images, head
from cvdl_jax.ops.images import glimpses
from cvdl_jax.ops.losses.reinforce import normal_log_p
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Mnih et al. 2014, section 4.1, for translated digits: three windows of 12x12; six glimpses
    "ram": {
        "input": (60, 60, 1), "num_classes": 10, "size": 12, "scales": 3, "glimpses": 6,
        # 433 * 128 + 3 * 128 + 2 * 129 * 256; 256 * (256 + 256 + 1); 257 * 2 + 257 + 257 * 10
        "params": 256_525,
    },
    "ram_tiny": {
        "input": (16, 16, 1), "num_classes": 10, "size": 4, "scales": 2, "glimpses": 3, "seen": 6, "units": 8,
        # 33 * 6 + 3 * 6 + 2 * 7 * 8; 8 * (8 + 8 + 1); 9 * 2 + 9 + 9 * 10
        "params": 581,
    },
}  # fmt: skip


class GlimpseModel(nn.Module):
    """Glimpses, a recurrent network that reads them, and its choice of the next place.

    Attributes:
        num_classes: number of logits.
        size: side of a window in pixels.
        scales: windows of a glimpse, each twice as large as the one before.
        glimpses: T.
        deviation: s, of the places that are drawn, in halves of the image.
        seen: units for what is seen, and for where.
        units: of the state.
        dtype: of the products; logits, places and the baseline are at least float32.
    """

    num_classes: int
    size: Size = 12
    scales: Layers = 3
    glimpses: Layers = 6
    deviation: Positive = 0.15
    seen: Size = 128
    units: Size = 256
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Looks and classifies.

        Args:
            x: float [b, h, w, c].
            train: draw the places, from the rng "dropout", a row from its own key.

        Returns:
            logits [b, num_classes]; {"places": [b, T, 2] where it looked, y and x in -1 ... 1, "log_p": [b, T - 1] of
            all but the first, "baseline": [b, T - 1], what reward it expected then, "pre_logits": [b, units]}.
        """
        check_images(x, self, "ram")
        b, wide = len(x), at_least_float32(self.dtype)
        dense = {"dtype": self.dtype, "param_dtype": wide}
        layer = lambda units, name, **more: nn.Dense(units, **dense, **more, name=name)  # noqa: E731
        see, where = layer(self.seen, "see"), layer(self.seen, "where")
        join = layer(self.units, "join_seen"), layer(self.units, "join_where")
        keep, add = layer(self.units, "recurrent", use_bias=False), layer(self.units, "input")
        aim = nn.Dense(2, dtype=wide, param_dtype=wide, name="place")
        expect = nn.Dense(1, dtype=wide, param_dtype=wide, name="baseline")
        noise = jnp.zeros((b, self.glimpses, 2), wide)
        if train:
            noise = row_random(jax.random.normal, self.make_rng("dropout"), noise.shape).astype(wide)
        h, place = jnp.zeros((b, self.units), self.dtype), jnp.zeros((b, 2), wide)
        places, log_p, baseline = [place], [], []
        for t in range(self.glimpses):
            windows = glimpses.glimpses(x.astype(self.dtype), place, self.size, self.scales).reshape(b, -1)
            seen, there = nn.relu(see(windows)), nn.relu(where(place.astype(self.dtype)))
            h = nn.relu(keep(h) + add(nn.relu(join[0](seen) + join[1](there))))
            if t == self.glimpses - 1:
                break
            state = jax.lax.stop_gradient(h)
            mean = jnp.tanh(aim(state))
            place = jax.lax.stop_gradient(mean + self.deviation * noise[:, t])
            places.append(place)
            log_p.append(normal_log_p(place, mean, self.deviation))
            baseline.append(expect(state)[:, 0])
        none = [jnp.zeros((b, 0), wide)]
        chosen, expected = (jnp.concatenate(none + [v[:, None] for v in x], 1) for x in (log_p, baseline))
        out = {"places": jnp.stack(places, 1), "log_p": chosen, "baseline": expected, "pre_logits": h}
        return head(h, self.num_classes, self.dtype), out


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> GlimpseModel:
    """A variant of the table with overrides."""
    return from_row(GlimpseModel, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)

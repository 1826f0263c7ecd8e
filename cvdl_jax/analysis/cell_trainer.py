"""Networks of the small cell space (`nn/search_cell.py`), trained and judged by the same compiled functions.

Where the cell differs from step to step, Adam's moments also move the weights of operations that a step did not draw.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from cvdl_jax.metrics.classification import correct
from cvdl_jax.nn.search_cell import CellNetwork
from cvdl_jax.ops.losses.classification import softmax_cross_entropy


class CellTrainer:
    """Trains and judges networks of any cell; all share two compiled functions, and those of a seed their batches.

    Args:
        data: {split: (images float [n, h, w, c], labels int [n])}, "train" among them.
        num_classes: number of logits.
        features: channels of the first cell.
        steps: of one call; every training is a multiple of it.
        batch_size: examples of a step, drawn anew each time.
        lr: of Adam in the first step; it ends at 0 along a cosine.
    """

    def __init__(
        self,
        data: Mapping[str, tuple[jax.Array, jax.Array]],
        num_classes: int,
        features: int,
        steps: int,
        batch_size: int,
        lr: float,
    ):
        self.data, self.steps, self.batch_size, self.lr = data, steps, batch_size, lr
        self.model = CellNetwork(num_classes, features)
        self._init = jax.jit(self.model.init)
        self._call, self._judge = jax.jit(self._train_steps), jax.jit(self._losses)

    def _losses(self, params: Any, cell: jax.Array, image: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = self.model.apply({"params": params}, image, cell)
        return softmax_cross_entropy(logits, label).mean(), correct(logits, label).mean()

    def _train_steps(
        self, params: Any, opt: Any, first: jax.Array, total: jax.Array, cells: jax.Array, key: jax.Array
    ) -> tuple[Any, Any]:
        image, label = self.data["train"]
        rule = optax.scale_by_adam()

        def step(carry: Any, x: Any) -> tuple[Any, None]:
            (params, opt), (i, cell) = carry, x
            rows = jax.random.randint(jax.random.fold_in(key, i), (self.batch_size,), 0, len(label))
            gradient = jax.grad(lambda p: self._losses(p, cell, image[rows], label[rows])[0])(params)
            updates, opt = rule.update(gradient, opt)
            lr = self.lr * 0.5 * (1 + jnp.cos(jnp.pi * i / total))
            return (jax.tree.map(lambda p, u: p - lr * u, params, updates), opt), None

        return lax.scan(step, (params, opt), (first + jnp.arange(len(cells)), cells))[0]

    def train(self, seed: int, cells: np.ndarray) -> Any:
        """Parameters after one step for each of these cells, int32 [n steps, 3], by the first weights of a seed."""
        init, order = jax.random.split(jax.random.key(seed))
        params = self._init(init, self.data["train"][0][:1], cells[0])["params"]
        opt, n = optax.scale_by_adam().init(params), self.steps
        for first in range(0, len(cells), n):
            params, opt = self._call(params, opt, first, len(cells), cells[first : first + n], order)
        return params

    def child(self, seed: int, cell: Sequence[int], times: int = 1) -> Any:
        """Parameters of one cell's own network, trained for some times `steps` steps."""
        return self.train(seed, np.tile(np.asarray(cell, np.int32), (times * self.steps, 1)))

    def judge(self, params: Any, cell: Sequence[int], split: str) -> tuple[float, float]:
        """(mean cross-entropy, accuracy) on a split."""
        return tuple(map(float, self._judge(params, np.asarray(cell, np.int32), *self.data[split])))

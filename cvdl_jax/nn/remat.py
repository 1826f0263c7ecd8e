"""Rematerialisation: compute a block's activations again in the backward pass instead of keeping them."""

import flax.linen as nn


def remat_block(block: type[nn.Module], enabled: bool) -> type[nn.Module]:
    """The block class itself, or one that forgets its inner activations after the forward pass.

    Memory falls to the blocks' inputs, for one more forward pass of time. Results do not change. Give every block an
    explicit `name`, because Flax derives default names from the class and the parameter tree would change with it.

    Args:
        block: a module with `__call__(self, x, train)`; `train` must be passed by position.
        enabled: `config.remat`.

    Reference: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", section 4.
    """
    return nn.remat(block, static_argnums=(2,)) if enabled else block  # argument 0 is self, 2 is train

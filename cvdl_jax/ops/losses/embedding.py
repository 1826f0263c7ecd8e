"""Losses of embeddings of pixels, in which the pixels of an object are near each other and far from those of others."""

import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import NotNegative, Positive
from cvdl_jax.ops.distances import length


def discriminative(
    embeddings: jax.Array,
    ids: jax.Array,
    most: int,
    pull: Positive = 0.5,
    push: Positive = 1.5,
    regularisation: NotNegative = 0.001,
) -> dict[str, jax.Array]:
    """The discriminative loss of each image, `L_var + L_dist + regularisation L_reg` of its C objects.

        L_var = 1/C sum_c 1/N_c sum_i max(|mu_c - x_i| - pull, 0)^2
        L_dist = 1/(C (C - 1)) sum_(a != b) max(2 push - |mu_a - mu_b|, 0)^2        L_reg = 1/C sum_c |mu_c|

    Args:
        embeddings: x, float [b, h, w, e].
        ids: int [b, h, w], the object of every pixel, 1 ... most; 0 for pixels of none.
        most: largest number of an object.
        pull: distance from the mean within which pixels are not pulled.
        push: half the distance of two means beyond which they are not pushed; more than twice `pull` keeps clusters
            apart.
        regularisation: weight of the last term.

    Returns:
        variance, distance and regularisation: float32 [b] each, the last one weighted; 0 for an image without objects,
        and the distance for one with a single object.

    Reference: De Brabandere et al. 2017, "Semantic Instance Segmentation with a Discriminative Loss Function",
    equations 1 to 4.
    """
    b, e = embeddings.shape[0], embeddings.shape[-1]
    x = embeddings.astype(jnp.promote_types(embeddings.dtype, jnp.float32)).reshape(b, -1, e)
    flat = ids.reshape(b, -1).astype(jnp.int32)
    sums = jax.vmap(lambda v, i: jax.ops.segment_sum(v, i, most + 1))
    ones = jnp.ones_like(x[..., :1])
    count = sums(ones, flat)[:, 1:]  # [b, n, 1]
    there = count[..., 0] > 0  # [b, n]
    objects = jnp.maximum(there.sum(1), 1)
    mean = sums(x, flat)[:, 1:] / jnp.maximum(count, 1)  # [b, n, e]
    own = jnp.concatenate([jnp.zeros_like(mean[:, :1]), mean], 1)  # [b, n + 1, e]
    far = length(jnp.square(jnp.take_along_axis(own, flat[..., None], 1) - x).sum(-1))  # [b, p]
    pulled = sums((jnp.maximum(far - pull, 0) ** 2)[..., None], flat)[:, 1:] / jnp.maximum(count, 1)
    apart = length(jnp.square(mean[:, :, None] - mean[:, None]).sum(-1))  # [b, n, n]
    pairs = there[:, :, None] & there[:, None] & ~jnp.eye(most, dtype=bool)[None]
    pushed = jnp.where(pairs, jnp.maximum(2 * push - apart, 0) ** 2, 0).sum((1, 2))
    return {
        "variance": pulled[..., 0].sum(1) / objects,
        "distance": pushed / jnp.maximum(pairs.sum((1, 2)), 1),
        "regularisation": regularisation * jnp.where(there, length(jnp.square(mean).sum(-1)), 0).sum(1) / objects,
    }

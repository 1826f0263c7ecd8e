"""The contrast of images with their texts: each is to be found among all of the batch by the other."""

import jax
import jax.numpy as jnp

from cvdl_jax.ops.value_checks import floats


def own_pairs(places: jax.Array, count: int) -> jax.Array:
    """The targets of the paper, one for a row's own pair: int [b], places among `count` pairs -> float [b, count]."""
    return jax.nn.one_hot(places, count)


def identical_pairs(tokens: jax.Array, all_tokens: jax.Array) -> jax.Array:
    """Targets that all pairs with the words of a row share evenly: the caption of one is right for the other's image.

    Args:
        tokens: of b texts, int [b, t].
        all_tokens: of all texts of the batch, int [n, t].

    Returns:
        float [b, n], rows that sum to one.
    """
    same = (tokens[:, None] == all_tokens[None]).all(-1).astype(float)  # [b, n]
    return same / same.sum(1, keepdims=True)


def contrast(
    image_to_text: jax.Array, text_to_image: jax.Array, targets: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Symmetric cross-entropy over similarities of all pairs of a batch.

        L_i = 1/2 (-sum_j y_ij log softmax_j(s_i.) - sum_j y_ij log softmax_j(s_.i))

    Args:
        image_to_text: of b images to all n texts, float [b, n].
        text_to_image: of the b texts of these images to all n images, [b, n].
        targets: y, [b, n], rows that sum to one.

    Returns:
        losses [b]; {"image_to_text", "text_to_image": whether the most similar one is right, [b]}.

    Reference: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", figure 3.
    """
    losses, hits = [], {}
    for name, scores in (("image_to_text", image_to_text), ("text_to_image", text_to_image)):
        scores = floats("similarities", scores)
        losses.append(-(targets * jax.nn.log_softmax(scores)).sum(1))
        hits[name] = jnp.take_along_axis(targets, scores.argmax(1)[:, None], 1)[:, 0] > 0
    return (losses[0] + losses[1]) / 2, {name: hit.astype(losses[0].dtype) for name, hit in hits.items()}

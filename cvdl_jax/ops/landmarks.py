"""Landmarks of faces: maps of heat, and the way from one pose to another.

Points are (x, y) or (x, y, z) in pixels, the centre of the first pixel at (0.5, 0.5), z towards who looks. Angles are
pitch, yaw and roll in degrees, about x, y and z in this order: `R = Rz(roll) Ry(yaw) Rx(pitch)`.
"""

import jax
import jax.numpy as jnp


def heat_maps(points: jax.Array, height: int, width: int, sigma: float = 1.0) -> jax.Array:
    """`H(p)`: for each landmark a map with `exp(-|q - p|^2 / (2 sigma^2))` at each pixel q.

    Args:
        points: float [..., k, 2]; those outside of the image leave it nearly empty.
        height: of the maps, in pixels.
        width: likewise.
        sigma: of the Gaussian, in pixels.

    Returns:
        [..., height, width, k], the landmarks as channels, at most 1.

    Reference: Nirkin et al. 2019, "FSGAN: Subject Agnostic Face Swapping and Reenactment", section 3.1.
    """
    x, y = points[..., None, :, 0], points[..., None, :, 1]  # [..., 1, k]
    shape = (1,) * (points.ndim - 2)
    columns = (jnp.arange(width) + 0.5).reshape(*shape, width, 1)
    rows = (jnp.arange(height) + 0.5).reshape(*shape, height, 1)
    across = jnp.exp(-((columns - x) ** 2) / (2 * sigma**2))  # [..., w, k]
    down = jnp.exp(-((rows - y) ** 2) / (2 * sigma**2))  # [..., h, k]
    return down[..., :, None, :] * across[..., None, :, :]


def rotation(angles: jax.Array) -> jax.Array:
    """The matrix [..., 3, 3] of angles [..., 3] in degrees; points are columns."""
    (cx, cy, cz), (sx, sy, sz) = (jnp.moveaxis(f(jnp.radians(angles)), -1, 0) for f in (jnp.cos, jnp.sin))
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def project(points: jax.Array) -> jax.Array:
    """3-D landmarks [..., 3] seen along z without perspective: [..., 2]."""
    return points[..., :2]


def between(
    source: jax.Array, source_angles: jax.Array, target: jax.Array, target_angles: jax.Array, steps: int
) -> jax.Array:
    """The landmarks of the source's face on its way to the pose and the place of the target's.

    At t = j / steps the source's landmarks are turned from its angles to `(1 - t) e_s + t e_t` about their centroid,
    which moves to `(1 - t) c_s + t c_t`: the shape and expression stay the source's, and so does its size.

    Args:
        source: v_s [..., k, 3].
        source_angles: e_s [..., 3].
        target: v_t [..., k, 3].
        target_angles: e_t [..., 3].
        steps: n, at least 1.

    Returns:
        [..., n, k, 3], for j = 1 ... n; the last has the target's angles and centroid.

    Reference: Nirkin et al. 2019, equation 6 and the paragraph above it.
    """
    t = ((jnp.arange(steps) + 1) / steps).reshape(*(1,) * (source.ndim - 2), steps, 1)  # [..., n, 1]
    angles = (1 - t) * source_angles[..., None, :] + t * target_angles[..., None, :]  # [..., n, 3]
    centre, end = source.mean(-2, keepdims=True), target.mean(-2, keepdims=True)  # [..., 1, 3]
    own = jnp.einsum("...ji,...kj->...ki", rotation(source_angles), source - centre)  # its pose undone
    turned = jnp.einsum("...nij,...kj->...nki", rotation(angles), own)
    moved = (1 - t) * centre + t * end  # [..., n, 3]
    return turned + moved[..., None, :]

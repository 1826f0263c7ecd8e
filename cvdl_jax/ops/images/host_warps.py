"""Images resampled on the host, in NumPy: at any coordinates, about their centre, and along a direction."""

import numpy as np


def sampled(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear interpolation at coordinates of every output pixel; beyond the border the nearest pixel is repeated.

    Args:
        x: float [b, h, w, c].
        rows: float [b, h', w'], 0 for the first row.
        columns: float [b, h', w'].

    Returns:
        float [b, h', w', c].
    """
    _, h, w, _ = x.shape
    rows, columns = np.clip(rows, 0, h - 1), np.clip(columns, 0, w - 1)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = np.minimum(top + 1, h - 1), np.minimum(left + 1, w - 1)
    v, u = (rows - top)[..., None], (columns - left)[..., None]
    b = np.arange(len(x))[:, None, None]
    above = x[b, top, left] * (1 - u) + x[b, top, right] * u
    below = x[b, down, left] * (1 - u) + x[b, down, right] * u
    return above * (1 - v) + below * v


def grid(b: int, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """The coordinates of all pixels: rows and columns, float64 [b, h, w] each."""
    rows, columns = np.meshgrid(np.arange(h, dtype=np.float64), np.arange(w, dtype=np.float64), indexing="ij")
    return np.broadcast_to(rows, (b, h, w)), np.broadcast_to(columns, (b, h, w))


def affine(x: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Each output pixel (row, column) takes the value at `m[:, :2] (row, column) + m[:, 2]` about the centre.

    Args:
        x: float [b, h, w, c].
        matrices: float [b, 2, 3].

    Returns:
        float [b, h, w, c].
    """
    b, h, w, _ = x.shape
    cy, cx = (h - 1) / 2, (w - 1) / 2
    rows, columns = grid(b, h, w)
    m = matrices[..., None, None]
    y, z = rows - cy, columns - cx
    rows, columns = (m[:, i, 0] * y + m[:, i, 1] * z + m[:, i, 2] for i in (0, 1))
    return sampled(x, rows + cy, columns + cx)


def zoomed(x: np.ndarray, factor: float) -> np.ndarray:
    """Enlarged about the centre by a factor; what leaves the image is cut off. Args, returns: float [b, h, w, c]."""
    matrix = np.array([[1 / factor, 0, 0], [0, 1 / factor, 0]])
    return affine(x, np.broadcast_to(matrix, (len(x), 2, 3)))


def perspective(x: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The image as seen from elsewhere: its four corners are taken from other places of it.

    The homography maps (row, column, 1) of the output to that of the input, up to a factor.

    Args:
        x: float [b, h, w, c].
        corners: float [b, 4, 2], the input coordinates that the output's corners show: top left, top right, bottom
            right, bottom left.

    Returns:
        float [b, h, w, c].

    Raises:
        numpy.linalg.LinAlgError: for three corners on a line.

    Reference: Hartley and Zisserman 2004, "Multiple View Geometry in Computer Vision", section 4.1.
    """
    b, h, w, _ = x.shape
    places = np.array([[0, 0], [0, w - 1], [h - 1, w - 1], [h - 1, 0]], np.float64)
    r, c = places.T
    one, zero = np.ones(4), np.zeros(4)
    y, z = corners[..., 0], corners[..., 1]  # [b, 4]
    first = np.stack([np.broadcast_to(v, (b, 4)) for v in (r, c, one, zero, zero, zero)] + [-r * y, -c * y], -1)
    second = np.stack([np.broadcast_to(v, (b, 4)) for v in (zero, zero, zero, r, c, one)] + [-r * z, -c * z], -1)
    system, target = np.concatenate([first, second], 1), np.concatenate([y, z], 1)[..., None]  # [b, 8, 8], [b, 8, 1]
    m = np.linalg.solve(system, target)[..., 0][..., None, None]  # [b, 8, 1, 1]
    rows, columns = grid(b, h, w)
    below = m[:, 6] * rows + m[:, 7] * columns + 1
    row, column = (m[:, i] * rows + m[:, i + 1] * columns + m[:, i + 2] for i in (0, 3))
    return sampled(x, row / below, column / below)


def motion_blurred(x: np.ndarray, radius: int, sigma: float, degrees: np.ndarray) -> np.ndarray:
    """The mean of the image moved step by step in one direction, step i weighted by `exp(-i^2 / (2 sigma^2))`.

    Args:
        x: float [b, h, w, c].
        radius: the last step, in pixels.
        sigma: of the weights, in steps.
        degrees: direction for each image [b], counter-clockwise from the right.

    Returns:
        float [b, h, w, c].
    """
    b, h, w, _ = x.shape
    weights = np.exp(-(np.arange(radius + 1) ** 2) / (2 * sigma**2))
    out, angle = np.zeros_like(x), np.deg2rad(degrees)
    for i, weight in enumerate(weights / weights.sum()):
        dy, dx = np.rint(-i * np.sin(angle)).astype(int), np.rint(i * np.cos(angle)).astype(int)
        rows = np.clip(np.arange(h)[None] - dy[:, None], 0, h - 1)  # [b, h]
        columns = np.clip(np.arange(w)[None] - dx[:, None], 0, w - 1)
        out += weight * x[np.arange(b)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return out


def fractal(random: np.random.Generator, h: int, w: int, decay: float) -> np.ndarray:
    """Noise of all scales in 0..1, float64 [h, w]: octave k has 2^k + 1 random points a side and weight `decay^-k`.

    Args:
        random: draws the points.
        h: rows.
        w: columns.
        decay: how much weaker each finer octave is; above 1 for clouds.
    """
    total, k, weight = np.zeros((h, w)), 0, 1.0
    while True:
        points = 2**k + 1
        values = random.uniform(-1, 1, (1, points, points, 1))
        rows, columns = np.meshgrid(np.linspace(0, points - 1, h), np.linspace(0, points - 1, w), indexing="ij")
        total += weight * sampled(values, rows[None], columns[None])[0, :, :, 0]
        if points > max(h, w):
            break
        k, weight = k + 1, weight / decay
    low, high = total.min(), total.max()
    return (total - low) / (high - low)

"""Vanishing and exploding gradients of recurrent networks: how much of a gradient arrives many steps before, untrained.

The gradient of a cost of the last state h_T by the state `lag` steps before is multiplied by the Jacobian dh_T / dh_k,
a product of one matrix for each step (`ops/textbook/recurrent.py`). Measured is this product, of networks that have
taken no step: the root mean square of its enlargement of a random gradient, and the largest there is. A case is a cell
and a number or a word: "tanh 0.9", "sigmoid 0.9" and "relu 0.9" have a random recurrent matrix of that spectral radius,
"tanh orthogonal" and "relu identity" that matrix; "lstm 1" and "gru 1" have orthogonal matrices and that bias of the
gate that keeps the old state. What no initialisation mends can be clipped: `gradient` is log10 of the norm of the
recurrent matrix's gradient, `clipped` that of what a clipping at `clip` leaves.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Layers, NotNegative, Positive, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.recurrent import CELLS, Cell, zero_carry

READS = ("study",)
NAMES = {"tanh": "rnn", "sigmoid": "rnn_sigmoid", "relu": "rnn_relu", "lstm": "lstm", "gru": "gru"}
KEEPS = {"lstm": 1, "gru": 1}  # the block of the gate that keeps the old state


def initial(case, key, units):
    """(the cell's name, its recurrent matrix [units, blocks units], its bias [blocks units]) of a case."""
    kind, _, scheme = case.partition(" ")
    if kind not in NAMES:
        raise ConfigError(f"config.study.cases: {case!r} must begin with one of {', '.join(NAMES)}, as in 'tanh 1.2'")
    blocks, word = CELLS[NAMES[kind]].blocks, scheme in ("orthogonal", "identity")
    try:
        number = 1.0 if word else float(scheme)
    except ValueError:
        raise ConfigError(
            f"config.study.cases: {case!r} must end in a number, 'orthogonal' or 'identity', as in 'tanh 1.2'"
        ) from None
    if kind in KEEPS and word:
        raise ConfigError(f"config.study.cases: {case!r} has orthogonal matrices; give the bias of a gate: '{kind} 1'")
    drawn = np.asarray(jax.random.normal(key, (blocks, units, units)))
    if scheme == "identity":
        parts = [np.eye(units)] * blocks
    elif word or kind in KEEPS:
        parts = [np.linalg.qr(part)[0] for part in drawn]
    else:
        parts = [part * number / abs(np.linalg.eigvals(part)).max() for part in drawn]
    bias = np.zeros((blocks, units))
    if kind in KEEPS:
        bias[KEEPS[kind]] = number
    return NAMES[kind], jnp.asarray(np.concatenate(parts, 1)), jnp.asarray(bias.ravel())


def step(cell: Cell, kernel, carry, product):
    """One step of one example: carry {"h": [u], ...}, product [blocks u]."""
    rows = {name: x[None] for name, x in carry.items()}
    return {name: x[0] for name, x in cell.step(product[None], rows["h"] @ kernel, rows).items()}


def last_state(name, kernel, products):
    """The states before each step, {"h": [t, b, u], ...}, and the last h [b, u]."""
    one = jax.vmap(lambda carry, product: step(CELLS[name], kernel, carry, product))
    first = zero_carry(name, products.shape[1], kernel.shape[0], products.dtype)
    last, before = jax.lax.scan(lambda carry, product: (one(carry, product), carry), first, products)
    return before, last["h"]


def profile(case, key, lag, units, examples, inputs):
    """(root mean square and largest enlargement [lag + 1] each, norm of the recurrent matrix's gradient) of a case."""
    keys = jax.random.split(key, 3)
    name, kernel, bias = initial(case, keys[0], units)
    products = inputs * jax.random.normal(keys[1], (lag, examples, len(bias))) + bias[None, None]
    before, _ = last_state(name, kernel, products)

    def later(above, at):  # above: dh_T / d(carry after this step), {"h": [b, u, u], ...}
        one = jax.vmap(lambda carry, product, rows: jax.vmap(
            jax.vjp(lambda c: step(CELLS[name], kernel, c, product), carry)[1])(rows)[0])  # fmt: skip
        below = one(at[0], at[1], above)
        return below, jnp.concatenate(list(below.values()), -1)

    eye = jnp.broadcast_to(jnp.eye(units), (examples, units, units))
    start = {part: eye if part == "h" else jnp.zeros_like(eye) for part in before}
    across = jax.lax.scan(later, start, (before, products), reverse=True)[1][::-1]  # [lag, b, u, u or 2 u]
    mean_square = jnp.square(across).sum((2, 3)).mean(1) / units
    largest = jnp.linalg.norm(across, 2, (2, 3)).mean(1)
    pull = jax.random.normal(keys[2], (examples, units)) / units**0.5
    gradient = jax.grad(lambda kernel: (last_state(name, kernel, products)[1] * pull).sum(1).mean())(kernel)
    return np.append(1.0, np.sqrt(mean_square)), np.append(1.0, largest), gradient


def compare(
    seed: int, cases: tuple[str, ...], lag: Layers = 50, units: Size = 32, examples: Size = 8,
    inputs: NotNegative = 0.3, clip: Positive = 1.0,
):  # fmt: skip
    """({metric: number}, {case: profiles}); "decades" and "largest" are log10 of the enlargements over the lag."""
    metrics, profiles = {}, {}
    with jax.enable_x64(True):  # for numbers down to 1e-300
        for case in cases:
            *profiles[case], gradient = profile(case, jax.random.key(seed), lag, units, examples, inputs)
            clipped = optax.clip_by_global_norm(clip).update(gradient, optax.EmptyState())[0]
            numbers = {"decades": profiles[case][0][-1], "largest": profiles[case][1][-1]}
            numbers |= {"gradient": jnp.linalg.norm(gradient), "clipped": jnp.linalg.norm(clipped)}
            name = case.replace(" ", "_")
            metrics |= {f"{name}/{key}": float(np.log10(max(float(x), 1e-300))) for key, x in numbers.items()}
    return metrics, profiles


def draw(profiles):
    """Both enlargements over the lag."""
    from cvdl_jax.analysis.figures import images

    figure, axes = images.new_figure(1, 2, inches=4.2)
    titles = "Gradient of a state before, root mean square", "The largest enlargement of a gradient"
    for axis, title, column in zip(axes[0], titles, range(2), strict=True):
        axis.set_frame_on(True)
        for i, (case, parts) in enumerate(profiles.items()):
            style = "-" if case.startswith(("lstm", "gru")) else "--" if i % 2 else ":"
            axis.semilogy(np.maximum(parts[column], 1e-300), style, linewidth=1.2, label=case)
        steps = max(len(parts[column]) for parts in profiles.values())
        axis.set(xlabel="steps back", ylim=(1e-35, 1e15), xticks=range(0, steps, max(1, steps // 5)))
        axis.set_title(title, fontsize=9)
    axes[0, 0].legend(fontsize=6)
    return {"recurrent_gradients": figure}


def make(config, info) -> Task:
    """The study of a configuration."""
    section = configs.bind(compare, config.study, "config.study", seed=config.seed)
    return studies.measured(config, lambda: compare(**section), draw)

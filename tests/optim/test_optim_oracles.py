"""Every optimizer against a NumPy loop of its formula: 200 steps on a quadratic and on Rosenbrock's valley."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.ops.textbook import surfaces
from cvdl_jax.ops.textbook.trajectory import trajectory
from cvdl_jax.optim import optimizer as optim
from cvdl_jax.optim import schedules

STEPS = 200
CURVATURES = (0.1, 1.0, 3.0, 10.0)
STARTS = (np.array([[3.0, -2.0], [1.0, 0.5]]), np.array([[-1.2, 1.0], [0.8, 1.1]]))  # [2, 2]: Muon wants a matrix
CHANGING = {"name": "cosine", "warmup_steps": 20}


def quadratic_gradient(w):
    return w * np.reshape(CURVATURES, (2, 2))


def rosenbrock_gradient(w):
    x, g = w.reshape(4), np.zeros(4)
    inner = x[1:] - x[:-1] ** 2
    g[:-1] = -400 * x[:-1] * inner - 2 * (1 - x[:-1])
    g[1:] += 200 * inner
    return g.reshape(2, 2)


def loop(rule, grad, w, rates):
    """The parameters after each step; a rule that trains another point than w leaves it in `s.seen`."""
    s, path = SimpleNamespace(m=0 * w, v=0 * w, c=0.0, z=w, x=w, seen=None), [w]
    for t, lr in enumerate(rates, 1):
        w = rule(w, grad, s, lr, t)
        path.append(w if s.seen is None else s.seen)
    return np.stack(path)


def norm(x):
    return np.sqrt((x**2).sum())


def sgd(w, grad, s, lr, t):
    return w - lr * grad(w)


def decayed(w, grad, s, lr, t):
    return (1 - 0.01 * lr) * w - lr * grad(w)


def momentum_ema(w, grad, s, lr, t):
    s.m = 0.9 * s.m + 0.1 * grad(w)
    return w - lr * s.m


def momentum_sum(w, grad, s, lr, t):
    s.m = 0.9 * s.m + grad(w)
    return w - lr * s.m


def momentum_rate(w, grad, s, lr, t):
    s.m = 0.9 * s.m + lr * grad(w)
    return w - s.m


def nesterov_ahead(w, grad, s, lr, t):  # the gradient is added to a velocity that is subtracted
    s.m = 0.9 * s.m + lr * grad(w - 0.9 * s.m)
    w = w - s.m
    s.seen = w - 0.9 * s.m
    return w


def nesterov_added(theta, grad, s, lr, t):  # the gradient is subtracted from a velocity that is added
    s.v = 0.9 * s.v - lr * grad(theta + 0.9 * s.v)
    theta = theta + s.v
    s.seen = theta + 0.9 * s.v
    return theta


def nesterov_sum(w, grad, s, lr, t):
    g = grad(w)
    s.m = 0.9 * s.m + g
    return w - lr * (g + 0.9 * s.m)


def nesterov_ema(w, grad, s, lr, t):
    g = grad(w)
    s.m = 0.9 * s.m + 0.1 * g
    return w - lr * (0.1 * g + 0.9 * s.m)


def adagrad(w, grad, s, lr, t):
    s.v = s.v + grad(w) ** 2
    return w - lr * grad(w) / (np.sqrt(s.v) + 1e-7)


def adagrad_inside(w, grad, s, lr, t):
    s.v = s.v + grad(w) ** 2
    return w - lr * grad(w) / np.sqrt(0.1 + s.v + 1e-3)


def rmsprop(w, grad, s, lr, t, inside=False, eps=1e-7, square=np.square):
    s.v = 0.9 * s.v + 0.1 * square(grad(w))
    return w - lr * grad(w) / (np.sqrt(s.v + eps) if inside else np.sqrt(s.v) + eps)


def rmsprop_inside(w, grad, s, lr, t):
    return rmsprop(w, grad, s, lr, t, True, 1e-3)


def rmsprop_norm(w, grad, s, lr, t):
    return rmsprop(w, grad, s, lr, t, square=lambda g: norm(g) ** 2)


def rmsprop_norm_inside(w, grad, s, lr, t):
    return rmsprop(w, grad, s, lr, t, True, 1e-3, lambda g: norm(g) ** 2)


def rmsprop_centered(w, grad, s, lr, t):
    g = grad(w)
    s.m, s.v = 0.9 * s.m + 0.1 * g, 0.9 * s.v + 0.1 * g**2
    s.z = 0.5 * (s.z if t > 1 else 0) + g / (np.sqrt(s.v - s.m**2) + 1e-2)
    return w - lr * s.z


def adam_direction(w, grad, s, t, b2=0.999, eps=1e-8):
    g = grad(w)
    s.m, s.v = 0.9 * s.m + 0.1 * g, b2 * s.v + (1 - b2) * g**2
    return s.m / (1 - 0.9**t) / (np.sqrt(s.v / (1 - b2**t)) + eps)


def adam(w, grad, s, lr, t):
    return w - lr * adam_direction(w, grad, s, t)


def adam_root(w, grad, s, lr, t):
    adam_direction(w, grad, s, t)
    return w - lr * s.m / (1 - 0.9**t) / (np.sqrt(s.v / (1 - 0.999**t) + 0.5) + 1e-7)


def adam_raw(w, grad, s, lr, t):
    adam_direction(w, grad, s, t)
    return w - lr * s.m / (np.sqrt(s.v) + 1e-8)


def adamw(w, grad, s, lr, t):
    return w - lr * (adam_direction(w, grad, s, t) + 0.1 * w)


def adam_penalty(w, grad, s, lr, t):
    return adam(w, lambda w: grad(w) + 0.1 * w, s, lr, t)


def lamb(w, grad, s, lr, t):
    u = adam_direction(w, grad, s, t, eps=1e-6) + 0.1 * w
    return w - lr * norm(w) / norm(u) * u


def lars(w, grad, s, lr, t):
    s.m = 0.9 * s.m + 0.1 * norm(w) / norm(grad(w)) * grad(w)
    return w - lr * s.m


def lion(w, grad, s, lr, t):
    u, s.m = np.sign(0.9 * s.m + 0.1 * grad(w)), 0.99 * s.m + 0.01 * grad(w)
    return w - lr * u


def muon(w, grad, s, lr, t):
    g = grad(w)
    s.m = 0.95 * s.m + 0.05 * g
    x = 0.95 * s.m / (1 - 0.95 ** (t + 1)) + 0.05 * g / (1 - 0.95**t)
    x = x / (norm(x) + 1e-8)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return w - lr * x


def schedule_free(y, grad, s, lr, t, direction=lambda y, grad, s, t: grad(y)):
    s.lr = max(lr, getattr(s, "lr", 0.0))
    s.c += s.lr**2
    s.z = s.z - lr * direction(y, grad, s, t)
    s.x = s.x + s.lr**2 / s.c * (s.z - s.x)
    return 0.9 * s.x + 0.1 * s.z


def schedule_free_adamw(y, grad, s, lr, t):
    def direction(y, grad, s, t):
        s.v = 0.999 * s.v + 0.001 * grad(y) ** 2
        return grad(y) / (np.sqrt(s.v / (1 - 0.999**t)) + 1e-8) + 0.1 * y

    return schedule_free(y, grad, s, lr, t, direction)


def clipped_norm(w, grad, s, lr, t):
    g = grad(w)
    return w - lr * (g if norm(g) <= 2 else 2 * g / norm(g))


def clipped_value(w, grad, s, lr, t):
    return w - lr * np.clip(grad(w), -1.5, 1.5)


def clipped_adaptive(w, grad, s, lr, t):  # a unit is a column of the kernel
    g = grad(w)
    g_norm, w_norm = (np.sqrt((x**2).sum(0, keepdims=True)) for x in (g, w))
    bound = 0.5 * np.maximum(w_norm, 1e-3)
    return w - lr * np.where(g_norm > bound, g * bound / g_norm, g)


def adadelta(w, grad, s, lr, t):
    g = grad(w)
    s.v = 0.9 * s.v + 0.1 * g**2
    u = g * np.sqrt(s.m + 1e-3) / np.sqrt(s.v + 1e-3)
    s.m = 0.9 * s.m + 0.1 * u**2
    return w - lr * u


def nadam(w, grad, s, lr, t):
    g = grad(w)
    adam_direction(w, grad, s, t)
    ahead = 0.9 * s.m / (1 - 0.9 ** (t + 1)) + 0.1 * g / (1 - 0.9**t)
    return w - lr * ahead / (np.sqrt(s.v / (1 - 0.999**t)) + 1e-8)


def nadamw(w, grad, s, lr, t):
    return nadam(w, grad, s, lr, t) - lr * 0.1 * w


def adamax(w, grad, s, lr, t):
    s.m, s.v = 0.9 * s.m + 0.1 * grad(w), np.maximum(0.999 * s.v, np.abs(grad(w)) + 1e-8)
    return w - lr * s.m / (1 - 0.9**t) / s.v


def amsgrad(w, grad, s, lr, t):
    adam_direction(w, grad, s, t, b2=0.9)
    s.c = np.maximum(s.c, s.v / (1 - 0.9**t))
    return w - lr * s.m / (1 - 0.9**t) / (np.sqrt(s.c) + 1e-8)


def radam(w, grad, s, lr, t):
    adam_direction(w, grad, s, t)
    m, longest = s.m / (1 - 0.9**t), 2 / 0.001 - 1
    length = longest - 2 * t * 0.999**t / (1 - 0.999**t)
    if length < 5:
        return w - lr * m
    r = np.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
    return w - lr * r * m / (np.sqrt(s.v / (1 - 0.999**t)) + 1e-8)


def adabelief(w, grad, s, lr, t):
    g = grad(w)
    s.m = 0.9 * s.m + 0.1 * g
    s.v = 0.999 * s.v + 0.001 * (g - s.m) ** 2 + 1e-3
    return w - lr * s.m / (1 - 0.9**t) / (np.sqrt(s.v / (1 - 0.999**t)) + 1e-3)


def yogi(w, grad, s, lr, t):
    g = grad(w)
    if t == 1:
        s.m, s.v = 0 * w + 0.1, 0 * w + 0.1
    s.m, s.v = 0.9 * s.m + 0.1 * g, s.v - 0.01 * np.sign(s.v - g**2) * g**2
    return w - lr * s.m / (1 - 0.9**t) / (np.sqrt(s.v / (1 - 0.99**t)) + 1e-3)


def novograd(w, grad, s, lr, t):
    g = grad(w)
    s.v = norm(g) ** 2 if t == 1 else 0.25 * s.v + 0.75 * norm(g) ** 2
    s.m = 0.9 * s.m + g / (np.sqrt(s.v) + 1e-3)
    return w - lr * s.m


def sm3(w, grad, s, lr, t):
    g = grad(w)
    rows, columns = (0, 0) if t == 1 else s.x
    v = g**2 + np.minimum(rows, columns)
    s.x = v.max(1, keepdims=True), v.max(0, keepdims=True)
    s.m = 0.9 * s.m + 0.1 * g / np.sqrt(v + 1e-3)
    return w - lr * s.m


def sign_sgd(w, grad, s, lr, t):
    return w - lr * np.sign(grad(w))


def adafactor(w, grad, s, lr, t, factored=False):
    g, b = grad(w), 1 - t**-0.8
    square = g**2 + 1e-6
    if factored:
        s.x = (0, 0) if t == 1 else s.x
        rows, columns = s.x = [
            b * old + (1 - b) * square.mean(k, keepdims=True) for k, old in zip((1, 0), s.x, strict=True)
        ]
        s.v = rows * columns / rows.mean()
    else:
        s.v = b * s.v + (1 - b) * square
    u = g / np.sqrt(s.v)
    if factored:
        return w - lr * u
    u = u / max(1, np.sqrt((u**2).mean()) / 0.5) * max(np.sqrt((w**2).mean()), 1e-3)
    s.m = 0.5 * s.m + 0.5 * u
    return w - lr * (s.m + 0.1 * w)


def adafactor_of_matrices(w, grad, s, lr, t):
    return adafactor(w, grad, s, lr, t, factored=True)


M = {"momentum": 0.9}
M = {"momentum": 0.9}
CASES = {  # oracle: (rows, section)
    sgd: ("D1 D2", {"name": "sgd"}),
    decayed: ("D16", {"name": "sgd", "weight_decay": 0.01}),
    momentum_ema: ("D7", {"name": "sgd", "form": "ema", **M}),
    momentum_sum: ("D8", {"name": "sgd", **M}),
    momentum_rate: ("D9", {"name": "sgd", "form": "rate", **M}),
    nesterov_ahead: ("D10", {"name": "sgd", "form": "rate", "nesterov": True, **M}),
    nesterov_added: ("D10", {"name": "sgd", "form": "rate", "nesterov": True, **M}),
    nesterov_sum: ("D10", {"name": "sgd", "nesterov": True, **M}),
    nesterov_ema: ("D10", {"name": "sgd", "form": "ema", "nesterov": True, **M}),
    adagrad: ("D11", {"name": "adagrad"}),
    adagrad_inside: ("D11", {"name": "adagrad", "initial": 0.1, "eps": 1e-3, "eps_inside": True}),
    rmsprop: ("D12", {"name": "rmsprop"}),
    rmsprop_inside: ("D12", {"name": "rmsprop", "eps": 1e-3, "eps_inside": True}),
    rmsprop_norm: ("D12", {"name": "rmsprop", "norm": "tensor"}),
    rmsprop_norm_inside: ("D12", {"name": "rmsprop", "norm": "global", "eps": 1e-3, "eps_inside": True}),
    rmsprop_centered: ("D12", {"name": "rmsprop", "centered": True, "eps": 1e-2, "momentum": 0.5}),
    adam: ("D13", {"name": "adam"}),
    adam_root: ("D13", {"name": "adam", "eps_root": 0.5, "eps": 1e-7}),
    adam_raw: ("D14", {"name": "adam", "bias_correction": False}),
    adamw: ("D15", {"name": "adamw", "weight_decay": 0.1}),
    adam_penalty: ("D15", {"name": "adam", "weight_decay": 0.1}),
    lamb: ("", {"name": "lamb", "weight_decay": 0.1}),
    lars: ("", {"name": "lars", "trust": 0.1}),
    lion: ("", {"name": "lion"}),
    muon: ("", {"name": "muon"}),
    schedule_free: ("", {"name": "schedule_free_sgd"}),
    schedule_free_adamw: ("", {"name": "schedule_free_adamw", "weight_decay": 0.1}),
    adadelta: ("", {"name": "adadelta", "eps": 1e-3}),
    nadam: ("", {"name": "nadam"}),
    nadamw: ("", {"name": "nadamw", "weight_decay": 0.1}),
    adamax: ("", {"name": "adamax"}),
    amsgrad: ("", {"name": "amsgrad", "b2": 0.9}),
    radam: ("", {"name": "radam"}),
    adabelief: ("", {"name": "adabelief", "eps": 1e-3, "eps_root": 1e-3}),
    yogi: ("", {"name": "yogi", "b2": 0.99, "initial": 0.1}),
    novograd: ("", {"name": "novograd", "eps": 1e-3}),
    sm3: ("", {"name": "sm3", "eps": 1e-3}),
    sign_sgd: ("", {"name": "sign_sgd"}),
    adafactor: ("", {"name": "adafactor", "eps": 1e-6, "clip": 0.5, "momentum": 0.5, "weight_decay": 0.1}),
    adafactor_of_matrices: ("", {"name": "adafactor", "eps": 1e-6, "clip": None, "relative": False, "min_factored": 2}),
    clipped_norm: ("D23", {"name": "sgd", "clip_norm": 2.0}),
    clipped_value: ("D24", {"name": "sgd", "clip_value": 1.5}),
    clipped_adaptive: ("D25", {"name": "sgd", "clip_adaptive": 0.5}),
}
# Peak rates: steps that grow with the gradient need small ones, and so do steps of a fixed size that would circle
# around the minimum, where rounding errors grow. The others have 0.05.
RATES = {schedule_free: 5e-4, adafactor: 0.003, lars: 0.01, muon: 0.005, rmsprop_norm_inside: 0.01} | dict.fromkeys(
    (clipped_norm, clipped_value, clipped_adaptive), 0.05
)


def test_every_rule_has_an_oracle():
    assert {section["name"] for _, section in CASES.values()} == set(optim.rules())


@pytest.mark.curriculum("D11")
@pytest.mark.parametrize(
    ("inside", "first", "second"), [(False, 1 / 1.5, 3**0.5 / 2.5), (True, 1 / 1.5**0.5, (3 / 4.5) ** 0.5)]
)
def test_adagrads_epsilon_is_outside_the_root_unless_asked(inside, first, second):
    """eps = 1/2 against roots of 1 and 2: g / (sqrt(c) + eps) or g / sqrt(c + eps)."""
    optimizer = optim.optimizer("adagrad", lr=1.0, total_steps=2, eps=0.5, eps_inside=inside)
    w, state = {"kernel": jnp.zeros(3)}, optimizer.init({"kernel": jnp.zeros(3)})
    g = {"kernel": jnp.float32([1.0, -1.0, 0.0])}
    moved, state = optimizer.update(g, state, w)
    np.testing.assert_allclose(moved["kernel"], [-first, first, 0], rtol=1e-6)
    moved, _ = optimizer.update({"kernel": 3**0.5 * g["kernel"]}, state, w)  # c = 1 + 3
    np.testing.assert_allclose(moved["kernel"], [-second, second, 0], rtol=1e-6)


@pytest.mark.curriculum("D12", "D13", "D14")
@pytest.mark.parametrize(
    ("section", "grad", "expected"),
    [
        ({"name": "rmsprop", "smoothing": 0.75}, 2.0, 2 / 1.5),  # the mean of squares is 1 in all of these
        ({"name": "rmsprop", "smoothing": 0.75, "eps_inside": True}, 2.0, 2 / 1.5**0.5),
        ({"name": "rmsprop", "smoothing": 0.75, "norm": "tensor"}, 2.0, 2 / 1.5),
        ({"name": "rmsprop", "smoothing": 0.75, "norm": "global"}, 2.0, 2 / 1.5),
        ({"name": "rmsprop", "smoothing": 0.75, "norm": "global", "eps_inside": True}, 2.0, 2 / 1.5**0.5),
        ({"name": "adam"}, 1.0, 1 / 1.5),
        ({"name": "adam", "eps_root": 0.5, "eps": 0.0}, 1.0, 1 / 1.5**0.5),
        ({"name": "adam", "bias_correction": False, "b1": 0.0, "b2": 0.75}, 2.0, 2 / 1.5),
        ({"name": "schedule_free_adamw", "interpolation": 0.5}, 1.0, 1 / 1.5),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_epsilon_is_outside_the_root_unless_asked(section, grad, expected):
    """The first step of one weight, with an epsilon of 1/2: the two places differ by a tenth."""
    params = {"kernel": jnp.zeros(1)}
    optimizer = optim.optimizer(**{"eps": 0.5, **section}, lr=1.0, total_steps=2)
    moved, _ = optimizer.update({"kernel": jnp.full(1, grad)}, optimizer.init(params), params)
    np.testing.assert_allclose(moved["kernel"], [-expected], rtol=1e-5)


@pytest.mark.parametrize(
    "oracle",
    [pytest.param(f, id=f.__name__, marks=[pytest.mark.curriculum(*rows.split())] if rows else [])
     for f, (rows, _) in CASES.items()],
)  # fmt: skip
def test_two_hundred_steps_equal_the_formula(oracle):
    section = CASES[oracle][1]
    lr = RATES.get(oracle, 5e-4 if section["name"] == "sgd" else 0.05)
    optimizer = optim.optimizer(**section, lr=lr, total_steps=STEPS, schedule=CHANGING)
    rate = schedules.build(CHANGING, lr, total_steps=STEPS)
    with jax.enable_x64(True):

        @jax.jit
        def paths(starts):
            def path(f, w):
                return trajectory(lambda p: f(p["kernel"].reshape(4)), {"kernel": w}, optimizer, STEPS).points["kernel"]

            functions = (lambda w: surfaces.quadratic(w, CURVATURES), surfaces.rosenbrock)
            return [path(f, w) for f, w in zip(functions, starts, strict=True)]

        rates = np.asarray(jax.vmap(rate)(jnp.arange(STEPS)), np.float64)
        ours = paths(STARTS)
    for path, gradient, start in zip(ours, (quadratic_gradient, rosenbrock_gradient), STARTS, strict=True):
        expected = loop(oracle, gradient, start, rates)
        assert np.isfinite(expected).all() and norm(expected[-1] - expected[0]) > 0.01
        np.testing.assert_allclose(path, expected, rtol=1e-6, atol=1e-6)

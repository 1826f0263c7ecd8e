"""APGD, Square, the ensemble, and attacks that need scores or labels alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.attacks import access, autopgd, pgd, square, surrogate, threat
from cvdl_jax.analysis.attacks.access import BlackBox
from cvdl_jax.analysis.attacks.boundary import boundary
from cvdl_jax.analysis.attacks.ensemble import autoattack
from cvdl_jax.analysis.attacks.one_pixel import one_pixel, painted
from cvdl_jax.errors import ConfigError, DataError

RNG = np.random.default_rng(5)
FIRST, SECOND = 2 * RNG.normal(size=(16, 12)), RNG.normal(size=(12, 5))
Z = jnp.asarray(RNG.uniform(0.2, 0.8, size=(8, 4, 4, 1)), jnp.float32)


def logits_fn(x):
    return jnp.tanh((x.reshape(len(x), -1) - 0.5) @ FIRST.astype(np.float32)) @ SECOND.astype(np.float32)


Y = np.asarray(logits_fn(Z)).argmax(1)


@pytest.mark.parametrize("attack", [square.square, one_pixel, boundary, surrogate.surrogate])
@pytest.mark.parametrize(
    ("label", "words"),
    [(Y + 9, "label has classes from"), (-1 - Y, "label has classes"), (Y[:2], "give 8 whole numbers")],
)
def test_an_attack_by_answers_refuses_labels_that_do_not_exist_and_asks_nothing(attack, label, words):
    box = BlackBox(logits_fn, "labels" if attack.access == "labels" else "scores")
    with pytest.raises(DataError, match=words):
        attack(box, Z, label)
    assert box.queries == 0
    of_numpy = BlackBox(lambda x: np.asarray(logits_fn(x)), box.access, compiled=False)  # has classes nobody knows of
    if "whole" in words:
        with pytest.raises(DataError, match=words):
            attack(of_numpy, Z, label)


# APGD -----------------------------------------------------------------------------------------------------------------


def test_checkpoints_are_those_of_the_paper():
    assert autopgd.checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]


def test_losses_by_hand():
    f, y, t = jnp.asarray([[4.0, 1.0, 3.0, 0.0]]), jnp.asarray([0]), jnp.asarray([3])
    assert autopgd.loss_of(f, y, None, "margin")[0] == -1
    np.testing.assert_allclose(autopgd.loss_of(f, y, None, "dlr"), -(4 - 3) / (4 - 1))
    np.testing.assert_allclose(autopgd.loss_of(f, y, t, "targeted_dlr"), -(4 - 0) / (4 - (1 + 0) / 2))
    np.testing.assert_allclose(
        autopgd.loss_of(10 * f + 3, y, None, "dlr"), autopgd.loss_of(f, y, None, "dlr"), rtol=1e-6
    )


def walked(x, start, y, eps, steps):
    """APGD of one image on a loss that is never won, in NumPy: (best point, its loss)."""
    value = jax.jit(lambda z: (10 * z * jnp.cos(5 * z)).sum())
    slope = jax.jit(jax.grad(lambda z: (10 * z * jnp.cos(5 * z)).sum()))
    inside = lambda z: np.clip(np.clip(z, x - eps, x + eps), 0, 1)  # noqa: E731
    size, z, previous = 2 * eps, start, start
    best, top = z, float(value(z))
    losses, since, kept = [top], 0, (size, top)
    marks, last = autopgd.checkpoints(steps), 0
    for k in range(steps):
        new = inside(z + size * np.sign(slope(z)))
        if k:
            new = inside(z + 0.75 * (new - z) + 0.25 * (z - previous))
        previous, z = z, new
        losses.append(float(value(z)))
        since += losses[-1] > losses[-2]
        if losses[-1] > top:
            best, top = z, losses[-1]
        if k + 1 in marks:
            seldom, still = since < 0.75 * (k + 1 - last), kept == (size, top)
            kept, last, since = (size, top), k + 1, 0
            if seldom or still:
                size, z = size / 2, best
                losses[-1] = top
    return best


def test_apgd_equals_the_loop():
    """Of a model whose loss is a bumpy function of each pixel, and whose answer never changes."""

    def bumpy(x):
        first = -(10 * x * jnp.cos(5 * x)).sum((1, 2, 3))
        return jnp.stack([first + 1000, jnp.zeros_like(first)], 1)

    x = jnp.asarray(RNG.uniform(size=(3, 2, 2, 1)), jnp.float32)
    key = jax.random.key(4)
    starts = np.asarray(pgd.random_point(jax.random.fold_in(key, 0), x, 0.3, "linf"))
    found = autopgd.apgd(bumpy, x, jnp.zeros(3, int), key, eps=0.3, steps=25, loss="margin")
    expected = [walked(a, s, 0, 0.3, 25) for a, s in zip(np.asarray(x), starts, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(("attack", "settings"), [("apgd", {"loss": "dlr"}), ("apgd", {}), ("apgd_t", {"targets": 2})])
def test_apgd_fools_what_pgd_fools_within_the_ball(attack, settings):
    z = getattr(autopgd, attack)(logits_fn, Z, Y, eps=0.25, steps=10, **settings)
    assert threat.distance(Z, z).max() <= 0.25 + 1e-6 and 0 <= z.min() and z.max() <= 1
    weak = pgd.fgsm(logits_fn, Z, Y, eps=0.25)
    assert threat.fooled(logits_fn(z), Y).sum() >= threat.fooled(logits_fn(weak), Y).sum() > 0


def test_more_restarts_never_end_with_a_lower_loss():
    bumpy = lambda x: 2 * logits_fn(x) + jnp.sin(40 * x[:, :1, :, 0]).sum(-1)  # noqa: E731
    more = {"eps": 0.02, "steps": 5, "loss": "margin"}
    label = bumpy(Z).argmax(1)
    losses = [-threat.margin(bumpy(autopgd.apgd(bumpy, Z, label, restarts=n, **more)), label) for n in (1, 2, 3, 5)]
    assert (losses[0] < 0).any() and (losses[-1] > losses[0] + 1e-4).any()
    assert all((b >= a - 1e-6).all() for a, b in zip(losses[:-1], losses[1:], strict=True))


def test_losses_that_need_more_classes_are_refused():
    two = lambda x: logits_fn(x)[:, :2]  # noqa: E731
    with pytest.raises(ConfigError, match="of two classes use loss='margin'"):
        autopgd.apgd(two, Z, jnp.zeros(8, int), eps=0.1, loss="dlr")
    with pytest.raises(ConfigError, match=r"fourth largest logit, and there are 2; use apgd\(loss='margin'\)"):
        autopgd.apgd_t(two, Z, jnp.zeros(8, int), eps=0.1)


# Access ---------------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("P13")
def test_a_black_box_counts_what_it_is_asked_and_gives_no_more_than_it_says():
    box = BlackBox(logits_fn, "labels")
    assert box.labels(Z).tolist() == Y.tolist() and box.queries == 8
    box.labels(Z, np.arange(8) < 3)
    assert box.queries == 11
    with pytest.raises(ConfigError, match="this model gives labels only, no scores; use boundary or surrogate"):
        box.scores(Z)
    with pytest.raises(ConfigError, match="square needs scores, and this model gives labels only"):
        square.square(box, Z, Y)
    with pytest.raises(ConfigError, match="apgd needs gradients, and this model gives scores only; use square or"):
        autopgd.apgd(BlackBox(logits_fn, "scores"), Z, Y)
    with pytest.raises(ConfigError, match="a black box gives 'scores' or 'labels'; for gradients use WhiteBox"):
        BlackBox(logits_fn, "gradients")
    wanted = {pgd.fgsm: "gradients", square.square: "scores", one_pixel: "scores", boundary: "labels"}
    assert {attack.access for attack in wanted} == set(access.ORDER) and all(f.access == a for f, a in wanted.items())


# Square and the ensemble ----------------------------------------------------------------------------------------------


def test_squares_shrink_on_the_schedule_of_the_paper():
    shares = [square.share(0.8, i, 10000) for i in (0, 10, 11, 51, 201, 8001)]
    np.testing.assert_allclose(shares, [0.8, 0.8, 0.4, 0.2, 0.1, 0.8 / 512])
    assert square.share(0.8, 6, 1000) == 0.2  # as iteration 60 of 10,000


def test_square_sets_a_square_to_the_ends_of_the_ball():
    x = jnp.full((50, 6, 5, 2), 0.5)
    z = np.asarray(square._square(jax.random.key(0), x, x, 0.1, 3))
    changed = np.abs(z - 0.5) > 0
    np.testing.assert_allclose(np.abs(z - 0.5)[changed], 0.1, rtol=1e-5)
    assert (changed.sum((1, 2, 3)) == 18).all()  # 3 x 3 x 2
    signs = np.sign(z - 0.5)
    assert all(len(np.unique(s[..., c][s[..., c] != 0])) == 1 for s in signs for c in range(2))
    tops = changed.any((2, 3)).argmax(1)
    assert set(tops) == {0, 1, 2, 3}


@pytest.mark.curriculum("P13")
def test_square_asks_no_more_about_an_image_that_is_fooled():
    box = BlackBox(logits_fn, "scores")
    z = square.square(box, Z, Y, jax.random.key(1), eps=0.15, queries=60)
    fooled = np.asarray(threat.fooled(logits_fn(z), Y))
    assert fooled.sum() >= 2 and box.queries < 8 * 60
    assert threat.distance(Z, z).max() <= 0.15 + 1e-6
    again = BlackBox(logits_fn, "scores")
    square.square(again, Z, (Y + 1) % 5, eps=0.3, queries=60)
    assert again.queries == 8  # what is wrong already costs the one query that shows it
    with pytest.raises(DataError, match=r"square needs images \[b, h, w, c\]"):
        square.square(lambda x: x, Z.reshape(8, 16), Y)


@pytest.mark.parametrize("classes", [5, 2])
def test_the_ensemble_fools_what_any_part_does(classes):
    few = (lambda x: logits_fn(x)[:, :2]) if classes == 2 else logits_fn
    y = np.asarray(few(Z)).argmax(1)
    z = autoattack(few, Z, y, jax.random.key(0), eps=0.15, steps=5, queries=5)
    lost = threat.fooled(few(z), y)
    part = autopgd.apgd(few, Z, y, jax.random.fold_in(jax.random.key(0), 0), eps=0.15, steps=5)
    assert lost[threat.fooled(few(part), y)].all() and 0 < lost.sum()
    assert threat.distance(Z, z).max() <= 0.15 + 1e-6


# Labels ---------------------------------------------------------------------------------------------------------------

W = RNG.normal(size=16)
CENTRE = 0.5 - 0.15 * (W / np.linalg.norm(W)).reshape(4, 4, 1)  # at l2 distance 0.15 of the plane w.(x - 1/2) = 0


def half(x):
    return (np.asarray(x).reshape(len(x), -1) - 0.5) @ W > 0


@pytest.mark.curriculum("P12")
def test_the_boundary_attack_finds_the_nearest_point_of_a_plane():
    box = BlackBox(lambda x: half(x).astype(int), "labels", compiled=False)
    x = np.repeat(CENTRE[None], 3, 0).astype(np.float32)
    z = boundary(box, x, np.zeros(3, int), jax.random.key(0), steps=100)
    lengths = np.asarray(threat.distance(jnp.asarray(x), z, "l2"))
    assert half(z).all() and (lengths >= 0.15 - 1e-3).all() and (lengths < 0.3).all()
    assert 3 * 100 < box.queries <= 3 * (1 + 50 + 10 + 2 * 100)
    begun = boundary(box, x, np.zeros(3, int), steps=1, start=np.clip(x + 0.6 * np.sign(W).reshape(4, 4, 1), 0, 1))
    assert half(begun).all()


def test_without_a_start_the_image_is_returned():
    same = BlackBox(lambda x: np.zeros(len(x), int), "labels", compiled=False)
    np.testing.assert_array_equal(boundary(same, Z, np.zeros(8, int), steps=2, starts=2), Z)


@pytest.mark.long
@pytest.mark.curriculum("P11", "P13")
def test_a_surrogate_agrees_and_its_attack_carries_over():
    box = BlackBox(logits_fn, "labels")
    seeds = jnp.asarray(RNG.uniform(size=(64, 4, 4, 1)), jnp.float32)
    copy = surrogate.imitate(box, seeds, 5, jax.random.key(0), rounds=2, epochs=30)
    assert copy.examples == box.queries == 128 and copy.agreement > 0.9
    z = surrogate.surrogate(box, Z, Y, jax.random.key(0), seeds=seeds, num_classes=5, eps=0.3, steps=10, rounds=2)
    assert threat.fooled(logits_fn(z), Y).mean() >= 0.5
    assert threat.distance(Z, z).max() <= 0.3 + 1e-6


# One pixel ------------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("P14")
def test_one_pixel_is_found_where_the_model_looks_at_one():
    """Only the red of the pixel (2, 1) counts, and only above 0.7."""

    def model(x):
        red = x[:, 2, 1, 0]
        return jnp.stack([0.7 - red, red - 0.7], 1)

    x = jnp.full((2, 4, 3, 3), 0.5)
    z = np.asarray(one_pixel(model, x, np.zeros(2, int), jax.random.key(0), population=40, generations=15))
    assert (np.asarray(threat.distance(x, jnp.asarray(z), "l0")) == 1).all()
    assert (z[:, 2, 1, 0] > 0.7).all() and 0 <= z.min() and z.max() <= 1


def test_a_population_that_is_too_small_is_refused():
    with pytest.raises(ConfigError, match=r"one_pixel\(population\)=4 must be 5 or more"):
        one_pixel(logits_fn, Z, Y, population=4)


def test_a_member_paints_the_pixel_that_it_names():
    copies = painted(np.zeros((4, 5, 1)), np.array([[0.0, 0.0, 0.3], [0.999, 1.0, 0.6], [0.5, 0.41, 0.9]]))
    assert copies[0, 0, 0, 0] == 0.3 and copies[1, 3, 4, 0] == 0.6 and copies[2, 2, 2, 0] == 0.9
    assert (np.count_nonzero(copies, axis=(1, 2, 3)) == 1).all()

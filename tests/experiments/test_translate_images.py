"""Image to image: objectives by hand, who is updated by what, the pool of images, refusals, the networks."""

import json
from functools import partial
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import launch
from cvdl_jax.analysis.figures import images
from cvdl_jax.cli.modes import predict
from cvdl_jax.config import configs
from cvdl_jax.core.info import Info
from cvdl_jax.core.task import State, create_state
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.models import image_translating, registry
from cvdl_jax.models.image_translating import Method, exchanged
from cvdl_jax.ops.losses import adversarial, translation
from experiments import translate_images

SHAPE, RATE = (4, 4, 4, 3), 0.1
RNG = np.random.default_rng(0)
BATCH = {name: RNG.uniform(size=SHAPE).astype(np.float32) for name in ("image", "image_after")}
PATH = "configs/generate/image_translation.py:smoke"


class Line(nn.Module):
    """y = a x + b, a generator whose losses can be written down."""

    @nn.compact
    def __call__(self, x, train):
        return self.param("a", nn.initializers.ones, ()) * x + self.param("b", nn.initializers.zeros, ()), {}


class Score(nn.Module):
    """w times the sum of a pixel's channels, the first ones twice as much: a score for every pixel."""

    @nn.compact
    def __call__(self, x, train):
        factors = 1.0 / (1 + jnp.arange(x.shape[-1]))
        return self.param("w", nn.initializers.ones, ()) * (x * factors[None, None, None]).sum(-1, keepdims=True), {}


def method(objective, loss="least_squares"):
    return Method(Line(), Score(), getattr(adversarial, loss)(), objective, False)


def parameters(ways):
    values = {"forward": (0.8, 0.1, 0.3), "backward": (1.2, -0.2, -0.4)}
    return {
        "generators": {way: {"a": jnp.float32(values[way][0]), "b": jnp.float32(values[way][1])} for way in ways},
        "discriminators": {way: {"w": jnp.float32(values[way][2])} for way in ways},
    }


def score(w, x):
    return w * (x / (1 + np.arange(x.shape[-1]))).sum(-1, keepdims=True)


def generators_by_hand(params, cycle, identity):
    """CycleGAN's objective for the generators, equation 3, with least squares of a half."""
    x, y = (2 * np.float64(BATCH[name]) - 1 for name in ("image", "image_after"))
    g, f = ((float(p["a"]), float(p["b"])) for p in (params["generators"][w] for w in ("forward", "backward")))
    d_y, d_x = (float(params["discriminators"][w]["w"]) for w in ("forward", "backward"))
    go, back = (lambda z: g[0] * z + g[1]), (lambda z: f[0] * z + f[1])
    total = ((score(d_y, go(x)) - 1) ** 2).mean() / 2 + ((score(d_x, back(y)) - 1) ** 2).mean() / 2
    total += cycle * (abs(back(go(x)) - x).mean() + abs(go(back(y)) - y).mean())
    return total + identity * (abs(go(y) - y).mean() + abs(back(x) - x).mean())


def discriminators_by_hand(params, shown):
    x, y = (2 * np.float64(BATCH[name]) - 1 for name in ("image", "image_after"))
    total = 0.0
    for way, real in (("forward", y), ("backward", x)):
        w = float(params["discriminators"][way]["w"])
        total += ((score(w, real) - 1) ** 2).mean() / 2 + (score(w, shown[way]) ** 2).mean() / 2
    return total


def slope(function, params, path, epsilon=1e-4):
    """A derivative by central differences."""
    ends = []
    for step in (epsilon, -epsilon):
        moved = jax.tree.map(float, params)
        place = moved
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] += step
        ends.append(function(moved))
    return (ends[0] - ends[1]) / (2 * epsilon)


@pytest.mark.curriculum("R15")
def test_a_step_of_cyclegan_is_that_of_its_equations(monkeypatch):
    """Every player moves along the slope of its own loss, written out by hand; generators first."""
    goal = translation.unpaired(cycle=3.0, identity=0.5, pool=0)
    monkeypatch.setattr(translate_images, "make_method", lambda config, info: method(goal))
    config = configs.load(PATH)
    sgd = {"name": "sgd", "lr": RATE, "momentum": 0.0}
    config.optim = {"generators": dict(sgd), "discriminators": dict(sgd)}
    config.ema = {}
    spec = {name: jax.ShapeDtypeStruct(SHAPE, jnp.float32) for name in BATCH}
    info = Info(None, (), spec, {"train": 4, "validation": 4}, 4, 2, 1.0, 0)
    task = translate_images.make(config, info)
    state = create_state(task, jax.random.key(0), BATCH)._replace(params=parameters(("forward", "backward")))
    old = state.params
    new, _, sums = jax.jit(task.train.update)(state, BATCH, jax.random.key(1))
    hand = partial(generators_by_hand, cycle=3.0, identity=0.5)
    assert float(sums["generators/loss"][0] / sums["generators/loss"][1]) == pytest.approx(hand(old), rel=1e-5)
    for way in ("forward", "backward"):
        for name in "ab":
            expected = float(old["generators"][way][name]) - RATE * slope(hand, old, ("generators", way, name))
            assert float(new.params["generators"][way][name]) == pytest.approx(expected, abs=2e-5)
    # what is shown was made by the generators before their step, and the discriminators have moved with these
    inputs = {"forward": 2 * BATCH["image"] - 1, "backward": 2 * BATCH["image_after"] - 1}
    shown = {way: float(p["a"]) * inputs[way] + float(p["b"]) for way, p in old["generators"].items()}
    for way in shown:
        np.testing.assert_allclose(new.rows[way]["shown"], shown[way], atol=1e-6)
        by_hand = partial(discriminators_by_hand, shown=shown)
        expected = float(old["discriminators"][way]["w"]) - RATE * slope(by_hand, old, ("discriminators", way, "w"))
        assert float(new.params["discriminators"][way]["w"]) == pytest.approx(expected, abs=2e-5)
    values = task.evals["validation"].step(new, {**BATCH, "mask": jnp.asarray([1.0, 1, 0, 0])}, None)
    difference = abs(BATCH["image"] - BATCH["image_after"])[:2].mean()
    assert float(values["unchanged_l1"][0] / values["unchanged_l1"][1]) == pytest.approx(difference, rel=1e-5)
    p = new.params["generators"]["forward"]
    made = (float(p["a"]) * (2 * BATCH["image"] - 1) + float(p["b"]) + 1) / 2
    far = abs(made - BATCH["image_after"])[:2].mean()
    assert float(values["forward_l1"][0] / values["forward_l1"][1]) == pytest.approx(far, rel=1e-5)


@pytest.mark.curriculum("R35")
def test_pairs_are_judged_beside_their_inputs():
    """One way: the discriminator's score depends on the input, too, and the distance is to the target."""
    players = method(translation.paired(l1=7.0), "non_saturating")
    params = parameters(("forward",))
    state = State(jnp.int32(0), params, {}, {}, {"forward": {"shown": jnp.asarray(2 * BATCH["image"] - 1)}})
    _, sums = translate_images.generator_loss(players, state, BATCH, jax.random.key(0))
    x, y = (2 * np.float64(BATCH[name]) - 1 for name in ("image", "image_after"))
    made = 0.8 * x + 0.1
    expected = np.log1p(np.exp(-score(0.3, np.concatenate([x, made], -1)))).mean() + 7 * abs(made - y).mean()
    assert float(sums["loss"][0] / sums["loss"][1]) == pytest.approx(expected, rel=1e-5)
    _, sums = translate_images.discriminator_loss(players, state, BATCH, jax.random.key(0))
    real, fake = (score(0.3, np.concatenate([x, other], -1)) for other in (y, x))
    expected = np.log1p(np.exp(-real)).mean() + np.log1p(np.exp(fake)).mean()
    assert float(sums["loss"][0] / sums["loss"][1]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.curriculum("R15")
def test_the_pool_keeps_and_shows_older_images():
    """Full after n images; then half of the images shown are older ones, each of which leaves for the one that came."""
    rows, n, steps = 8, 3, 40
    pool = {"images": jnp.zeros((rows, n, 1, 1, 1)), "kept": jnp.zeros(rows, jnp.int32)}
    inside, older, step = [set() for _ in range(rows)], 0, jax.jit(exchanged)
    for t in range(steps):
        made = jnp.float32(1 + t) * jnp.ones((rows, 1, 1, 1)) + 1000 * jnp.arange(rows).reshape(-1, 1, 1, 1)
        pool, shown = step(pool, made, jax.random.key(t))
        for row in range(rows):
            new, seen = float(made[row, 0, 0, 0]), float(shown[row, 0, 0, 0])
            if t < n:
                assert seen == new
                inside[row].add(new)
            elif seen != new:
                inside[row].remove(seen)  # it had been there
                inside[row].add(new)
                older += 1
            assert set(np.ravel(pool["images"][row])) - {0} == inside[row]
        assert int(pool["kept"][0]) == min(t + 1, n)
    assert abs(older / (rows * (steps - n)) - 0.5) < 0.1
    draws = [
        float(step(pool, made, jax.random.key(99))[1][row, 0, 0, 0]) == float(made[row, 0, 0, 0]) for row in range(8)
    ]
    assert len(set(draws)) == 2  # rows draw for themselves


def info_of(**shapes):
    spec = {name: jax.ShapeDtypeStruct((4, *shape), jnp.float32) for name, shape in shapes.items()}
    return SimpleNamespace(spec=spec)


@pytest.mark.parametrize(
    ("change", "shapes", "words"),
    [
        ({}, {"image": (8, 8, 3)}, "translates 'image' to 'image_after', and config.data.name='face_domains"),
        ({}, {"image": (8, 8, 3), "image_after": (8, 9, 3)}, r"'image' is \[8, 8, 3\] and 'image_after' \[8, 9, 3\]"),
        ({}, {"image": (8, 8, 3), "image_other": (8, 8, 1)}, r"'image' is \[8, 8, 3\] and 'image_other' \[8, 8, 1\]"),
        (
            {"objective": {"name": "paired"}},
            {"image": (8, 8, 3), "image_other": (8, 8, 3)},
            "learns from pairs, and the images of config.data.domains are none; set config.data.paired=True",
        ),
        ({"loss": {"name": "wasserstein"}}, None, "has no penalties; choose least_squares"),
        ({"objective": {"name": "paird"}}, None, "did you mean 'paired'"),
        ({"objective": {"name": "unpaired", "cycle": -1.0}}, None, "config.objective.cycle=-1.0"),
        ({"model": {"generator": {"name": "translator_tiny"}}}, None, "expected the sections discriminator and gen"),
    ],
)
def test_mistakes_are_named(change, shapes, words):
    config = configs.load(PATH)
    for name, value in change.items():
        config[name] = value
    with pytest.raises(ConfigError, match=words):
        image_translating.make_method(config, info_of(**(shapes or {"image": (8, 8, 3), "image_after": (8, 8, 3)})))


def test_sets_without_pairs_are_measured_by_cycles_alone(monkeypatch):
    """No distance to an image that does not belong to it; an image that fills a row of the smaller set counts once."""
    players = method(translation.unpaired(cycle=1.0, pool=0))
    state = State(jnp.int32(0), parameters(("forward", "backward")), {}, {}, {})
    once = jnp.asarray([[1, 1], [1, 1], [1, 0], [1, 1]])  # the last row is padding
    batch = {"image": BATCH["image"], "image_other": BATCH["image_after"], "once": once,
             "mask": jnp.asarray([1.0, 1, 1, 0])}  # fmt: skip
    values = translate_images.evaluation_step(players, state, batch, None)
    assert set(values) == {"forward_cycle_l1", "backward_cycle_l1"}
    x, y = (2 * BATCH[name] - 1 for name in ("image", "image_after"))
    there, back = abs(1.2 * (0.8 * x + 0.1) - 0.2 - x)[:3].mean(), abs(0.8 * (1.2 * y - 0.2) + 0.1 - y)[:2].mean()
    assert float(values["forward_cycle_l1"][0] / values["forward_cycle_l1"][1]) == pytest.approx(there / 2, rel=1e-5)
    assert float(values["backward_cycle_l1"][0] / values["backward_cycle_l1"][1]) == pytest.approx(back / 2, rel=1e-5)
    present = {**state.params, "generators": jax.tree.map(jnp.zeros_like, state.params["generators"])}
    averaged = state._replace(params=present, extra={"ema": state.params["generators"]})
    again = translate_images.evaluation_step(players, averaged, batch, None)  # of the averaged generators
    jax.tree.map(np.testing.assert_array_equal, again, values)
    monkeypatch.setattr(images, "mosaic", lambda x, columns: x)
    figures = [translate_images.report(players, state, given, None)["forward"] for given in (batch, BATCH)]
    assert [len(x) for x in figures] == [3 * 4, 4 * 4]  # inputs, translations, these translated back, and the truth
    np.testing.assert_allclose(figures[1][12:], BATCH["image_after"], atol=1e-6)


def test_both_images_of_a_row_are_augmented_alike(monkeypatch):
    monkeypatch.setattr(translate_images, "make_method", lambda config, info: method(translation.unpaired(pool=0)))
    config = configs.load(PATH)
    config.augment, config.ema = "flip", {}
    for second in ("image_after", "image_other"):
        batch = {"image": BATCH["image"], second: BATCH["image"] + 1}
        spec = {name: jax.ShapeDtypeStruct(SHAPE, jnp.float32) for name in batch}
        task = translate_images.make(config, Info(None, (), spec, {"train": 4}, 4, 2, 1.0, 0))
        state = create_state(task, jax.random.key(0), batch)
        _, seen, _ = jax.jit(task.train.update)(state, batch, jax.random.key(1))
        np.testing.assert_allclose(seen["image"] + 1, seen["image_after"], rtol=1e-6)
        turned = [not np.array_equal(seen["image"][i], BATCH["image"][i]) for i in range(4)]
        assert 0 < sum(turned) < 4


@pytest.mark.long
@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("how", ["unpaired", "paired"])
def test_two_folders_of_a_user_are_trained_on(how, tmp_path, capsys):
    """Of other sizes, and of different numbers where there are no pairs."""
    for name, number in (("photos", 30), ("paintings", 30 if how == "paired" else 21)):
        (tmp_path / name).mkdir()
        for i in range(number):
            pixels = np.random.default_rng(i).integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    folders = f"before={tmp_path / 'photos'},after={tmp_path / 'paintings'},method={how},smoke"
    workdir = tmp_path / "run"
    command = [f"--config=configs/generate/image_translation.py:{folders}", f"--workdir={workdir}"]
    assert launch.main(command) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    metrics = json.loads((workdir / "results.json").read_text())["metrics"]
    if how == "paired":
        assert {"test/forward_l1", "test/unchanged_l1"} <= set(metrics)
    else:
        assert "24 images of 'photos' and 17 images of 'paintings'; an epoch is 24" in said
        assert {"test/forward_cycle_l1", "test/backward_cycle_l1"} <= set(metrics)
        assert not [name for name in metrics if name.endswith(("forward_l1", "unchanged_l1"))]
    out = tmp_path / "translated.csv"
    command = ["--mode=predict", f"--workdir={workdir}", f"--input={tmp_path / 'photos'}", f"--out={out}"]
    assert launch.main(command) == 0, capsys.readouterr().err
    ways = ("forward",) if how == "paired" else ("backward", "forward")
    assert out.read_text().splitlines()[0] == ",".join(("file", *ways))
    for way in ways:
        assert len(list((tmp_path / f"translated_{way}").glob("*.png"))) == 30


def test_translations_of_a_batch_are_by_the_averaged_generators_in_pixels():
    ways, half = ("forward", "backward"), jax.tree.map(lambda x: x / 2, parameters(("forward", "backward")))
    state = State(0, half, {"generators": (), "discriminators": ()}, {"ema": parameters(ways)["generators"]}, {})
    made = image_translating.predicted(method(translation.unpaired()), state, {"image": BATCH["image"]})
    x = 2 * BATCH["image"] - 1
    expected = {"images/forward": 0.8 * x + 0.1, "images/backward": 1.2 * x - 0.2}
    assert made.keys() == expected.keys()
    for name, y in expected.items():
        np.testing.assert_allclose(made[name], np.clip((y + 1) / 2, 0, 1), atol=1e-6)
    assert min(float(y.min()) for y in made.values()) == 0.0  # some leave the range


def test_translations_are_written_as_files(tmp_path):
    """Grey and coloured, in sub-folders; what is no number is refused before anything is written."""
    made = {"forward": np.linspace(0, 1, 12).reshape(2, 2, 3, 1), "backward": RNG.uniform(size=(2, 2, 3, 3))}
    rows = predict.translations(["a.png", "sub/b.jpg"], made, tmp_path / "out.csv")
    assert rows[0] == ["file", "forward", "backward"]
    assert rows[2] == ["sub/b.jpg", *(f"{tmp_path}/out_{way}/sub/b.jpg.png" for way in made)]
    for row, i in ((rows[1], 0), (rows[2], 1)):
        for path, expected in zip(row[1:], made.values(), strict=True):
            with Image.open(path) as image:
                pixels = np.asarray(image).reshape(expected[i].shape)
            np.testing.assert_array_equal(pixels, np.round(255 * expected[i]))
    made["backward"][1, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match="'backward' of 1 of 2 images is no image, sub/b"):
        predict.translations(["a.png", "sub/b.jpg"], made, tmp_path / "other.csv")


def test_a_score_has_seen_one_patch():
    """Of 34 pixels: nothing outside reaches it, and what is just inside does; without norms, which see everything."""
    network = registry.create({"name": "patch_discriminator_34", "widths": (3, 4, 5), "norm": "none"}, "config.model")
    x = np.full((2, 64, 64, 3), np.nan, np.float32)
    x[0, 17:51, 17:51] = x[1, 18:51, 17:51] = 1.0
    init = partial(network.init_with_output, train=False)
    scores = jax.jit(init, compiler_options={"xla_backend_optimization_level": 0})(jax.random.key(0), x)[0][0]
    assert scores.shape == (2, 14, 14, 1)
    assert np.isfinite(scores[0, 7, 7, 0]) and np.isnan(scores[1, 7, 7, 0])
    assert np.isnan(scores[0, 6, 7, 0]) and np.isnan(scores[0, 7, 8, 0])


def test_a_translator_keeps_the_size_and_refuses_what_it_cannot_halve():
    network = registry.create({"name": "translator_tiny"}, "config.model", out_channels=2)
    shapes = partial(jax.eval_shape, partial(network.init_with_output, train=False), jax.random.key(0))
    (y, out), _ = shapes(jnp.zeros((2, 12, 16, 3)))
    assert y.shape == (2, 12, 16, 2) and out["code"].shape == (2, 3, 4, 16)
    with pytest.raises(ConfigError, match=r"10x16 pixels do not divide by 4; set config.data.image_size=\(8, 16\)"):
        shapes(jnp.zeros((2, 10, 16, 3)))

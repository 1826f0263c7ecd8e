"""Domain transfer: a frozen encoder, each player's loss by hand, no pair in training, what an evaluation measures."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.task import create_state, step_function
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.losses import domain_transfer as losses
from experiments import transfer_domain

CONFIG = "configs/generate/domain_transfer.py:smoke"
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture(scope="module")
def built():
    """The smoke run, its networks, its state, and a batch of its validation split."""
    kept = {}
    record = losses.Objective
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer_domain, "evaluation_step", lambda net, *args: kept.setdefault("net", net))
        run = build(configs.load(CONFIG))
        run.task.evals["validation"].step(None, None, None)
    run = build(configs.load(CONFIG))
    raw = run.data.splits["validation"].batch(np.arange(8))
    batch = {name: jnp.asarray(x / np.float32(255)) for name, x in raw.items()}
    state = quick_jit(partial(create_state, run.task))(jax.random.key(0), batch)
    return run, kept["net"], state, batch, record()


@pytest.fixture(scope="module")
def both(built):
    """The sums of both losses as a function of the batch."""
    _, net, state, _, objective = built

    @quick_jit
    def run(batch):
        key = jax.random.key(1)
        of_generator = transfer_domain.generator_loss(net, objective, state, batch, key)[1]
        return of_generator, transfer_domain.discriminator_loss(net, state, batch, key)[1]

    return run


@pytest.mark.curriculum("R19")
def test_losses_are_sums_of_their_parts_and_do_not_see_pairs(built, both):
    _, net, state, batch, objective = built
    g, d = both(batch)
    parts = sum(float(g[name][0]) for name in ("game", "constancy", "identity", "smoothness"))
    assert float(g["loss"][0]) == pytest.approx(parts, rel=1e-5) and g["loss"][1] == d["loss"][1] == 8
    other = both({**batch, "image_emoji": batch["image_emoji"][::-1]})
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-3, atol=1e-4), (g, d), other)

    @quick_jit
    def made(batch):
        of = [transfer_domain.made_of(net, state, batch[x], jax.random.key(0))[0] for x in ("image", "image_emoji")]
        codes = [net[2].apply(state.extra["encoder"], x) for x in (batch["image"], (of[0] + 1) / 2)]
        return of, codes

    (of_source, of_target), codes = made(batch)
    assert of_source.min() < 0 and codes[0].shape == (8, net[2].width)
    want = objective.constancy * np.square(codes[0] - codes[1]).mean(1).sum()
    assert float(g["constancy"][0]) == pytest.approx(want, rel=1e-3)
    want = np.square(2 * batch["image_emoji"] - 1 - of_target).mean((1, 2, 3)).sum()
    assert float(g["identity"][0]) == pytest.approx(want, rel=1e-3)
    both_ways = sum(losses.total_variation(x).sum() for x in (of_source, of_target))
    assert float(g["smoothness"][0]) == pytest.approx(objective.smoothness * float(both_ways), rel=1e-3)
    # what was made of the source is class 0, of the target class 1, and the target's own images are class 2
    pictures = (of_source, of_target, 2 * batch["image_emoji"] - 1)
    scores = quick_jit(lambda xs: [transfer_domain.score(net, state, x, jax.random.key(0))[0] for x in xs])(pictures)
    p = [np.asarray(jax.nn.softmax(np.float64(x))) for x in scores]
    assert float(d["loss"][0]) == pytest.approx(-sum(np.log(x[:, k]).sum() for k, x in enumerate(p)), rel=1e-3)
    right = np.mean([x.argmax(1) == k for k, x in enumerate(p)])
    assert float(d["accuracy"][0] / d["accuracy"][1]) == pytest.approx(right, abs=1e-6)
    assert float(g["game"][0]) == pytest.approx(-sum(np.log(x[:, 2]).sum() for x in p[:2]), rel=1e-3)


@pytest.mark.curriculum("R19")
def test_a_step_changes_both_players_and_leaves_the_encoder(built):
    run, _, state, batch, _ = built
    after, sums = quick_jit(step_function(run.task, 0))(state, batch)
    jax.tree.map(np.testing.assert_array_equal, state.extra["encoder"], after.extra["encoder"])
    for name in ("generator", "discriminator"):
        before, new = (jax.tree.leaves(s.params[name]) for s in (state, after))
        assert all((a != b).any() for a, b in zip(before, new, strict=True))
    assert {"generator/constancy", "discriminator/accuracy"} <= sums.keys()


@pytest.mark.curriculum("R19")
def test_what_is_evaluated_are_pixels_and_the_encoder_s_features(built):
    run, net, state, batch, _ = built
    mask = jnp.ones(8)

    @quick_jit
    def by_hand(images):
        codes = net[2].apply(state.extra["encoder"], images)
        stats = state.extra["batch_stats"]["generator"]
        made = net[1].apply({"params": state.params["generator"], "batch_stats": stats}, codes, False)[0]
        made = (made + 1) / 2
        return made, codes, net[2].apply(state.extra["encoder"], made)

    got = quick_jit(run.task.evals["validation"].step)(state, {**batch, "mask": mask}, None)
    made, before, after = map(np.asarray, by_hand(batch["image"]))
    want = {
        "l1": abs(made - batch["image_emoji"]).mean(), "constancy": np.square(before - after).mean(),
        "identity_l1": abs(by_hand(batch["image_emoji"])[0] - batch["image_emoji"]).mean(),
    }  # fmt: skip
    for name, value in want.items():
        assert float(got[name][0] / got[name][1]) == pytest.approx(float(value), rel=1e-3), name


@pytest.mark.curriculum("R19")
def test_an_evaluation_leaves_padding_out(built):
    run, _, state, batch, _ = built
    step = quick_jit(run.task.evals["validation"].step)
    mask = jnp.asarray([1.0] * 5 + [0.0] * 3)
    got = step(state, {**batch, "mask": mask}, None)
    want = np.abs(batch["image"] - batch["image_emoji"]).mean((1, 2, 3))[:5].sum()
    assert float(got["unchanged_l1"][0]) == pytest.approx(want, rel=1e-5) and got["l1"][1] == 5
    assert run.task.evals["validation"].finalize({"l1": 0.5}, {}) == {"l1": 0.5}
    changed = jnp.where(mask[:, None, None, None] == 1, batch["image"], 1 - batch["image"])
    other = step(state, {**batch, "image": changed, "mask": mask}, None)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), got, other)
    # the averaged generator is the one that counts; here it is the present one, which then goes
    gone = {**state.params, "generator": jax.tree.map(jnp.zeros_like, state.params["generator"])}
    after = step(state._replace(params=gone), {**batch, "mask": mask}, None)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), got, after)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("config.encoder.untrained=", "config.encoder needs the run of a classifier"),
        ("config.data.features=('image',)", "needs 'image' and 'image_emoji'"),
        ("config.objective.constancy=-1.0", "constancy"),
        ("config.encoder.untrained=resnet999", "did you mean|no variant|resnet"),
    ],
)
def test_mistakes(override, message):
    with pytest.raises(ConfigError, match=message):
        build(configs.load(CONFIG, [f"--{override}"]))


@pytest.mark.long
@pytest.mark.curriculum("R19")
def test_the_encoder_is_that_of_a_run(tmp_path):
    """Its features, normalisation included, are the inputs of the last layer of the run's own evaluation."""
    import launch
    from cvdl_jax.data import pixels
    from cvdl_jax.engine import encoders, runs
    from cvdl_jax.models import registry
    from cvdl_jax.optim.ema import averaged

    run = tmp_path / "run"
    flags = ["--config=configs/classify/multi_label.py:smoke", "--config.model.name=resnet8_tiny"]
    assert launch.main([*flags, f"--workdir={run}", "--config.log.tensorboard=False"]) == 0
    encoder, weights = encoders.encoder({"workdir": str(run)}, (32, 32, 3), "float32")
    images = jnp.asarray(np.random.default_rng(0).random((2, 32, 32, 3)), jnp.float32)
    built, state, _ = runs.load_built(str(run))
    model = registry.create(built.config.model, "config.model", num_classes=built.info.num_classes, dtype="float32")
    shown = averaged(state)
    variables = {"params": shown.params, "batch_stats": shown.extra["batch_stats"]}
    seen = pixels.normalise(images, **configs.to_plain(built.fitted.normalise))
    want = model.apply(variables, seen, False)[1]["pre_logits"]
    np.testing.assert_allclose(encoder.apply(weights, images), want, rtol=1e-5)
    with pytest.raises(ConfigError, match=r"is a classifier of images \[32, 32, 3\], these are \[16, 16, 3\]"):
        encoders.encoder({"workdir": str(run)}, (16, 16, 3), "float32")

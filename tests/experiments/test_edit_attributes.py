"""AttGAN: its losses by hand, which attributes are asked for, what is counted, refusals, the networks."""

from functools import partial
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import attribute_editing, registry
from cvdl_jax.models.attribute_editing import Method, Weights, desired
from cvdl_jax.ops.losses import adversarial
from experiments import edit_attributes

RNG = np.random.default_rng(1)
N = 3
BATCH = {
    "image": RNG.uniform(size=(4, 2, 2, N)).astype(np.float32),
    "label": RNG.integers(0, 2, (4, N)).astype(np.float32),
}


class Adds(nn.Module):
    """A generator that adds a tenth of each attribute to a channel."""

    @nn.compact
    def __call__(self, x, attributes, train):
        scale = self.param("scale", nn.initializers.ones, ())
        return scale * x[:, None] + 0.1 * attributes[:, :, None, None], {}


class Sees(nn.Module):
    """A critic whose score is the mean pixel, and whose logits are the means of the channels, both times w."""

    @nn.compact
    def __call__(self, x, train):
        w = self.param("w", nn.initializers.ones, ())
        return w * x.mean((1, 2, 3))[:, None], {"attributes": w * x.mean((1, 2))}


METHOD = Method(Adds(), Sees(), adversarial.wasserstein(penalty=10.0), Weights(3.0, 2.0, 0.5))
STATE = State(
    jnp.int32(0),
    {"generator": {"scale": jnp.float32(0.5)}, "discriminator": {"w": jnp.float32(0.7)}},
    {},
    {"batch_stats": {"generator": {}, "discriminator": {}}},
)


def crossed(logits, b):
    p = 1 / (1 + np.exp(-logits))
    return (-b * np.log(p) - (1 - b) * np.log(1 - p)).sum(-1)


def mean(pair):
    return float(pair[0] / pair[1])


@pytest.mark.curriculum("R14")
def test_the_losses_are_those_of_the_paper():
    """lambda 1 L_rec + lambda 2 L_cls_g + L_adv_g; lambda 3 L_cls_c + L_adv_d, and the penalty of a linear critic."""
    x, a, key = 2 * np.float64(BATCH["image"]) - 1, np.float64(BATCH["label"]), jax.random.key(3)
    asked = []
    original = edit_attributes.desired
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edit_attributes, "desired", lambda *args: asked.append(original(*args)) or asked[-1])
        _, sums = edit_attributes.generator_loss(METHOD, 1, STATE, BATCH, key)
        _, of_critic = edit_attributes.discriminator_loss(METHOD, STATE, BATCH, key)
    b = np.float64(asked[0])
    own, made = (0.5 * x + 0.1 * y[:, None, None] for y in (a, b))
    assert mean(sums["reconstruction"]) == pytest.approx(3 * abs(own - x).mean(), rel=1e-5)
    assert mean(sums["attributes"]) == pytest.approx(2 * crossed(0.7 * made.mean((1, 2)), b).mean(), rel=1e-5)
    assert mean(sums["adversarial"]) == pytest.approx(-0.7 * made.mean(), rel=1e-5)
    total = sum(mean(sums[name]) for name in ("reconstruction", "attributes", "adversarial"))
    assert mean(sums["loss"]) == pytest.approx(total, rel=1e-5)
    fake = 0.5 * x + 0.1 * np.float64(asked[1])[:, None, None]
    assert mean(of_critic["adversarial"]) == pytest.approx(0.7 * (fake.mean() - x.mean()), rel=1e-4)
    assert mean(of_critic["attributes"]) == pytest.approx(0.5 * crossed(0.7 * x.mean((1, 2)), a).mean(), rel=1e-5)
    slope = 0.7 / np.sqrt(x[0].size)  # every pixel has the slope w / n
    assert mean(of_critic["penalty"]) == pytest.approx(10 * (slope - 1) ** 2, rel=1e-4)


def test_the_critic_alone_learns_from_its_loss():
    """What was made does not carry a gradient to the generator, and the generator's loss none to real images."""

    def of(name, loss):
        def value(params):
            return mean_of(loss(STATE._replace(params={**STATE.params, name: params}), BATCH, jax.random.key(0))[1])

        return jax.tree.map(float, jax.grad(value)(STATE.params[name]))

    mean_of = lambda sums: sums["loss"][0] / sums["loss"][1]  # noqa: E731
    critic = partial(edit_attributes.discriminator_loss, METHOD)
    assert of("generator", critic) == {"scale": 0.0}
    assert of("discriminator", critic)["w"] != 0
    assert of("generator", partial(edit_attributes.generator_loss, METHOD, 1))["scale"] != 0


@pytest.mark.curriculum("R14")
def test_half_of_the_attributes_are_turned_and_rows_draw_for_themselves():
    label = np.zeros((512, 4), np.float32)
    label[:256] = 1
    b = np.asarray(jax.jit(desired)(label, jax.random.key(0)))
    assert set(np.unique(b)) == {0, 1}
    assert abs((b != label).mean(0) - 0.5).max() < 0.08
    assert len(np.unique(b[:256], axis=0)) == 16
    np.testing.assert_array_equal(jax.jit(desired)(label[:8], jax.random.key(0)), b[:8])


@pytest.mark.curriculum("R14")
def test_an_evaluation_turns_one_attribute_after_the_other():
    """A classifier with a threshold at the attribute's own share of a pixel: edited and kept are counted by hand."""
    batch = {**BATCH, "mask": jnp.asarray([1.0, 1, 1, 0])}
    values = edit_attributes.evaluation_step(METHOD, STATE, batch, None)
    x, a = 2 * np.float64(BATCH["image"]) - 1, BATCH["label"]
    edited, kept, seen = [], [], []
    for row in range(3):
        seen += [(x[row].mean((0, 1)) > 0) == (a[row] > 0.5)]
        for turned in range(N):
            b = a[row].copy()
            b[turned] = 1 - b[turned]
            says = (0.5 * x[row] + 0.1 * b).mean((0, 1)) > 0
            edited.append(says[turned] == (b[turned] > 0.5))
            kept += [says[i] == (b[i] > 0.5) for i in range(N) if i != turned]
    assert mean(values["edited"]) == pytest.approx(np.mean(edited))
    assert mean(values["kept"]) == pytest.approx(np.mean(kept))
    assert mean(values["seen"]) == pytest.approx(np.mean(seen))
    assert mean(values["edited_of_unchanged"]) == pytest.approx(1 - np.mean(seen))
    own = 0.5 * x[:3] + 0.1 * a[:3, None, None]
    assert mean(values["reconstruction_l1"]) == pytest.approx(abs(own - x[:3]).mean() / 2, rel=1e-5)
    # the averaged generator is the one that counts
    present = {**STATE.params, "generator": {"scale": jnp.float32(9.0)}}
    averaged = STATE._replace(params=present, extra={**STATE.extra, "ema": STATE.params["generator"]})
    again = edit_attributes.evaluation_step(METHOD, averaged, batch, None)
    assert {name: mean(pair) for name, pair in again.items()} == {name: mean(pair) for name, pair in values.items()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"info": SimpleNamespace(spec={"image": np.zeros((4, 8, 8, 3))}, num_classes=None)}, "config.data.label_set"),
        ({"loss": {"name": "wasserstein", "penalty": 0.0, "clip": 0.1}}, "has no clipping and no r1"),
        ({"weights": {"reconstruct": 1.0}}, "did you mean 'reconstruction'"),
        ({"model": {"generator": {"name": "attgan_critic_tiny"}, "discriminator": {"name": "attgan_critic_tiny"}}},
         "is no generator of attgan"),
    ],
)  # fmt: skip
def test_mistakes_are_named(change, words):
    config = configs.load("configs/generate/attgan.py:smoke")
    info = change.pop("info", None) or SimpleNamespace(
        spec={"image": np.zeros((4, 8, 8, 3)), "label": np.zeros((4, 2))}, num_classes=2
    )
    for name, value in change.items():
        config[name] = value
    with pytest.raises(ConfigError, match=words):
        attribute_editing.make_method(config, info)


@pytest.mark.curriculum("R14")
def test_one_code_is_decoded_with_every_list_of_attributes():
    """Each image of the result depends on its own list alone, and equals that of a call with it alone."""
    network = registry.create({"name": "attgan_generator_tiny", "norm": "instance"}, "config.model", attributes=2)
    x = jnp.asarray(RNG.normal(size=(2, 8, 8, 3)), jnp.float32)
    lists = jnp.asarray([[[0.0, 1], [1, 1]], [[1, 0], [0, 0]]])
    quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    variables = quick(partial(network.init, train=False))(jax.random.key(0), x, lists)
    apply = quick(lambda lists: network.apply(variables, x, lists, False)[0])
    made, other = apply(lists), apply(lists.at[:, 1].set(lists[:, 0]))
    assert made.shape == (2, 2, 8, 8, 3) and abs(made).max() <= 1
    np.testing.assert_allclose(other[:, 0], made[:, 0], atol=1e-6)
    np.testing.assert_allclose(other[:, 1], made[:, 0], atol=1e-6)
    assert abs(made[:, 0] - made[:, 1]).max((1, 2, 3)).min() > 1e-5
    with pytest.raises(ConfigError, match=r"attributes must be \[2, k, 2\], got \(2, 1, 3\)"):
        jax.eval_shape(partial(network.init, train=False), jax.random.key(0), x, jnp.zeros((2, 1, 3)))

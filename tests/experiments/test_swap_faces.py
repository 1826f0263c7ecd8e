"""Swapping faces: the steps of a reenactment, what is known where, who learns from what, controls, the detector."""

from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.data import portraits
from cvdl_jax.data.builders import face_pairs
from cvdl_jax.data.load import load
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import face_swapping
from cvdl_jax.models.face_swapping import FACE, Method, Swap, completed, measured, reenacted, swapped
from cvdl_jax.ops import landmarks
from cvdl_jax.ops.blending import poisson
from experiments import swap_faces

SIZE, ROWS = 12, 3


class Reenacts(nn.Module):
    """Pixels: half of the face and a share of the heat of the first landmark; the second region everywhere."""

    @nn.compact
    def __call__(self, x, train):
        w = self.param("w", nn.initializers.ones, ())
        pixels = w * (0.5 * x[..., :3] + x[..., 3:4])
        return jnp.concatenate([pixels, jnp.broadcast_to(jnp.asarray([0.0, 1, 0]), pixels.shape)], -1), {}


class Colours(nn.Module):
    """Face where the first channel is bright."""

    @nn.compact
    def __call__(self, x, train):
        w = self.param("w", nn.initializers.ones, ())
        return jnp.stack([-5 * x[..., 0], 5 * x[..., 0], x[..., 0] - 9], -1) * w, {}


class Keeps(nn.Module):
    """What it is told of the pixels, more where it is to make a face, and less where it knows one."""

    wanted: float = 0.0
    known: float = 0.0

    @nn.compact
    def __call__(self, x, train):
        masks = self.wanted * x[..., 3:4] - self.known * x[..., 4:5]
        return self.param("w", nn.initializers.ones, ()) * x[..., :3] + masks, {}


class Mean(nn.Module):
    """The mean pixel: of an image [b, 1], of patches [b, 1, 1, 1]."""

    patches: bool = False

    @nn.compact
    def __call__(self, x, train):
        y = self.param("w", nn.initializers.ones, ()) * x.mean((1, 2, 3))
        return (y[:, None, None, None] if self.patches else y[:, None]), {}


NETWORKS = {"reenactment": Reenacts(), "segmentation": Colours(), "inpainting": Keeps(), "detector": Mean()}
METHOD = Method(NETWORKS, Mean(True), Swap(steps=2, sigma=1.0, segmentation=0.5, adversarial=0.25, iterations=40))
PARAMS = {name: {"w": jnp.float32(1)} for name in (*NETWORKS, "critic")}


@pytest.fixture(scope="module")
def batch():
    data = load(f"face_pairs(size={SIZE + 4}, train={ROWS}, validation=1, test=1)", train="train").splits["train"]
    stored = {name: np.asarray(x)[:, :SIZE, :SIZE] if x.ndim == 4 else np.asarray(x) for name, x in
              data.batch(np.arange(ROWS)).items()}  # fmt: skip
    return {name: jnp.asarray(x / 255 if name.startswith("image") else x, x.dtype if "mask" in name else jnp.float32)
            for name, x in stored.items()}  # fmt: skip


@pytest.mark.curriculum("R16")
def test_the_data_show_two_views_of_one_person_and_a_swap_that_leaves_the_outline():
    name = "face_pairs(size=24, train=2, validation=1, test=2)"
    test = load(name, train="train", test="test").splits["test"].batch(np.arange(2))
    for i in range(2):
        people = face_pairs.people("test", i, 30)
        (source, first), (same, second), (other, third), (swap, fourth) = people
        assert source == same and source != other and first != second and third == fourth
        assert swap.nose == source.nose and swap.mouth == source.mouth and swap.skin == other.skin
        drawn = [portraits.draw(*one, 24) for one in people]
        for entry, drawing in zip(("image", "image_target", "image_other", "image_swapped"), drawn, strict=True):
            np.testing.assert_array_equal(test[entry][i], drawing.image)
        np.testing.assert_array_equal(test["regions_other_mask"][i, ..., 0], drawn[2].regions)
        np.testing.assert_allclose(test["landmarks_target"][i], portraits.landmarks(same, second, 24), rtol=1e-6)
        assert np.asarray(test["angles_other"][i]).tolist() == [third.pitch, third.yaw, third.roll]
        differs = (drawn[2].image.astype(int) - drawn[3].image != 0).any(-1)
        assert differs.any() and (drawn[2].regions[differs] > 0).mean() > 0.9  # inside of the head


@pytest.mark.curriculum("R16", "R36")
def test_a_reenactment_is_made_step_by_step_towards_the_target(batch):
    """I_r0 = I_s; I_rj = G_r(I_r(j-1); H(p_j)), and the last landmarks are the target's own."""
    face = 2 * batch["image"] - 1
    source, target = ((batch[f"landmarks{v}"], batch[f"angles{v}"]) for v in ("", "_other"))
    made, logits = reenacted(METHOD, PARAMS, face, source, target, False)
    way = landmarks.between(*source, *target, 2)
    heat = [landmarks.heat_maps(p[..., :2], SIZE, SIZE, 1.0)[..., :1] for p in (way[:, 0], target[0])]
    expected = np.tanh(0.5 * np.tanh(0.5 * face + heat[0]) + heat[1])
    np.testing.assert_allclose(made, expected, atol=1e-5)
    assert logits.shape == (ROWS, SIZE, SIZE, 3)
    assert abs(way[:, 1] - target[0]).max() > 0.1  # another face than the source's


@pytest.mark.curriculum("R16", "R18")
def test_the_whole_way_changes_the_face_of_the_other_and_nothing_else(batch):
    made, place = swapped(METHOD, PARAMS, batch)
    other = 2 * np.asarray(batch["image_other"]) - 1
    np.testing.assert_array_equal(place[..., 0], other[..., 0] > 0)
    np.testing.assert_allclose(np.where(place, 0, made), np.where(place, 0, batch["image_other"]), atol=1e-6)
    source = 2 * batch["image"] - 1
    face = jnp.where(source[..., :1] > 0, source, 0)  # without surroundings
    poses = [(batch[f"landmarks{v}"], batch[f"angles{v}"]) for v in ("", "_other")]
    moved = reenacted(METHOD, PARAMS, face, *poses, False)[0]
    whole = jnp.tanh(jnp.where(place, moved, 0))
    np.testing.assert_allclose(made, np.clip((poisson(whole, other, place, 40) + 1) / 2, 0, 1), atol=1e-5)


@pytest.mark.curriculum("R16")
def test_what_is_not_seen_is_not_told(batch):
    """Outside of what is seen and wanted pixels have no influence."""
    x, key = 2 * batch["image"] - 1, jax.random.key(0)
    seen, wanted = (jax.random.bernoulli(k, 0.5, (ROWS, SIZE, SIZE, 1)) for k in jax.random.split(key))
    made = completed(METHOD, PARAMS, x, seen, wanted, False)
    np.testing.assert_allclose(made, np.tanh(np.where(seen & wanted, x, 0)), atol=1e-6)


@pytest.mark.curriculum("R16")
def test_the_losses_by_hand(batch):
    method = METHOD._replace(networks={**NETWORKS, "inpainting": Keeps(0.7, 0.3)})
    arrays = {name: np.asarray(x, np.float64 if name.startswith("image") else None) for name, x in batch.items()}
    state, parts = State(jnp.int32(0), PARAMS), {}
    for name, loss in swap_faces.LOSSES.items():
        sums = loss(method, state, batch, None)[1]
        parts[name] = {key: float(total / count) for key, (total, count) in sums.items()}
    # the reenacted face beside the other view, its regions, and patches that a critic takes for true
    made, logits, target = map(np.float64, face_swapping.moved(method, PARAMS, batch, True))

    def crossed(logits, regions):
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        return -np.log(np.take_along_axis(p, regions.astype(int), -1)).mean()

    means = made.mean((1, 2, 3)), target.mean((1, 2, 3))
    expected = {
        "pixels": abs(made - target).mean(), "regions": 0.5 * crossed(logits, arrays["regions_target_mask"]),
        "adversarial": 0.25 * np.log1p(np.exp(-means[0])).mean(),
    }  # fmt: skip
    assert parts["reenactment"] == pytest.approx({**expected, "loss": sum(expected.values())}, rel=1e-4)
    assert parts["critic"]["loss"] == pytest.approx(np.log1p(np.exp([-means[1], means[0]])).sum(0).mean(), rel=1e-4)
    x = 2 * arrays["image_other"] - 1
    colours = np.stack([-5 * x[..., 0], 5 * x[..., 0], x[..., 0] - 9], -1)
    assert parts["segmentation"]["loss"] == pytest.approx(crossed(colours, arrays["regions_other_mask"]), rel=1e-4)
    # a face of which the source's region shows a part, counted where there is to be one
    x, wanted = 2 * arrays["image_target"] - 1, arrays["regions_target_mask"] == FACE
    known = wanted & (arrays["regions_mask"] == FACE)
    assert (
        0 < known.sum() < wanted.sum()
        and (known.sum((1, 2, 3)) < (arrays["regions_mask"] == FACE).sum((1, 2, 3))).any()
    )
    filled = np.tanh(np.where(known, x, 0) + 0.7 * wanted - 0.3 * known)
    rows = [abs(filled - x)[i][wanted[i, ..., 0]].mean() for i in range(ROWS)]
    assert parts["inpainting"]["loss"] == pytest.approx(np.mean(rows), rel=1e-4)


@pytest.mark.curriculum("R16", "R38")
def test_every_network_learns_from_its_own_loss_alone(batch):
    state = State(jnp.int32(0), PARAMS)
    touched = {}
    for name, loss in swap_faces.LOSSES.items():

        def value(params, loss=loss):
            sums = loss(METHOD, state._replace(params=params), batch, None)[1]
            return sums["loss"][0] / sums["loss"][1]

        slopes = jax.jit(jax.grad(value), compiler_options={"xla_backend_optimization_level": 0})(PARAMS)
        touched[name] = {player for player, grad in slopes.items() if float(grad["w"]) != 0}
    assert touched == {
        "reenactment": {"reenactment", "critic"},  # of which `descend` takes the reenactment
        "critic": {"critic"}, "segmentation": {"segmentation"}, "inpainting": {"inpainting"}, "detector": {"detector"},
    }  # fmt: skip


@pytest.mark.curriculum("R16", "R38")
def test_what_is_measured_and_the_detector(batch):
    values, made = measured(METHOD, PARAMS, batch)
    face = np.asarray(batch["regions_other_mask"] == FACE)
    for name, picture in (("swapped", made), ("unchanged", batch["image_other"])):
        for i in range(ROWS):
            where = face[i, ..., 0]
            far = abs(np.asarray(picture)[i] - np.asarray(batch["image_swapped"])[i])[where].mean()
            assert float(values[f"{name}_l1"][i]) == pytest.approx(far, rel=1e-4)
    guess = np.where(np.asarray(batch["image_other"])[..., :1] > 0.5, FACE, 0)
    right = (guess == np.asarray(batch["regions_other_mask"])).mean((1, 2, 3))
    np.testing.assert_allclose(values["regions"], right, rtol=1e-5)
    scores = {"score_true": np.asarray([0.1, 0.2, 0.7]), "score_swapped": np.asarray([0.3, 0.8, 0.9])}
    assert swap_faces.finalise({"a": 1.0}, scores) == {"a": 1.0, "detector_auc": pytest.approx(8 / 9)}
    state = State(jnp.int32(0), PARAMS)
    _, sums = swap_faces.detector_loss(METHOD, state, batch, None)
    true, fake = (2 * np.asarray(x).mean((1, 2, 3)) - 1 for x in (batch["image_other"], made))
    expected = np.log1p(np.exp(true)).mean() + np.log1p(np.exp(-fake)).mean()
    assert float(sums["loss"][0] / sums["loss"][1]) == pytest.approx(expected, rel=1e-5)


def test_mistakes_are_named():
    config = configs.load("configs/generate/face_swapping.py:smoke")
    with pytest.raises(ConfigError, match="lacks image_target, image_other, image_swapped; set it to face_pairs"):
        face_swapping.make_method(config, SimpleNamespace(spec={"image": np.zeros((2, 8, 8, 3))}))
    spec = {f"image{v}": np.zeros((2, 8, 8, 3)) for v in ("", "_target", "_other", "_swapped")} | {"landmarks": 0}
    del config.model.detector
    with pytest.raises(ConfigError, match="expected reenactment, segmentation, inpainting, detector, critic"):
        face_swapping.make_method(config, SimpleNamespace(spec=spec))

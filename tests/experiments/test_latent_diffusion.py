"""Diffusion in codes and of captions: the scale of codes, restored autoencoders, words that count, walks, refusals."""

import io
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import launch
from cvdl_jax.analysis.figures.images import Animation
from cvdl_jax.config import configs
from cvdl_jax.core.info import Info
from cvdl_jax.core.task import State
from cvdl_jax.data import opened, prompts
from cvdl_jax.engine import finish, latents, runs
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.models import denoising, registry, spaces
from cvdl_jax.models.generative.diffusion_unet import no_words
from cvdl_jax.ops import diffusion
from cvdl_jax.ops.tokens import BEGIN, END, PADDING
from cvdl_jax.workdir.folder import Workdir
from cvdl_jax.workdir.metric_log import read
from experiments import diffuse

quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SHAPE = (8, 8, 1)
IMAGES = jax.random.uniform(jax.random.key(5), (6, *SHAPE))
WORDS = ("<padding>", "<begin>", "<end>", "<unknown>", "a", "red", "blue", "circle", "bar", "large")
CAPTIONS = jnp.array([[[BEGIN, 4, 5, 7, END, PADDING], [BEGIN, 4, 9, 5, 7, END]], [[BEGIN, 4, 6, 8, END, PADDING]] * 2])
TEXTS = ("a red circle", "a blue bar")
SPEC = {"image": jax.ShapeDtypeStruct((6, *SHAPE), jnp.float32), "captions": jax.ShapeDtypeStruct((6, 2, 6), jnp.int32)}
INFO = Info(None, (), SPEC, {"train": 6, "validation": 6, "test": 6}, 6, 10, 1.0, 0, WORDS)


# Codes ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def words_of_images():
    """A VQ-VAE and its weights."""
    model = registry.create({"name": "vq_vae_tiny"}, "config.model", image_shape=SHAPE)
    params = quick_jit(lambda key: model.init(key, IMAGES, False)["params"])(jax.random.key(0))
    return model, jax.tree.map(lambda p: 2 * p + 0.05, params)


def state_of(params, step=0):
    extra = {"autoencoder": params, "scale": {"mean": jnp.float32(0), "std": jnp.float32(1)}}
    return State(jnp.int32(step), {}, {}, extra, {})


@pytest.mark.curriculum("S6")
def test_codes_of_the_first_batch_get_unit_variance_and_later_ones_the_same_scale(words_of_images):
    model, params = words_of_images
    space = spaces.codes(model)
    assert space.shape == (2, 2, 3) and not space.bounded
    raw = model.apply({"params": params}, IMAGES, method="encode")[0]
    measure = quick_jit(lambda state, x: space.measure(state, {"image": x}, None)[0])
    state = measure(state_of(params), IMAGES)
    np.testing.assert_allclose(state.extra["scale"]["mean"], raw.mean(), rtol=1e-4)
    np.testing.assert_allclose(state.extra["scale"]["std"], raw.std(), rtol=1e-4)
    x = quick_jit(space.encode)(state.extra, IMAGES)
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-4)
    later = measure(state._replace(step=jnp.int32(1)), IMAGES * 0.1)
    assert later.extra["scale"] == state.extra["scale"]
    logits, _ = model.apply({"params": params}, IMAGES, False)
    np.testing.assert_allclose(quick_jit(space.decode)(state.extra, x), jax.nn.sigmoid(logits), atol=1e-5)


def test_a_code_without_places_is_a_map_of_one():
    model = registry.create({"name": "autoencoder_tiny"}, "config.model", image_shape=SHAPE)
    params = model.init(jax.random.key(0), IMAGES, False)["params"]
    space, extra = spaces.codes(model), state_of(params).extra
    mean, _ = model.apply({"params": params}, IMAGES, method="encode")
    np.testing.assert_allclose(space.encode(extra, IMAGES), mean.reshape(6, 1, 1, 3), rtol=1e-5)
    logits = model.apply({"params": params}, mean, False, method="decode")
    np.testing.assert_allclose(space.decode(extra, mean.reshape(6, 1, 1, 3)), jax.nn.sigmoid(logits), rtol=1e-5)
    with pytest.raises(ConfigError, match="a conditional autoencoder needs a label to decode"):
        spaces.codes(model.clone(num_classes=10))


def test_the_autoencoder_of_a_run_is_taken_with_its_average_and_kept(words_of_images, monkeypatch):
    _, params = words_of_images
    plain = {"experiment": "autoencode", "model": {"name": "vq_vae_tiny"}}
    built = SimpleNamespace(config=configs.from_plain(plain), info=INFO)
    state = State(jnp.int32(9), jax.tree.map(jnp.zeros_like, params), {}, {"batch_stats": {}, "ema": params}, {})
    monkeypatch.setattr(latents.runs, "load_evaluated", lambda workdir, which: (built, state, 9))
    with opened.noting() as notes:
        space, extra = latents.space({"workdir": "runs/x"}, SHAPE, "float32")
    jax.tree.map(np.testing.assert_array_equal, extra["autoencoder"], params)
    assert space.shape == (2, 2, 3) and notes["autoencoder runs/x"]["model"] == {"name": "vq_vae_tiny"}
    with pytest.raises(ConfigError, match=r"autoencoder of images \[8, 8, 1\], these are \[28, 28, 1\]"):
        latents.space({"workdir": "runs/x"}, (28, 28, 1), "float32")
    built.config.model.name = "dcgan_generator_tiny"
    with pytest.raises(ConfigError, match=r"the run of 'dcgan_generator_tiny', which is no autoencoder; train one"):
        latents.space({"workdir": "runs/x"}, SHAPE, "float32")
    monkeypatch.setattr(latents.runs, "load_evaluated", None)  # a run that is read again does without its source
    with opened.noting(dict(notes)):
        again, zeros = latents.space({"workdir": "runs/x"}, SHAPE, "float32")
    assert again.shape == space.shape and jax.tree.structure(zeros) == jax.tree.structure(extra)
    assert latents.space({}, SHAPE, "float32")[1] == {}
    with pytest.raises(ConfigError, match=r"has no effect without config\.autoencoder\.workdir"):
        latents.space({"checkpoint": "latest"}, SHAPE, "float32")


@pytest.mark.long
def test_a_latent_diffusion_runs_on_an_autoencoder_that_was_trained_before(tmp_path, monkeypatch):
    log = "--config.log.tensorboard=False"
    first, second = tmp_path / "codes", tmp_path / "run"
    config = "--config=configs/generate/autoencoder.py:form=quantised,smoke"
    monkeypatch.setattr(finish, "draw", lambda run, state: None)
    assert launch.main([config, f"--workdir={first}", log]) == 0
    more = ["--config.sampler.clip=False", f"--config.autoencoder.workdir={first}", "--config.model.factors=(1,)"]
    more += ["--config.model.attention=()", "--config.sampler.steps=2", "--config.loss.predicts=v"]
    config = "--config=configs/generate/ddpm.py:data=digits,smoke"
    assert launch.main([config, f"--workdir={second}", log, *more]) == 0
    assert len(read(second / "metrics.jsonl")) == 2
    with np.load(second / "predictions" / "samples.npz") as file:
        assert file["image"].shape[1:] == SHAPE and 0 <= file["image"].min() and file["image"].max() <= 1
    scale = runs.load_built(second, "latest")[1].extra["scale"]
    assert float(scale["std"]) not in (0.0, 1.0) and float(scale["mean"]) != 0.0  # measured by the first step


# Captions -------------------------------------------------------------------------------------------------------------


def method_of(**sections):
    more = {"schedule": {"steps": 40}, "loss": {}, "sampler": {"steps": 2, "eta": 0.0}, "prompts": TEXTS, **sections}
    plain = {"compute_dtype": "float32", "remat": False, "model": {"name": "text_unet_tiny"}, **more}
    return diffuse.make_method(configs.from_plain(plain), INFO)[0]


@pytest.fixture(scope="module")
def told():
    """A network that is told captions, its state, and a function of (x, caption)."""
    method = method_of()
    x, t = IMAGES[:2], jnp.array([3, 3])
    params = quick_jit(lambda key: method.model.init(key, x, t, False)["params"])(jax.random.key(0))
    params = jax.tree.map(lambda p: p + 0.05, params)
    state = State(jnp.int32(0), params, {}, {"batch_stats": {}}, {})
    return method, state, quick_jit(lambda c: method.model.apply({"params": params}, x, t, False, caption=c)[0])


@pytest.mark.curriculum("S7", "S9")
def test_pixels_attend_to_the_words_of_their_own_caption(told):
    _, _, run = told
    two = CAPTIONS[:, 0]
    here = run(two)
    other = run(two.at[1, 2].set(5))
    np.testing.assert_array_equal(other[0], here[0])
    assert jnp.abs(other - here)[1].max() > 1e-5
    assert jnp.abs(run(two.at[1, 2].set(6).at[1, 3].set(7)) - here)[1].max() > 1e-5  # the second word counts, too
    swapped = run(two.at[0, 2].set(7).at[0, 3].set(5))
    assert jnp.abs(swapped - here)[0].max() > 1e-6  # and so does their order
    longer = jnp.pad(two, ((0, 0), (0, 3)))  # padding does not
    np.testing.assert_allclose(run(longer), here, atol=1e-5)


def test_captions_are_hidden_as_often_as_is_said():
    method = method_of(loss={"without_label": 0.25})
    many = {"image": jnp.zeros((4000, *SHAPE)), "caption": jnp.broadcast_to(CAPTIONS[:1, 0], (4000, 6))}
    seen = np.asarray(denoising.noisy(method, many, jax.random.key(0))["caption"])
    hidden = (seen == np.asarray(no_words(1, 6))).all(1)
    assert abs(hidden.mean() - 0.25) < 0.03 and (seen[~hidden] == np.asarray(CAPTIONS[0, 0])).all()
    assert np.asarray(no_words(1, 4)).tolist() == [[BEGIN, END, PADDING, PADDING]]


def test_samples_show_the_prompts_in_turn_and_guidance_of_zero_forgets_them(told):
    method, state, _ = told
    ids = prompts.sentences(TEXTS, WORDS, 6, "config.prompts")
    np.testing.assert_array_equal(denoising.in_turn(method, 3)["caption"], ids[[0, 1, 0]])
    free = method._replace(sampler=method.sampler._replace(guidance=0.0, steps=1))
    run = quick_jit(lambda caption: denoising.sample(free, state, jax.random.key(0), 2, {"caption": caption}))
    np.testing.assert_allclose(run(ids), run(ids[::-1]), atol=1e-6)


@pytest.mark.curriculum("S7")
def test_an_image_is_made_for_the_caption_that_it_is_judged_by(told, monkeypatch):
    method, state, _ = told
    seen = {}
    monkeypatch.setattr(diffuse, "sample", lambda m, s, k, n, told: seen.update(told) or jnp.full((n, *SHAPE), 0.5))
    batch = {"image": IMAGES[:2], "captions": CAPTIONS}
    rows = jax.tree.map(np.asarray, diffuse.captioned_step(method, state, batch, jax.random.key(1)))
    np.testing.assert_array_equal(seen["caption"], rows["caption"])
    assert all(
        row.tolist() in several.tolist() for row, several in zip(rows["caption"], np.asarray(CAPTIONS), strict=True)
    )
    assert (rows["image"] == 128).all()
    np.testing.assert_array_equal(rows["real"], np.round(255 * np.asarray(IMAGES[:2])))
    given = {}
    scored = lambda texts, made, real: given.update(t=texts, made=made, real=real) or {"exact": 0.5, "parser": 1.0}  # noqa: E731
    monkeypatch.setattr(diffuse.scene_parser, "scores", scored)
    kept = dict(rows)
    metrics = diffuse.captioned_finalise(WORDS, {}, kept)
    assert "a blue bar" in given["t"] and given["real"] is rows["real"] and "real" not in kept
    assert metrics["exact"] == 0.5 and metrics["exact_low"] < 0.5 < metrics["exact_high"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"prompts": ()}, r"config\.prompts=\(\) is empty"),
        ({"prompts": ("a green circle",)}, "'green' of 'a green circle' is not among the 6 words"),
        ({"prompts": ("a red circle", "a large red circle")}, "must have as many words each"),
        ({"prompts": ("a large large red red circle",)}, "has 6 words, expected 1 to 4"),
        ({"grammar": "coco"}, r"config\.grammar='coco' must be '' or 'scenes'"),
        ({"sampler": {"steps": 50}}, "a sampler of 50 steps does not fit a schedule of 40"),
        ({"model": {"name": "ddpm_tiny"}}, "is made for channels, and is given channels and vocabulary"),
        ({"model": {"name": "text_unet_tiny", "num_classes": 3}}, "this one is told a caption"),
    ],
)
def test_what_does_not_fit_captions_is_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        method_of(**settings)


def test_prompts_of_the_grammar_are_asked_for_where_a_parser_reads_them():
    with pytest.raises(DataError, match="the caption 'red a circle' is not of the grammar"):
        method_of(grammar="scenes", prompts=("red a circle",))
    plain = INFO._replace(spec={"image": SPEC["image"]})
    with pytest.raises(
        ConfigError, match=r"config\.prompts is of data with captions; set config\.data\.caption_length"
    ):
        prompts.of_captions(TEXTS, "", plain)


# Walks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("S8")
def test_walks_go_along_great_circles_of_noise_and_lines_of_words_and_come_back(told, monkeypatch):
    method, state, _ = told
    noted = {}
    monkeypatch.setattr(denoising, "denoised", lambda m, s, start, key, told: noted.update(start=start, **told, m=m))
    denoising.latent_walk(method._replace(sampler=method.sampler._replace(eta=1.0)), state, jax.random.key(0), 3, 4)
    x = np.asarray(noted["start"]).reshape(12, 64)
    assert noted["m"].sampler.eta == 0 and (np.asarray(noted["caption"]) == np.asarray(noted["caption"][:1])).all()
    w = np.arccos((x[0] * x[4]).sum() / np.linalg.norm(x[0]) / np.linalg.norm(x[4]))
    np.testing.assert_allclose(x[2], (np.sin(w / 2) * x[0] + np.sin(w / 2) * x[4]) / np.sin(w), rtol=1e-3, atol=1e-4)
    w = np.arccos((x[8] * x[0]).sum() / np.linalg.norm(x[8]) / np.linalg.norm(x[0]))
    np.testing.assert_allclose(x[10], (np.sin(w / 2) * x[8] + np.sin(w / 2) * x[0]) / np.sin(w), rtol=1e-3, atol=1e-4)
    denoising.prompt_walk(method, state, jax.random.key(0), 4)
    words, lengths = noted["text"]
    ends, sizes = method.model.apply({"params": state.params}, jnp.asarray(method.prompts), False, method="read")
    np.testing.assert_allclose(words[jnp.array([0, 4])], ends, atol=1e-5)
    np.testing.assert_allclose(words[2], (ends[0] + ends[1]) / 2, atol=1e-5)
    np.testing.assert_allclose(words[7], 0.25 * ends[1] + 0.75 * ends[0], atol=1e-5)
    assert lengths.tolist() == [5] * 8 and sizes.tolist() == [5, 5]
    assert (np.asarray(noted["start"]) == np.asarray(noted["start"][:1])).all()


@pytest.mark.curriculum("S8")
def test_an_animation_is_saved_as_one_picture_of_several_frames(tmp_path):
    frames = np.zeros((3, 2, 2, 3))
    frames[1, 0, 0, 0] = frames[2, 1, 1, 2] = 2.0  # too bright
    finish.save_figures(Workdir(tmp_path), {"walk": Animation(frames, 0.25, 2)}, "nothing")
    with Image.open(io.BytesIO((tmp_path / "figures" / "walk.png").read_bytes())) as picture:
        assert picture.n_frames == 3 and picture.size == (4, 4) and picture.info["loop"] == 0
        picture.seek(1)
        assert picture.info["duration"] == 250 and picture.convert("RGB").getpixel((1, 1)) == (255, 0, 0)
        picture.seek(2)
        assert picture.convert("RGB").getpixel((3, 3)) == (0, 0, 255)


def test_a_scan_of_codes_is_bounded_by_nothing(words_of_images):
    model, _ = words_of_images
    sampler = denoising.Sampler(steps=2)
    method = denoising.Denoising(
        SimpleNamespace(num_classes=0), diffusion.linear(40), "noise", 0.1, sampler, spaces.codes(model)
    )
    with pytest.raises(ConfigError, match=r"codes have no bounds; set config\.sampler\.clip=False"):
        denoising.check(method, None, False)


@pytest.mark.curriculum("S6")
def test_noise_is_not_predicted_where_its_errors_would_grow_without_bounds(words_of_images):
    model, _ = words_of_images
    parts = (
        SimpleNamespace(num_classes=0),
        diffusion.cosine(1000),
        "noise",
        0.1,
        denoising.Sampler(steps=50, clip=False),
    )
    method = denoising.Denoising(*parts, spaces.codes(model))
    with pytest.raises(ConfigError, match=r"multiplies each error by 632; set config\.loss\.predicts='v'"):
        denoising.check(method, None, False)
    for other in ({"predicts": "v"}, {"predicts": "image"}, {"schedule": diffusion.linear(1000)}):
        denoising.check(method._replace(**other), None, False)

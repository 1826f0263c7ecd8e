"""A new norm, loss, optimizer, schedule, penalty, augmentation, experiment or data set is one function or file.

Each test adds one from outside of the tree and uses it by its name in a config. No list, table or registry is edited.
"""

import inspect
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from cvdl_jax.config import configs
from cvdl_jax.config.binding import functions
from cvdl_jax.core.task import create_state, step_function
from cvdl_jax.data import augment, builders, prepare
from cvdl_jax.data.augment import policy
from cvdl_jax.engine import recipe
from cvdl_jax.engine.build import build
from cvdl_jax.engine.program import to_unit
from cvdl_jax.errors import ConfigError, UserError
from cvdl_jax.nn import norms
from cvdl_jax.ops.losses import adversarial, classification, detection, td
from cvdl_jax.optim import regularisers, schedules, update_rules
from cvdl_jax.rl import environment, policies


@pytest.fixture
def append():
    """`append(module, source)`: what the module would be with this text at its end, until the test is over."""
    added = []

    def add(module, source):
        before = set(vars(module))
        exec(compile(textwrap.dedent(source), module.__file__, "exec"), vars(module))
        added.extend((module, name) for name in vars(module).keys() - before)

    yield add
    for module, name in added:
        delattr(module, name)


def config_with(**sections):
    """A perceptron on a toy set, two steps of plain gradient descent, with other sections where they are given."""
    config = configs.base()
    config.update(
        {
            "total_steps": 2,
            "batch_size": 8,
            "data": {"name": "spirals", "train": "train[:32]", "validation": "validation[:16]"},
            "model": {"name": "mlp", "hidden": (4,)},
            "loss": {"name": "softmax_cross_entropy"},
            "optim": {"name": "sgd", "lr": 0.5},
            **sections,
        }
    )
    return configs.from_plain(configs.to_plain(config))


def start(config):
    """The task of a config, its first batch and its first state."""
    run = build(config)
    batch = to_unit(run.data.splits["train"].batch(np.arange(8)))
    return run.task, batch, create_state(run.task, jax.random.key(0), batch)


def first_step(config):
    """The batch of a config, its state before and after the first step, and the step's sums."""
    task, batch, before = start(config)
    return batch, before, *jax.jit(step_function(task, seed=0))(before, batch)


def test_a_loss(append):
    source = '''
        def hits_only(logits: jax.Array, labels: jax.Array, price: float = 1.0) -> jax.Array:
            """A loss for this test: the price of each example. Args: logits [b, c], labels [b]. Returns: [b]."""
            return price + 0 * logits.sum(1)
    '''
    append(classification, source)
    sums = first_step(config_with(loss={"name": "hits_only", "price": 2.5}))[-1]
    np.testing.assert_allclose(sums["loss"], (20.0, 8.0), rtol=1e-6)
    with pytest.raises(ConfigError, match=r"^config\.loss\.name='hit_only' is not known; did you mean 'hits_only'"):
        build(config_with(loss={"name": "hit_only"}))


def test_an_update_rule(append):
    source = '''
        def signs(*, scale: Positive = 1.0) -> Rule:
            """A rule for this test: the sign of the gradient."""
            sign = optax.stateless(lambda updates, params: jax.tree.map(lambda g: scale * jnp.sign(g), updates))
            return Rule(sign, decoupled=True)
    '''
    append(update_rules, source)
    optim = {"name": "signs", "lr": 0.25, "scale": 2.0}
    _, before, after, _ = first_step(config_with(optim=optim))
    np.testing.assert_allclose(np.abs(after.params["head"]["bias"] - before.params["head"]["bias"]), 0.5, rtol=1e-5)
    with pytest.raises(ConfigError, match=r"^config\.optim\.scale=-1\.0 must be positive and finite$"):
        build(config_with(optim={**optim, "scale": -1.0}))
    # Decay of 0.1 after the rule: w <- w - lr (sign(g) + 0.1 w), also where the gradient is 0.
    decayed = recipe.optimizer({**optim, "scale": 1.0, "weight_decay": 0.1}, build(config_with()).info)
    w = {"kernel": jnp.array([[4.0, -8.0]])}
    updates, _ = decayed.update({"kernel": jnp.array([[3.0, 0.0]])}, decayed.init(w), w)
    np.testing.assert_allclose(updates["kernel"], [[-0.25 * (1 + 0.4), 0.25 * 0.8]], rtol=1e-6)


def test_a_schedule_and_a_penalty(append):
    source = '''
        def halves(steps: int, *, by: Positive = 2.0) -> Factor:
            """A schedule for this test: 1, 1 / by, 1 / by^2 ..."""
            return lambda t: 1 / by**t
    '''
    append(schedules, source)
    source = '''
        def pull(*, strength: NotNegative, on: str = ".*") -> Penalty:
            """A penalty for this test: the same slope for every weight."""
            return Penalty(on, lambda w: strength * jnp.ones_like(w))
    '''
    append(regularisers, source)
    section = {"name": "sgd", "lr": 1.0, "schedule": {"name": "halves", "by": 4.0}}
    made = recipe.optimizer({**section, "penalty": {"name": "pull", "strength": 3.0}}, build(config_with()).info)
    state, w = made.init({"w": jnp.zeros(1)}), {"w": jnp.zeros(1)}
    for expected in (-3.0, -0.75):
        updates, state = made.update({"w": jnp.zeros(1)}, state, w)
        np.testing.assert_allclose(updates["w"], [expected], rtol=1e-6)


def test_a_norm(append):
    source = '''
        def nothing_left(keep: float = 0.0, *, dtype: Any) -> Layer:
            """A norm for this test: a share of the input."""
            return lambda x, train, name: (keep * x).astype(dtype)
    '''
    append(norms, source)

    def scores(norm):
        task, batch, state = start(config_with(model={"name": "mlp", "hidden": (4,), "norm": norm}))
        return task.predict(state, batch)["scores"]

    np.testing.assert_array_equal(scores("nothing_left"), 0)  # of the head's bias alone, which begins at 0
    np.testing.assert_array_equal(scores("nothing_left(keep=1.0)"), scores("none"))
    with pytest.raises(ConfigError, match=r"^config\.model\.norm='nothing_lefd' is not known; did you mean 'nothing_"):
        scores("nothing_lefd")


def test_an_augmentation(tmp_path, monkeypatch):
    (tmp_path / "negatives.py").write_text(
        '''
"""An augmentation for this test."""

def negative(top: float = 1.0):
    """`top - image`."""
    return lambda state, batch, key: (state, {**batch, "image": top - batch["image"]}, {})
'''
    )
    known = policy.operations() | policy.operations(tmp_path)  # as if the file lay in the folder
    monkeypatch.setattr(policy, "operations", lambda: known)
    monkeypatch.setattr(augment, "__path__", [*augment.__path__, str(tmp_path)])
    transform = recipe.augmentation(config_with(augment="negative(top=3.0) | flip"), build(config_with()).info)
    batch = {"image": jnp.ones((2, 4, 4, 1)), "label": jnp.zeros(2, jnp.int32)}
    np.testing.assert_array_equal(transform.update(None, batch, jax.random.key(0))[1]["image"], 2.0)


def test_an_experiment(tmp_path):
    path = tmp_path / "means.py"
    path.write_text(
        '''
"""An experiment for this test: the mean of the features. params: {"mean": [d]}."""

import jax.numpy as jnp

from cvdl_jax.core.task import Task
from cvdl_jax.engine import recipe


def training_loss(state, batch, key):
    """Half the squared distance from the mean."""
    gaps = batch["features"] - state.params["mean"][None]
    return state, {"loss": (0.5 * (gaps**2).sum(), jnp.full((), len(gaps), gaps.dtype))}


def make(config, info) -> Task:
    """The task of a configuration."""
    dimensions = info.spec["features"].shape[1]
    init = lambda key, batch: {"params": {"mean": jnp.zeros(dimensions)}}
    return Task(init, recipe.descend(config, info, training_loss))
'''
    )
    batch, _, after, _ = first_step(config_with(experiment=str(path), loss={}, model={}))
    np.testing.assert_allclose(after.params["mean"], 0.5 * batch["features"].mean(0), rtol=1e-5, atol=1e-7)


STRIPES = '''
"""A data set for this test: horizontal and vertical stripes."""

import io

import numpy as np
import tensorflow_datasets as tfds


class Stripes(tfds.core.GeneratorBasedBuilder):
    """Two classes of 4x4 images."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(4, 4, 1), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=["horizontal", "vertical"]),
        }
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        from PIL import Image

        for i in range(16):
            rows = np.repeat(np.array([[0], [255], [0], [255]], np.uint8), 4, 1)
            png = io.BytesIO()
            Image.fromarray(rows if i % 2 == 0 else rows.T).save(png, format="PNG")
            yield i, {"image": png.getvalue(), "label": i % 2}
'''


def test_a_data_set(tmp_path, monkeypatch):
    (tmp_path / "stripes.py").write_text(STRIPES)
    monkeypatch.setattr(prepare, "_BUILDERS", tmp_path)
    monkeypatch.setattr(builders, "__path__", [*builders.__path__, str(tmp_path)])
    data = {"name": "stripes", "data_dir": str(tmp_path / "data"), "train": "train", "cache": False}
    task, batch, state = start(config_with(data=data))
    assert batch["label"].tolist() == [0, 1] * 4
    np.testing.assert_array_equal(batch["image"][1, 0, :, 0], [0, 1, 0, 1])
    assert task.predict(state, batch)["scores"].shape == (8, 2)


# A user's own folder ------------------------------------------------------------------------------------------------

OWN = {
    "models/backbones/mynet.py": '''
        """A family for this test, with the signature of README."""

        import flax.linen as nn

        VARIANTS = {"mynet_s": {"input": (4, 4, 1), "num_classes": 2, "params": 34, "scale": 1.0}}

        class MyNet(nn.Module):
            num_classes: int
            dtype: object
            scale: float = 1.0

            @nn.compact
            def __call__(self, x, train):
                x = self.scale * x.reshape(len(x), -1)
                return nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x), {"pre_logits": x}

        def build(variant, num_classes, dtype, **overrides):
            fields = {"scale": VARIANTS[variant]["scale"], **overrides}
            return MyNet(num_classes=num_classes, dtype=dtype, **fields)
    ''',
    "ops/losses/classification.py": '''
        import jax

        def priced(logits: jax.Array, labels: jax.Array, price: float = 1.0) -> jax.Array:
            return price + logits.sum(1)
    ''',
    "optim/update_rules.py": '''
        import jax
        import jax.numpy as jnp
        import optax
        from cvdl_jax.optim.update_rules import Rule

        def signs(*, scale: float = 1.0) -> Rule:
            return Rule(optax.stateless(lambda updates, params: jax.tree.map(lambda g: scale * jnp.sign(g), updates)))
    ''',
    "data/augment/negatives.py": '''
        def negative(top: float = 1.0):
            return lambda state, batch, key: (state, {**batch, "image": top - batch["image"]}, {})
    ''',
    "data/builders/stripes.py": STRIPES,
    "data/toys.py": '''
        import numpy as np

        def dots(normal: np.ndarray, unit: np.ndarray, label: np.ndarray, num_classes: int = 2) -> np.ndarray:
            return normal[:, :2] + 9.0 * label[:, None]
    ''',
}  # fmt: skip


@pytest.fixture
def extend(tmp_path, monkeypatch):
    """`extend(path, text)` puts a file into extensions/ of an empty current folder."""
    monkeypatch.chdir(tmp_path)

    def write(path, text):
        file = tmp_path / "extensions" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return file

    return write


def test_files_of_a_users_own_are_found_in_the_current_folder(extend, tmp_path):
    for path, text in OWN.items():
        extend(path, text)
    data = {"name": "stripes", "data_dir": str(tmp_path / "data"), "train": "train", "cache": False}
    config = config_with(
        data=data, model={"name": "mynet_s", "scale": 2.0}, loss={"name": "priced", "price": 3.0},
        optim={"name": "signs", "lr": 0.5, "scale": 2.0}, augment="negative(top=5.0)",
    )  # fmt: skip
    _, before, after, sums = first_step(config)
    # The logits' gradient is 1, the image's pixels are 5 - {0, 1}: every weight goes down by lr * scale = 1.
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(after.params["head"][name] - before.params["head"][name], -1.0, rtol=1e-5)
    pixels = 5 - start(config)[1]["image"].reshape(8, 16)
    loss = 3 + 2 * (pixels @ before.params["head"]["kernel"]).sum(1)
    np.testing.assert_allclose(sums["loss"], (loss.sum(), 8), rtol=1e-5)
    points = start(config_with(data={"name": "dots", "train": "train[:32]"}))[1]["features"]
    assert points[0::2].mean() < 4 < points[1::2].mean()
    with pytest.raises(ConfigError, match=r"'signz'.*'signs'"):
        build(config_with(optim={"name": "signz", "lr": 0.5}))
    with pytest.raises(ConfigError, match=r"'mynet_z' is not a model; did you mean 'mynet_s'"):
        build(config_with(model={"name": "mynet_z"}))


def test_a_model_of_ones_own_is_described(extend, capsys):
    file = extend("models/backbones/mynet.py", OWN["models/backbones/mynet.py"])
    assert launch.main(["--mode", "describe", "--config", "mynet_s"]) == 0
    said = capsys.readouterr().out
    assert f"mynet_s ({file}), input 4x4x1" in said and "34" in said.splitlines()[-1]


def test_an_environment_of_ones_own_is_found_by_its_name(extend):
    extend("rl/corridor.py", "\ndef make(length: int = 3):\n    return length")
    assert environment.create({"name": "corridor", "length": 5}) == 5
    with pytest.raises(ConfigError, match=r"^config\.environment\.lenght is not an argument of make: did you mean"):
        environment.create({"name": "corridor", "lenght": 5})
    extend("rl/cartpole.py", "\ndef make(): ...")
    with pytest.raises(ConfigError, match="has 'cartpole', which is the name of one of ours"):
        environment.create({"name": "corridor"})


@pytest.mark.parametrize(
    ("path", "text", "section", "said"),
    [
        ("optim/update_rules.py", "def adam(*, beta: float = 0.9): ...", {},
         "has 'adam', which is the name of one of ours (cvdl_jax.optim.update_rules); rename yours"),
        ("optim/update_rules.py", "def mine(*, beta: float = 0.9): ...", {},
         "mine must say that it returns a Rule: def mine(...) -> Rule"),
        ("optim/update_rules.py", "def mine(:", {}, "extensions/optim/update_rules.py, line 1: invalid syntax"),
        ("ops/losses/classification.py", "def softmax_cross_entropy(logits, labels): ...", {}, "rename yours"),
        ("models/backbones/mine.py", "VARIANTS = {'lenet5': {'input': (1,), 'num_classes': 2}}\n"
         "def build(variant, num_classes, dtype): ...", {}, "has 'lenet5', which is the name of one of ours"),
        ("models/backbones/mine.py", "x = 1", {}, "has no literal table VARIANTS"),
        ("data/augment/mine.py", "def flip(): ...", {"augment": "flip"}, "has 'flip', which is the name of"),
        ("data/builders/digits.py", "", {"data": {"name": "digits", "train": "train"}}, "has 'digits', which is"),
        ("data/builders/mine.py", "", {"data": {"name": "mine", "train": "train"}},
         "must define one tfds.core.GeneratorBasedBuilder, and defines 0"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_users_own_file_is_said(extend, path, text, section, said):
    extend(path, text)
    with pytest.raises(UserError) as refused:
        build(config_with(**section))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("module", "given"),
    [
        (classification, ["logits", "labels"]),
        (detection, ["logits", "labels"]),
        (adversarial, []),
        (td, ["errors"]),
        (policies, ["keys", "values", "step"]),
    ],
    ids=lambda value: value.__name__ if inspect.ismodule(value) else "",
)
def test_a_module_that_a_config_chooses_from_offers_no_helper(module, given):
    """Every public function takes what the experiment gives it, and a default for whatever else it takes."""
    for name, function in functions(module).items():
        parameters = list(inspect.signature(function).parameters.values())
        assert [p.name for p in parameters[: len(given)]] == given, name
        assert function.__doc__, name

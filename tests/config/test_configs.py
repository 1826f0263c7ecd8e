"""Configs: arguments, overrides, durations, calls, and the message of every mistake."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvdl_jax.config import configs
from cvdl_jax.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
from cvdl_jax.config import configs
def get_config(arg=None):
    arg = configs.parse_arg(arg, smoke=False, depth=20)
    config = configs.base()
    config.total_epochs = 40
    config.model = dict(name="resnet", depth=arg.depth)
    config.data = dict(name="digits", crop=[1, 2])
    config.optim = dict(name="adamw", lr=2e-3, schedule=dict(name="cosine", warmup_epochs=5))
    return configs.smoke(config, limit=64) if arg.smoke else config
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "resnet.py"
    path.write_text(CONFIG)
    return str(path)


def refusal(call, *args, **kwargs) -> str:
    with pytest.raises(ConfigError) as error:
        call(*args, **kwargs)
    return str(error.value)


def test_parse_arg_takes_types_from_the_defaults():
    arg = configs.parse_arg(
        "depth=56, smoke,lr=1,shape=(3,4),name=a=b", depth=20, smoke=False, lr=0.5, shape=(1,), name="x"
    )
    assert arg.to_dict() == {"depth": 56, "smoke": True, "lr": 1.0, "shape": (3, 4), "name": "a=b"}
    assert isinstance(arg.lr, float)
    assert configs.parse_arg(None, depth=20).depth == 20
    assert configs.parse_arg("smoke=false", smoke=True).smoke is False


@pytest.mark.parametrize(
    ("arg", "words"),
    [
        ("dept=3", ["'dept'", "did you mean 'depth'"]),
        ("depth", ["'depth'", "needs a value of type int", "depth=20"]),
        ("depth=x", ["depth='x'", "expected int"]),
        ("depth=1.5", ["depth='1.5'", "expected int"]),
        ("depth=1,depth=2", ["'depth'", "twice"]),
        ("smoke=3", ["smoke='3'", "expected bool"]),
    ],
)
def test_parse_arg_names_the_argument_the_value_and_the_type(arg, words):
    message = refusal(configs.parse_arg, arg, depth=20, smoke=False)
    assert all(word in message for word in words), message


def test_parse_arg_chooses_among_words():
    sets = configs.OneOf({"digits": 1e-2, "mnist": 1e-3})
    assert configs.parse_arg(None, data=sets).data == configs.parse_arg("data=digits", data=sets).data == "digits"
    assert configs.parse_arg("smoke,data=mnist", data=sets, smoke=False).to_dict() == {"data": "mnist", "smoke": True}
    message = refusal(configs.parse_arg, "data=minst", data=sets)
    expected = "config argument data='minst'; expected one of 'digits', 'mnist'; did you mean 'mnist'?"
    assert message == expected
    assert "'data' needs a value of type str, as in data=digits" in refusal(configs.parse_arg, "data", data=sets)


def test_a_wrong_data_set_is_refused_before_anything_starts():
    message = refusal(configs.load, "configs/classify/lenet5.py:data=cifar,smoke")
    assert "data='cifar'" in message and "'digits', 'mnist', 'cifar10'" in message and "mean 'cifar10'" in message


def test_overrides_take_the_type_of_the_present_value(file):
    overrides = [
        "--config.optim.lr=1", "config.batch_size=1e2", "config.model.name=vit", "config.data.crop=3,4",
        "config.remat=true", "config.optim.schedule.final=0.1", "config.model.note=0.5 or so",
        "config.steps_per_call=8", "config.init_from=123", "config.log.wandb='a b'",
    ]  # fmt: skip
    config = configs.load(file, overrides)
    assert config.optim.lr == 1.0 and isinstance(config.optim.lr, float)
    assert config.batch_size == 100 and isinstance(config.batch_size, int)
    assert config.data.crop == (3, 4)
    assert config.remat is True
    assert (config.model.name, config.model.note, config.init_from) == ("vit", "0.5 or so", "123")
    assert (config.optim.schedule.final, config.steps_per_call, config.log.wandb) == (0.1, 8, "a b")


def test_an_override_replaces_the_unit_of_a_duration(file):
    config = configs.load(
        file, ["config.total_steps=7", "config.eval.every_steps=3", "config.optim.schedule.warmup_percent=5"]
    )
    assert (config.total_steps, config.total_epochs) == (7, None)
    assert dict(config.eval) == {"every_steps": 3}
    assert dict(config.optim.schedule) == {"name": "cosine", "warmup_percent": 5}
    assert configs.load(file, ["config.total_epochs=0.5"]).total_epochs == 0.5  # 40 in the file, not only whole ones


@pytest.mark.parametrize(
    ("first", "last", "key", "value"),
    [
        ("config.optim.lr=0.1", "--config.optim.lr=0.2", "lr", 0.2),
        ("config.total_steps=7", "config.total_epochs=3", None, 3),
        ("config.total_epochs=3", "config.total_steps=7", None, 7),
    ],
)
def test_the_last_of_two_equal_overrides_wins_with_a_word(file, first, last, key, value):
    with pytest.warns(UserWarning, match=f"^{re.escape(f'{last!r} replaces {first!r}')}"):
        config = configs.load(file, [first, last])
    if key:
        assert config.optim[key] == value
    else:
        assert [config.total_steps, config.total_epochs] == ([None, 3] if value == 3 else [7, None])


def test_whole_floats_and_words_mean_what_people_mean(file):
    """4.0 is a batch size, a name alone is a section with this name, None clears what may be empty."""
    config = configs.load(file, ["config.batch_size=4.0", "config.checkpoint.keep=3.0", "config.optim.schedule=cosine"])
    assert (config.batch_size, type(config.batch_size), type(config.checkpoint.keep)) == (4, int, int)
    assert dict(config.optim.schedule) == {"name": "cosine"}
    assert configs.load(file, ["config.class_weights=None", "config.data.crop=None"]).data.crop is None
    typed = configs.load(file, ["config.batch_size=4"])
    assert configs.digest(typed) == configs.digest(configs.load(file, ["config.batch_size=4.0"]))
    sections = ["config.optim={}", "config.optim.schedule=cosine"]
    assert configs.load(file, sections).optim.schedule == "cosine"  # the optimizer, too, takes the name alone


IMPOSSIBLE = [
    ("config.optm.lr=1", ["config.optm", "did you mean 'optim'"]),
    ("config.batch_sise=1", ["config.batch_sise", "did you mean 'batch_size'"]),
    ("config.batch_size=0", ["config.batch_size=0", "from 1 to 1,048,576"]),
    ("config.batch_size=-4", ["config.batch_size=-4", "from 1 to 1,048,576"]),
    ("config.batch_size=1.5", ["config.batch_size='1.5'", "expected int"]),
    ("config.batch_size=True", ["config.batch_size='True'", "expected int"]),
    ("config.seed=-1", ["config.seed=-1", "at least 0"]),
    ("config.total_epochs=-1", ["config.total_epochs=-1", "positive"]),
    ("config.total_epochs=0", ["config.total_epochs=0", "positive"]),
    ("config.total_steps=-1", ["config.total_steps=-1", "0 or more"]),
    ("config.total_steps=1.5", ["config.total_steps=1.5", "int"]),
    ("config.total_epochs=many", ["config.total_epochs='many'", "float"]),
    ("config.eval.every_steps=0", ["config.eval.every_steps=0", "1 or more"]),
    ("config.eval.every_percent=101", ["config.eval.every_percent=101", "between 0 and 100"]),
    ("config.eval.evry_steps=3", ["config.eval.evry_steps", "did you mean 'every_steps'"]),
    ("config.log.tensorboad=False", ["config.log.tensorboad", "did you mean 'tensorboard'"]),
    ("config.checkpoint.keep=0", ["config.checkpoint.keep=0", "1 or more"]),
    ("config.compute_dtype=bfloat17", ["config.compute_dtype='bfloat17'", "did you mean 'bfloat16'"]),
    ("config.parallel.mode=jitt", ["config.parallel.mode='jitt'", "did you mean 'jit'"]),
    ("config.parallel={'mode':'pmap','fsdp':2}", ["config.parallel.fsdp", "jit"]),
    ("config.select.mode=maximum", ["config.select.mode='maximum'", "'max'"]),
    ("config.steps_per_call=0", ["config.steps_per_call=0", "from 1 to 100,000"]),
    ("config.steps_per_call=autos", ["config.steps_per_call='autos'", "'auto'"]),
    ("config.grad=sm(0.1)", ["config.grad", "did you mean 'sam'"]),
    ("config.augment=flip | crop(", ["config.augment", "position 12"]),
    ("config.ema.decay=1.0", ["config.ema.decay=1.0", "[0, 1)"]),
    ("config.ema.warmup=True", ["config.ema.decay is missing"]),
    ("config.ema=3", ["config.ema is a section"]),
    ("config.normalise={'mean':(0.5,),'std':(0.0,)}", ["config.normalise", "positive"]),
    ("config.normalise={'mean':(0.5,),'std':(1.0,1.0)}", ["config.normalise", "one length"]),
    ("config.model.name.x=3", ["config.model.name='resnet'", "not a section"]),
    ("config.optim.lr=-1.0", ["config.optim.lr=-1.0", "0 or more, and finite"]),
    ("config.optim.lr=1e999", ["config.optim.lr=inf", "float32"]),
    ("config.optim.momentum=1e39", ["config.optim.momentum=1e+39", "float32"]),
    ("config.plateau={'metric': 'a', 'patience': 10000000000}", ["config.plateau.patience=10000000000", "too large"]),
    ("config.eval_batch_size=1000000000", ["config.eval_batch_size=1000000000", "from 0 to 1,048,576"]),
    ("config.batch_size=None", ["config.batch_size=None", "expected int"]),
    ("config.optim.lr=fast", ["config.optim.lr='fast'", "expected float"]),
    ("config.optim.lr_factors={'head/.*': 2.0}", ["config.optim.lr_factors", "(('head/.*', 2.0), ...)"]),
    ("batch_size=3", ["batch_size=3", "--config.optim.lr=0.1"]),
    ("config.batch_size", ["config.batch_size", "--config.optim.lr=0.1"]),
]


@pytest.mark.parametrize(("override", "words"), IMPOSSIBLE, ids=[override for override, _ in IMPOSSIBLE])
def test_impossible_values_are_refused_by_name(file, override, words):
    message = refusal(configs.load, file, [override])
    assert all(word in message for word in words), message


def test_a_run_needs_exactly_one_length(file):
    config = configs.load(file)
    config.total_steps = 5
    assert "config.total_steps and config.total_epochs" in refusal(configs.check, config)
    config.total_steps = config.total_epochs = None
    assert "set config.total_epochs or config.total_steps" in refusal(configs.check, config)
    config.total_steps = 0  # an analysis run
    configs.check(config)


def test_a_file_is_read_as_it_is_now(file, monkeypatch):
    """Another text of the same length and time, for which Python would take the bytecode that it kept of the first."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path, seen = Path(file), []
    text = path.read_text()
    for seed in (1, 2):
        changed = text.replace("return config", f"config.seed = {seed}; return config", 1)
        assert changed != text
        path.write_text(changed)
        os.utime(path, (10**9, 10**9))
        seen.append(configs.load(file).seed)
    assert seen == [1, 2]


def test_load_explains_a_missing_or_broken_file(tmp_path, file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert configs.load("resnet.py").model.name == "resnet"  # relative to the working directory
    assert "there is no config file 'configs/classify/lenet.py'" in refusal(configs.load, "configs/classify/lenet.py")
    (tmp_path / "a.py").write_text("x = 1")
    assert "get_config" in refusal(configs.load, "a.py")
    (tmp_path / "b.py").write_text("def get_config(arg=None):\n  return 1 +")
    assert "line 2" in refusal(configs.load, "b.py")
    (tmp_path / "c.py").write_text("def get_config(arg=None):\n  return {'a': 1}")
    assert "configs.base()" in refusal(configs.load, "c.py")
    (tmp_path / "d.py").write_text(CONFIG.replace("config.total_epochs", "config.total_epoch"))
    message = refusal(configs.load, "d.py")
    assert "config.total_epoch" in message and "did you mean 'total_epochs'" in message and len(message) < 300
    (tmp_path / "e.py").write_text(CONFIG.replace("lr=2e-3", "lr=2e-3, lr_factors={'head/.*': 2.0}"))
    assert "(('head/.*', 2.0), ...)" in refusal(configs.load, "e.py")
    assert "did you mean 'depth'" in refusal(configs.load, "resnet.py:deepth=3")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("digits/lenet5.py", "configs/classify/lenet5.py"),
        ("mnist/lenet5.py:smoke", "configs/classify/lenet5.py:data=mnist"),
        ("cifar10/mlp.py", "configs/classify/mlp.py:data=cifar10"),  # there is a toy/mlp.py, too
        ("mnist/dcgan.py", "configs/generate/dcgan.py:data=mnist"),
        ("tiny_shakespeare/gru.py", "configs/sequence/char_rnn.py:cell=gru"),
        ("shapes/detect.py", "configs/detect/anchors.py"),
        ("digits/tsne.py", "configs/explain/tsne.py"),
        ("toy/blobs.py", "configs/toy/mlp.py:data=blobs"),
        ("cartpole/dqn.py", "configs/rl/dqn.py"),
        ("toy/xr.py", "configs/toy/mlp.py"),
    ],
)
def test_a_config_in_another_folder_is_suggested(typed, meant):
    assert f"did you mean {meant!r}?" in refusal(configs.load, f"configs/{typed}")


def test_own_keys_of_an_experiment_are_declared():
    config = configs.base(critic_steps=5)
    config.critic_steps = 3
    with pytest.raises(AttributeError, match="critic_step"):
        config.critic_step = 3


def test_smoke_is_two_steps_with_one_evaluation_at_the_end(file):
    config = configs.load(file + ":smoke,depth=8", ["config.seed=1"])
    assert (config.total_steps, config.total_epochs, config.batch_size, config.model.depth) == (2, None, 16, 8)
    assert config.log.every_steps == 1 and dict(config.eval) == {"every_percent": 100}
    assert config.data.limit == 64 and config.optim.schedule.warmup_steps == 1
    assert "warmup_epochs" not in config.optim.schedule


def test_a_config_survives_json(file):
    config = configs.load(
        file, ["config.optim.lr_factors=(('head/.*', 2.0),)", "config.plateau={'metric': 'a', 'mode': 'min'}"]
    )
    again = configs.from_plain(json.loads(json.dumps(configs.to_plain(config))))
    assert again == config
    assert again.data.crop == (1, 2)
    assert configs.digest(again) == configs.digest(config)
    assert configs.differences(config, again) == []
    configs.apply_overrides(again, ["config.optim.lr=0.5", "config.model.width=2", "config.plateau={}"])
    assert configs.digest(again) != configs.digest(config)
    assert configs.differences(config, again) == [
        "model.width: (absent) -> 2", "optim.lr: 0.002 -> 0.5", "plateau: (absent) -> {}",
        "plateau.metric: 'a' -> (absent)", "plateau.mode: 'min' -> (absent)",
    ]  # fmt: skip


_leaf = st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans(), st.text(), st.none())
_values = st.recursive(
    st.one_of(_leaf, st.lists(_leaf, max_size=3).map(tuple)),
    lambda inner: st.dictionaries(st.text("abcde_", min_size=1, max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abcde_", min_size=1, max_size=4), _values, max_size=4))
def test_any_content_survives_json(values):
    config = configs.from_plain(values)
    again = configs.from_plain(json.loads(json.dumps(configs.to_plain(config))))
    assert configs.to_plain(again) == configs.to_plain(config)
    assert configs.digest(again) == configs.digest(config)


@pytest.mark.long
def test_configs_import_nothing_heavy():
    code = (
        "import sys, cvdl_jax.config.configs; print([m for m in ('jax', 'flax', 'optax', 'orbax') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# What two config files may share: less than ten lines in a row.


def code_lines(text: str) -> list[str]:
    """The lines of a file without its docstring, imports, comments and blank lines."""
    body = ast.parse(text).body
    kept = [node for node in body if not isinstance(node, ast.Import | ast.ImportFrom)]
    if kept and ast.get_docstring(ast.parse(text)) is not None:
        kept = kept[1:]
    lines = [line for node in kept for line in text.splitlines()[node.lineno - 1 : node.end_lineno]]
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def shared_lines(texts: dict[str, str], n: int = 10) -> list[tuple[str, str, str]]:
    """(file, file, first line) of every n lines in a row that two files have in common."""
    seen: dict[tuple[str, ...], str] = {}
    shared = []
    for name, text in texts.items():
        lines = code_lines(text)
        windows = {tuple(lines[start : start + n]) for start in range(len(lines) - n + 1)}
        shared += [(seen[window], name, window[0]) for window in windows if window in seen]
        seen |= dict.fromkeys(windows, name)
    return shared


def test_no_two_configs_share_ten_lines():
    paths = sorted((ROOT / "configs").rglob("*.py"))
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    assert len(texts) > 30 and shared_lines(texts) == []


def test_shared_lines_are_noticed():
    lines = [f"x{i} = {i}" for i in range(10)]
    first = '"""One."""\n\nimport a\n\n' + "\n\n".join(lines)
    second = '"""Two."""\n\nfrom b import c\n\ny = 0\n' + "\n# why\n".join(lines) + "\nz = 1\n"
    assert shared_lines({"first": first, "second": second}) == [("first", "second", "x0 = 0")]
    assert shared_lines({"first": first, "second": second.replace("x9 = 9", "x9 = 8")}) == []


def test_a_file_that_imports_a_module_of_before_is_told_where_modules_are(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from cvdl_jax import configs\n")
    with pytest.raises(ConfigError, match=r"mine\.py: .*'configs'.*docs/design\.md .* from cvdl_jax\.config import"):
        configs.load(str(path))
    path.write_text("import no_such_package_of_the_user\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_package_of_the_user"):
        configs.load(str(path))

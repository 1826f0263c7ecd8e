"""Grid, random and k-fold sweeps: which runs they are, what is refused before any of them runs."""

import ast
import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import KFold

import launch
from cvdl_jax.cli.sweeps import grid, kfold, random, spec
from cvdl_jax.cli.tables import build_all
from cvdl_jax.config import configs
from cvdl_jax.data.catalogue import open_source
from cvdl_jax.data.sources import Interval, parse_split
from cvdl_jax.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[2]
SWEEPS = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "configs" / "sweeps").glob("*.py") if p.stat().st_size)
BASE = {
    "config": "configs/classify/softmax.py:smoke", "objective": {"metric": "validation/accuracy"},
    "grid": {"optim.lr": [0.1, 0.01]},
}  # fmt: skip


def sweep_file(folder, **values):
    """A sweep of BASE with these keys instead; None leaves one out."""
    found = {key: value for key, value in {**BASE, **values}.items() if value is not None}
    path = folder / "mine.py"
    path.write_text(f"def get_sweep(arg=None):\n    return {found!r}\n")
    return str(path)


def planned(folder, *overrides, **values):
    return spec.planned(spec.load(sweep_file(folder, **values)), overrides, folder / "root")


# Grid -------------------------------------------------------------------------------------------------------------


def test_grid_is_every_combination_in_order():
    assert grid.points({"a": [1, 2], "b": ["x", "y", "z"]}, "f") == [
        {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 1, "b": "z"},
        {"a": 2, "b": "x"}, {"a": 2, "b": "y"}, {"a": 2, "b": "z"},
    ]  # fmt: skip
    assert len(grid.points({"a": [1, 1.0, True]}, "f")) == 3  # other types are other values


@pytest.mark.parametrize(
    ("values", "words"),
    [([1, 2, 1], "a lists 1 twice"), ([], "must be a list of values"), (3, "must be a list of values")],
)
def test_grid_mistakes(values, words):
    with pytest.raises(ConfigError, match=f"f: .*{words}"):
        grid.points({"a": values}, "f")


# Random -----------------------------------------------------------------------------------------------------------

DRAWS = {
    "optim.lr": {"log_uniform": (1e-4, 1e-1)}, "model.dropout": {"uniform": (0.0, 0.5)},
    "model.width": {"integers": (3, 5)}, "optim.name": {"choice": ["sgd", "adam"]}, "seed": 7,
}  # fmt: skip


def test_uniform_numbers_come_from_raw_philox_words():
    """An independent computation: NumPy promises the words of its bit generators (NEP 19)."""
    import hashlib

    stream = int.from_bytes(hashlib.sha256(b"optim.lr").digest()[:8], "little")
    generator = np.random.Philox(key=np.array([7, stream], np.uint64), counter=[0, 3, 0, 0])
    assert random.unit(7, "optim.lr", 3) == np.random.Generator(generator).random()


def test_draw_j_is_a_function_of_seed_and_j_alone():
    few, many = (random.points({**DRAWS, "n": n}, "f") for n in (5, 40))
    assert many[:5] == few
    fewer_keys = {key: DRAWS[key] for key in ("optim.lr", "seed")}
    assert [p["optim.lr"] for p in random.points({**fewer_keys, "n": 40}, "f")] == [p["optim.lr"] for p in many]
    assert random.points({**DRAWS, "n": 40, "seed": 8}, "f") != many


def test_draws_of_given_uniform_numbers():
    def at(u, distribution):
        return random.sampler(distribution, "f")(u)

    assert at(0.25, {"uniform": (2.0, 4.0)}) == 2.5
    assert at(0.5, {"log_uniform": (1e-4, 1e-2)}) == 1e-3
    assert [at(u, {"integers": (3, 5)}) for u in (0.0, 0.33, 0.34, 0.67, 0.999)] == [3, 3, 4, 5, 5]
    assert [at(u, {"choice": ["a", "b"]}) for u in (0.0, 0.49, 0.5, 0.99)] == ["a", "a", "b", "b"]
    assert at(1 / 3, {"uniform": (0, 1)}) == 0.3333  # four digits
    assert at(0.999999, {"uniform": (0.0, 0.12344)}) == 0.1234
    assert at(0.999999, {"uniform": (0.0, 0.12348)}) == 0.999999 * 0.12348  # rounded, 0.1235 would be out of range


def test_distributions_over_many_draws():
    """Against their exact means and Kolmogorov's distance at 1e-4."""
    points = random.points({**DRAWS, "n": 2000}, "f")
    bound = math.sqrt(-math.log(1e-4 / 2) / (2 * len(points)))
    for u in (
        np.sort([math.log(p["optim.lr"] / 1e-4) / math.log(1e3) for p in points]),
        np.sort([p["model.dropout"] / 0.5 for p in points]),
    ):
        assert abs(u - (np.arange(len(u)) + 0.5) / len(u)).max() < bound
    for key, values in (("model.width", [3, 4, 5]), ("optim.name", ["sgd", "adam"])):
        counts = [sum(p[key] == value for p in points) for value in values]
        assert sum(counts) == len(points) and min(counts) > 0.9 * len(points) / len(values)
    assert abs(np.corrcoef([math.log(p["optim.lr"]) for p in points], [p["model.dropout"] for p in points])[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n": 0}, "n=0 must be a whole number, at least 1"),
        ({"n": None}, "n=None must be a whole number"),
        ({"seed": -1}, "seed=-1 must be"),
        ({"optim.lr": {"log_unifrom": (1, 2)}}, "'log_unifrom': did you mean 'log_uniform'?"),
        ({"optim.lr": {"uniform": (1, 2), "choice": [1]}}, "must name one distribution"),
        ({"optim.lr": 3}, "must name one distribution"),
        ({"optim.lr": {"uniform": (2, 1)}}, "the lower first"),
        ({"optim.lr": {"uniform": (1, 2, 3)}}, "two numbers"),
        ({"optim.lr": {"log_uniform": (0, 1)}}, "must be above 0"),
        ({"optim.lr": {"integers": (0, 1.5)}}, "two whole numbers"),
        ({"optim.lr": {"choice": []}}, "nothing to choose from"),
        ({"optim.lr": {"choice": 3}}, "choice needs a list"),
    ],
)
def test_random_mistakes(change, words):
    with pytest.raises(ConfigError) as error:
        random.points({"optim.lr": {"uniform": (0, 1)}, "n": 2, **change}, "f")
    assert words in str(error.value) and str(error.value).startswith("f")


def test_random_needs_a_key():
    with pytest.raises(ConfigError, match="draws no key"):
        random.points({"n": 3}, "f")


# k-fold -----------------------------------------------------------------------------------------------------------


def flat(intervals):
    return [(split, i) for split, start, stop in intervals for i in range(start, stop)]


@pytest.mark.curriculum("W4")
@pytest.mark.parametrize(("n", "k"), [(10, 2), (10, 3), (11, 5), (5, 5), (1438, 5), (1000, 7)])
def test_contiguous_folds_are_scikit_learns(n, k):
    found = kfold.fold([Interval("train", 0, n)], k)
    for (train, validation), (ours, theirs) in zip(found, KFold(k).split(np.zeros(n)), strict=True):
        assert flat(train) == [("train", i) for i in ours]
        assert flat(validation) == [("train", i) for i in theirs] and len(validation) == 1


@pytest.mark.parametrize("blocks", [1, 2, 7])
@pytest.mark.parametrize("k", [2, 3, 10])
def test_every_example_is_validated_on_once(k, blocks):
    """Over several splits with gaps, in pieces: disjoint, complete, sizes within one, nothing of the rest."""
    intervals = [Interval("train", 5, 110), Interval("validation", 0, 31), Interval("train", 200, 217)]
    everything = flat(intervals)
    found = kfold.fold(intervals, k, blocks)
    assert sorted(e for _, validation in found for e in flat(validation)) == sorted(everything)
    sizes = [len(flat(validation)) for _, validation in found]
    assert max(sizes) - min(sizes) <= 1
    for train, validation in found:
        assert sorted(flat(train) + flat(validation)) == sorted(everything)
        assert flat(validation) == [e for e in everything if e in set(flat(validation))]  # in the stored order


def test_blocks_spread_a_fold_over_an_ordered_set():
    """12 examples of 3 classes in order: contiguous thirds are a class each, two pieces a fold mix them."""
    (_, first), *_ = kfold.fold([Interval("train", 0, 12)], 3, 2)
    assert first == [Interval("train", 0, 2), Interval("train", 6, 8)]
    assert kfold.text(first) == "train[0:2]+train[6:8]"


@pytest.mark.curriculum("W4")
def test_folds_in_tfds_syntax_are_the_same_examples():
    sizes = {"train": 110, "validation": 31}
    intervals = parse_split("train[10%:]+validation", sizes, "set")
    for train, validation in kfold.fold(intervals, 4, 3):
        assert parse_split(kfold.text(train), sizes, "set") == train
        assert parse_split(kfold.text(validation), sizes, "set") == validation


def test_too_many_folds():
    with pytest.raises(ConfigError, match="5 examples cannot be cut into 3 folds of 2 pieces"):
        kfold.fold([Interval("train", 0, 5)], 3, 2)


@pytest.mark.curriculum("W4")
def test_folds_of_digits(tmp_path):
    """1,149 + 289 images in 5 folds; the test split is not touched, and the last step is what is evaluated."""
    runs = planned(tmp_path, grid=None, kfold={"folds": 5, "split": "train+validation"})
    assert [run.label for run in runs] == [f"softmax fold {i} of 5" for i in range(1, 6)]
    seen = []
    for run in runs:
        data = run.config.data
        assert data.test == "" and run.config.select.metric == ""
        train, validation = (open_source("digits", data[key]).intervals for key in ("train", "validation"))
        assert len(flat(train)) + len(flat(validation)) == 1438 and not set(flat(train)) & set(flat(validation))
        seen += flat(validation)
    assert sorted(seen) == sorted(flat([Interval("train", 0, 1149), Interval("validation", 0, 289)]))
    labels = open_source("digits", runs[0].config.data.validation)
    counts = np.bincount([labels[i]["label"] for i in range(len(labels))])
    assert (counts.min(), counts.max()) == (22, 36)  # of 288: what configs/sweeps/digits_kfold.py says


def test_kfold_with_a_grid_seeds_and_a_test(tmp_path):
    runs = planned(tmp_path, seeds=(0, 1), kfold={"folds": 2, "test": True})
    assert len(runs) == 2 * 2 * 2 and {run.row for run in runs} == {"lr=0.1", "lr=0.01"}
    assert len({run.workdir for run in runs}) == 8 and runs[0].config.data.test == "test"
    assert [run.label for run in runs[:4]] == ["lr=0.1 fold 1 of 2"] * 2 + ["lr=0.1 fold 2 of 2"] * 2


@pytest.mark.parametrize(
    ("values", "overrides", "words"),
    [
        ({"kfold": {"folds": 1}}, (), "kfold: folds=1 must be at least 2"),
        ({"kfold": {"folds": 2, "blocks": 0}}, (), "blocks=0"),
        ({"kfold": {"fold": 2}}, (), "did you mean 'folds'?"),
        ({"kfold": {"folds": 2, "split": "trian"}}, (), "did you mean 'train'?"),
        ({"kfold": {"folds": 2, "split": "all"}}, (), "share examples 0 to 358 of 'test'"),
        ({"kfold": {"folds": 2}}, ("--config.data.train=train[:9]",), "kfold sets config.data.train itself"),
        (
            {"kfold": {"folds": 2}},
            ("--config.select.metric=validation/loss",),
            "kfold sets config.select.metric itself",
        ),
        ({"kfold": {"folds": 2}, "config": "configs/rl/qlearn.py:smoke", "grid": None}, (), "has no data set"),
    ],
)
def test_kfold_mistakes(tmp_path, values, overrides, words):
    with pytest.raises((ConfigError, DataError)) as error:
        planned(tmp_path, *overrides, **values)
    assert words in str(error.value)


def test_a_folder_of_images_needs_blocks(tmp_path):
    from PIL import Image

    for label in "ab":
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / "images" / label / f"{i}.png")
    overrides = [f"config.data.name=folder:{tmp_path / 'images'}", "config.data.test="]
    values = {"grid": None, "overrides": overrides}
    with pytest.raises(ConfigError, match=r"ordered by class.*set blocks"):
        planned(tmp_path, kfold={"folds": 2}, **values)
    for run in planned(tmp_path, kfold={"folds": 2, "blocks": 6}, **values):
        source = open_source(run.config.data.name, run.config.data.validation)
        assert sorted(source[i]["label"] for i in range(len(source))) == [0, 0, 0, 1, 1, 1]


# The runs of a sweep ----------------------------------------------------------------------------------------------


def test_runs_are_named_by_content(tmp_path):
    runs = planned(tmp_path, "--config.batch_size=8", seeds=(3, 5), overrides=["config.batch_size=4"])
    assert [(run.row, run.seed) for run in runs] == [("lr=0.1", 3), ("lr=0.1", 5), ("lr=0.01", 3), ("lr=0.01", 5)]
    assert runs[0].overrides == ("--config.batch_size=8", "--config.optim.lr=0.1", "--config.seed=3")
    assert (runs[3].config.optim.lr, runs[3].config.seed, runs[3].config.batch_size) == (0.01, 5, 8)
    assert runs[0].workdir == tmp_path / "root" / f"lr_0.1-seed3-{configs.digest(runs[0].config)[:8]}"
    longer = planned(tmp_path, "--config.batch_size=8", seeds=(3, 5), grid={"optim.lr": [1.0, 0.1]})
    assert [run.workdir for run in longer[2:]] == [run.workdir for run in runs[:2]]  # found again by another grid


def test_more_random_trials_keep_the_earlier_runs(tmp_path):
    draws = {"optim.lr": {"log_uniform": (1e-3, 1e-1)}, "optim.name": {"choice": ["adam"]}}
    few, many = (planned(tmp_path, grid=None, random={**draws, "n": n}) for n in (3, 9))
    assert [run.workdir for run in many[:3]] == [run.workdir for run in few]
    assert len({run.workdir for run in many}) == 9


def test_a_draw_that_comes_again_is_the_same_run(tmp_path):
    runs = planned(tmp_path, grid=None, random={"optim.name": {"choice": ["adam", "sgd"]}, "n": 20})
    assert sorted(run.row for run in runs) == ["optim=adam", "optim=sgd"]


def test_names_of_trials_are_short_and_tell_them_apart(tmp_path):
    keys = ["optim.lr", "optim.weight_decay", "ema.decay", "loss.name", "model.name", "batch_size"]
    assert list(spec._shortest(keys).values()) == ["lr", "weight_decay", "ema.decay", "loss", "model", "batch_size"]
    assert list(spec._shortest(["a.lr", "b.lr"]).values()) == ["a.lr", "b.lr"]
    long = [f"erase(fraction={i / 1000})" for i in range(3)]
    values = {"augment": [" | ".join([each] * 9) for each in long]}
    rows = {run.row for run in planned(tmp_path, grid=values)}
    assert len(rows) == 3 and all(len(row) <= spec.LONGEST for row in rows)


@pytest.mark.parametrize(
    "value", [1, 0.1, 1e-12, True, None, (1, 2), (3,), "adam", "", "3", "true", "(1,)", "'q'", "a=b"]
)
def test_values_are_written_as_the_command_line_reads_them(value):
    config = configs.base(own=None)
    configs.apply_overrides(config, [f"--config.own={spec.written(value)}"])
    assert config.own == value and type(config.own) is type(value)
    if isinstance(value, str):
        config.own = "text"
        configs.apply_overrides(config, [f"--config.own={spec.written(value)}"])
        assert config.own == value


def test_some_trials_of_a_sweep(tmp_path):
    file = sweep_file(tmp_path)
    sweep = spec.load(f"{file}:only=lr_0.01")
    runs = spec.planned(sweep, (), tmp_path)
    assert len(runs) == 2 and [run.row for run in sweep.chosen(runs)] == ["lr=0.01"]
    assert sweep.text() == file and sweep.text("lr_0.1") == f"{file}:only=lr_0.1"
    with pytest.raises(ConfigError, match=r"only=lr_0\.02: there is no such trial: did you mean 'lr_0\.0?1'"):
        spec.load(f"{file}:only=lr_0.02")


MISTAKES = [
    ({"gird": {}, "grid": None}, "did you mean 'grid'?"),
    ({"config": None}, "config is missing"),
    ({"config": "configs/classify/sofmax.py"}, "did you mean 'configs/classify/softmax.py'?"),
    ({"objective": {"metric": "test/accuracy"}}, "of an evaluation during training"),
    ({"objective": {"metric": "accuracy"}}, "of an evaluation during training"),
    ({"objective": {"metric": "validation/x", "mode": "maximum"}}, "did you mean 'max'?"),
    ({"objective": {"metrc": "validation/x"}}, "did you mean 'metric'?"),
    ({"seeds": (0, 0)}, "seeds=(0, 0)"),
    ({"seeds": ()}, "seeds=()"),
    ({"grid": None}, "needs one of grid and random"),
    ({"random": {"optim.lr": {"uniform": (0, 1)}, "n": 1}}, "needs one of grid and random"),
    ({"grid": {"config.optim.lr": [1]}}, "as 'optim.lr'"),
    ({"grid": {"seed": [1]}}, "list the seeds there"),
    ({"overrides": ["config.optim.lr=1"]}, "optim.lr is varied, and set in overrides too"),
    ({"overrides": ["config.seed=1"]}, "config.seed is set by the seeds"),
    # resolved before anything runs, each trial by name
    ({"grid": {"optm.lr": [1]}}, "lr=1: config.optm is not a key of the config: did you mean 'optim'?"),
    ({"grid": {"batch_sise": [1]}}, "did you mean 'batch_size'?"),
    ({"grid": {"batch_size": [8, 0]}}, "batch_size=0: config.batch_size=0 must be from 1 to 1,048,576"),
    ({"grid": {"optim.lr": [0.1, "fast"]}}, "lr=fast: config.optim.lr='fast': expected float"),
]


@pytest.mark.parametrize(("values", "words"), MISTAKES, ids=[words for _, words in MISTAKES])
def test_mistakes_are_refused_before_anything_runs(tmp_path, capsys, values, words):
    file = sweep_file(tmp_path, **values)
    assert launch.main([f"--sweep={file}", f"--workdir={tmp_path / 'root'}"]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and "Traceback" not in captured.err
    assert not (tmp_path / "root").exists()


def test_command_line_mistakes(tmp_path, capsys):
    file = sweep_file(tmp_path)
    for flags, words in (
        ([f"--sweep={file}", "--config.optim.lr=1"], "--config.optim.lr is varied by"),
        ([f"--sweep={file}", "--config=configs/classify/mlp.py"], "has no effect in --sweep"),
        (["--sweep=configs/sweeps/digits_mlp_gird.py"], "did you mean 'configs/sweeps/digits_mlp_grid.py'?"),
        (["--sweep=configs/classify/mlp.py"], "defines no get_sweep(arg=None)"),
    ):
        assert launch.main([*flags, f"--workdir={tmp_path / 'root'}"]) == 2
        assert words in capsys.readouterr().err


# What only the functions know ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"grid": {"optim.b11": [0.9]}},
            "b11=0.9: config.optim.b11 is not a key of the optimizer 'adam': did you mean 'b1'?",
        ),
        ({"grid": {"model.name": ["linear", "linaer"]}}, "model=linaer: config.model.name='linaer'"),
        ({"grid": {"augment": ["flp"]}}, "did you mean 'flip'?"),
        ({"grid": {"batch_size": [2000]}}, "larger than the training split"),
        (
            {"objective": {"metric": "validatoin/accuracy"}},
            "'validatoin/accuracy' is not reported; did you",
        ),
    ],
)
def test_every_configuration_is_built_before_anything_runs(tmp_path, values, words):
    sweep = spec.load(sweep_file(tmp_path, **values))
    jobs = [[run.label, run.spec, list(run.overrides)] for run in spec.planned(sweep, (), tmp_path)]
    with pytest.raises(ConfigError) as error:
        build_all.build(sweep.metric["key"], jobs)
    assert words in str(error.value)


def test_a_sound_sweep_is_built(tmp_path):
    sweep = spec.load(sweep_file(tmp_path, kfold={"folds": 2}))
    build_all.build(
        "validation/accuracy", [[r.label, r.spec, list(r.overrides)] for r in spec.planned(sweep, (), tmp_path)]
    )


# The files that are there -------------------------------------------------------------------------------------------


def test_sweeps_are_found():
    assert {"configs/sweeps/digits_kfold.py", "configs/sweeps/digits_mlp_grid.py"} <= set(SWEEPS)


@pytest.mark.parametrize("path", SWEEPS)
def test_sweep_resolves_and_says_how_to_run_it(path, tmp_path):
    doc = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    assert doc.partition("\n\n")[0].endswith(".") and f"python launch.py --sweep {path}" in doc
    runs = spec.planned(spec.load(path), (), tmp_path)
    smoke = spec.load(f"{path}:smoke")
    small = spec.planned(smoke, (), tmp_path)
    assert 2 <= len(small) <= 4 < len(runs) and all(run.config.total_steps == 2 for run in small)
    assert smoke.name == f"{Path(path).stem}_smoke" and len({run.workdir for run in runs}) == len(runs)

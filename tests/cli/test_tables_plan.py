"""Planned runs, their states, and the files of tables: names by content, clocks by hand, every mistake by name."""

import re
import sys
from pathlib import Path

import pytest
from tables_for_tests import SOFTMAX, begin, fail, finish, planned

import launch
from cvdl_jax.cli.clusters import jobs
from cvdl_jax.cli.modes import table as table_mode
from cvdl_jax.cli.tables import build_all, drive, plan, spec, status
from cvdl_jax.config import configs
from cvdl_jax.errors import ConfigError
from cvdl_jax.workdir import run_state
from cvdl_jax.workdir.folder import Workdir

# Plan -----------------------------------------------------------------------------------------------------------------


def test_folders_are_named_by_content(tmp_path):
    run = planned(tmp_path, "LeNet-5 (ReLU)", 3)
    assert run.workdir == tmp_path / f"lenet-5_relu-seed3-{configs.digest(run.config)[:8]}"
    assert run.config.seed == 3 and run.overrides == ("--config.seed=3",) and run.name == "LeNet-5 (ReLU), seed 3"
    assert run.workdir == planned(tmp_path, "LeNet-5 (ReLU)", 3).workdir  # no clock in it
    others = [planned(tmp_path, "LeNet-5 (ReLU)", 3, "--config.optim.lr=0.5"), planned(tmp_path, "LeNet-5 (ReLU)", 4)]
    assert len({each.workdir for each in (run, *others)}) == 3


@pytest.mark.parametrize(
    ("label", "name"), [("A B", "a_b"), ("lr=0.1", "lr_0.1"), ("ViT-Ti/4", "vit-ti_4"), ("../x", "x"), ("é", "run")]
)
def test_labels_as_file_names(label, name):
    assert plan.slug(label) == name


def test_mistakes_in_a_run_name_it():
    with pytest.raises(ConfigError, match=r"^MLP: config\.optm is not a key of the config: did you mean 'optim'"):
        plan.make("MLP", "MLP", SOFTMAX, ["--config.optm.lr=1"], 0, "r")
    with pytest.raises(ConfigError, match=r"^MLP: config\.seed is set by the seeds of the file"):
        plan.make("MLP", "MLP", SOFTMAX, ["--config.seed=1"], 0, "r")


# State ----------------------------------------------------------------------------------------------------------------


def clock(*seconds, every=1, per_epoch=10):
    """Rows with these readings of the clock."""
    steps = range(every, every * len(seconds) + 1, every)
    return [{"step": k, "epoch": k / per_epoch, "time/seconds": s} for k, s in zip(steps, seconds, strict=True)]


def test_states_of_a_run_from_first_to_last(tmp_path):
    run = planned(tmp_path, "softmax", 0, "--config.total_steps=100")

    def now():
        return run_state.state_of(run.workdir, run.config)

    assert now() == ("not run", 0, 100, None, None, "")
    run.workdir.mkdir()
    assert now() == ("not run", 0, 100, None, None, "")
    begin(run, 20, clock(5, 7, 9, every=10))
    assert now() == ("partial", 20, 100, 0.2, 16.0, "")  # it would continue at the checkpoint, not at the last row
    lock = Workdir(run.workdir)
    lock.lock()
    assert now() == ("running", 30, 100, 0.2, 14.0, "")
    lock.unlock()
    fail(run)
    assert now() == ("failed", 20, 100, 0.2, 16.0, "NonFinite: loss is nan")
    finish(run, [1])
    (run.workdir / "metrics.jsonl").unlink()
    assert now() == ("done", 2, 2, None, 0.0, "")  # early stopping: the last step is what results.json says


def test_looking_changes_nothing_and_locks_nobody_out(tmp_path):
    run = planned(tmp_path)
    begin(run, 1)
    lock = Workdir(run.workdir)
    lock.lock()
    before = sorted(run.workdir.rglob("*"))
    assert run_state.is_locked(run.workdir) and sorted(run.workdir.rglob("*")) == before
    lock.unlock()
    assert not run_state.is_locked(run.workdir)
    lock.lock()
    lock.unlock()


def test_a_folder_of_another_configuration_is_never_taken_for_this_one(tmp_path):
    run = planned(tmp_path)
    finish(planned(tmp_path, "softmax", 0, "--config.optim.lr=0.5")._replace(workdir=run.workdir), [1])
    found = run_state.state_of(run.workdir, run.config)
    assert found.state == "failed"
    assert "another configuration (optim.lr: 0.5 -> " in found.message
    elsewhere = planned(tmp_path, "moved", 0)
    finish(planned(tmp_path, "moved", 0, "--config.parallel.mode=pmap")._replace(workdir=elsewhere.workdir), [1])
    assert run_state.state_of(elsewhere.workdir, elsewhere.config).state == "done"  # a run may move


def test_a_damaged_folder_is_failed_and_says_why(tmp_path):
    run = planned(tmp_path)
    finish(run, [1])
    (run.workdir / "results.json").write_text("{")
    found = run_state.state_of(run.workdir, run.config)
    assert found.state == "failed" and "results.json is damaged" in found.message


def test_epochs_become_steps_by_the_rows():
    config = configs.load("configs/classify/softmax.py")
    assert run_state.total_steps(config, []) is None
    rows = [{"step": 18, "epoch": 18 / (1149 / 64)}]
    assert run_state.total_steps(config, rows) == 719  # 40 epochs of 17.95 steps, rounded up
    assert run_state.total_steps(configs.load("configs/classify/softmax.py", ["config.total_examples=6400"]), []) == 100


def test_pace_and_seconds_of_a_run_with_two_starts():
    rows = clock(10, 12, 14) + [{"step": k, "time/seconds": s} for k, s in ((4, 3.0), (6, 4.0))]
    assert [len(each) for each in run_state.starts(rows)] == [3, 2]
    assert run_state.seconds(rows) == 18.0  # 14 and then 4
    assert run_state.seconds_per_step(rows) == 0.5  # of the newest start
    assert run_state.seconds(rows[:1]) == 10 and run_state.seconds_per_step(rows[:1]) is None
    assert run_state.seconds([]) is None and run_state.seconds_per_step([{"step": 1}]) is None


def test_status_of_all_runs(tmp_path):
    runs = [planned(tmp_path, label, seed, "--config.total_steps=100") for label in ("a", "b") for seed in (0, 1)]
    finish(runs[0], [1], seconds=60.0)
    begin(runs[2], 40, clock(5, 7, 9, 11, every=10))
    text = status.report(runs, workers=2).splitlines()
    assert text[0].split() == ["run", "seed", "state", "step", "ETA", "folder"]
    assert text[2].split()[:6] == ["a", "0", "done", "2", "of", "2"]
    assert "not run   0 of 100  about 1 min 00 s" in text[3]  # as its sister took
    assert "partial  40 of 100  12 s" in text[4]
    assert "not run   0 of 100  --" in text[5]
    assert text[-1] == (
        "4 runs: 2 not run, 1 partial, 1 done; about 1 min 00 s left, 2 at a time (1 runs without an estimate)"
    )
    fail(runs[2])
    assert "NonFinite: loss is nan" in status.report(runs, 1)
    assert "about 1 min 12 s left, 1 at a time" in status.report(runs, 1)


# Tables ---------------------------------------------------------------------------------------------------------------

TABLE = {
    "title": "T", "metric": {"key": "test/accuracy", "label": "test accuracy", "unit": "%"}, "data": "digits",
    "protocol": "p", "seeds": (0, 1), "rows": [{"name": "A", "config": SOFTMAX}],
}  # fmt: skip


def table_file(folder, table, arguments="smoke=False, seeds=(0, 1)"):
    """A table file, and its name."""
    path = folder / "mine.py"
    path.write_text(
        "from cvdl_jax.config import configs\n\n\ndef get_table(arg=None):\n"
        f"    arg = configs.parse_arg(arg, {arguments})\n    return {table!r}\n"
    )
    return str(path)


def test_a_table_with_its_defaults(tmp_path):
    rows = [
        {"name": "A", "config": SOFTMAX},
        {"name": "B", "config": SOFTMAX, "seeds": [7], "overrides": ["config.optim.lr=0.5"], "protocol": "q"},
    ]
    table = spec.load(table_file(tmp_path, TABLE | {"rows": rows}))
    assert table.metric == {
        "key": "test/accuracy", "label": "test accuracy", "unit": "%", "better": "max", "scale": 100.0, "digits": 2,
        "interval": "Wilson",
    }  # fmt: skip
    assert [(row["seeds"], row["protocol"], row["data"]) for row in table.rows] == [
        ((0, 1), "p", "digits"), ((7,), "q", "digits"),
    ]  # fmt: skip
    runs = spec.planned(table, [], tmp_path)
    assert [(run.row, run.seed) for run in runs] == [("A", 0), ("A", 1), ("B", 7)]
    assert runs[2].config.optim.lr == 0.5 and runs[0].config.optim.lr != 0.5
    assert table.root() == Path("runs/tables/mine") and table.root("w") == Path("w")


def test_metrics_that_are_no_percentages(tmp_path):
    metric = {"key": "test/loss", "label": "loss", "better": "min", "digits": 3}
    table = spec.load(table_file(tmp_path, TABLE | {"metric": metric}))
    assert (table.metric["scale"], table.metric["digits"], table.metric["unit"]) == (1.0, 3, "")


def test_further_metrics_and_what_was_published_for_them(tmp_path):
    """What is not in percent has four digits and may have no best row."""
    columns = [{"key": "test/loss", "label": "loss", "better": "none"}, COLUMN | {"optional": True}]
    row = {"name": "A", "config": SOFTMAX, "published_columns": {"test/top5": PUBLISHED}}
    table = spec.load(table_file(tmp_path, TABLE | {"columns": columns, "rows": [row]}))
    shown = [[column[key] for key in ("key", "scale", "digits", "better", "optional")] for column in table.columns]
    assert shown == [["test/loss", 1.0, 4, "none", False], ["test/top5", 100.0, 2, "max", True]]
    assert table.rows[0]["published_columns"] == {"test/top5": PUBLISHED | {"memory": False}}


def test_a_run_that_a_row_measures_must_be_finished(tmp_path, monkeypatch):
    """Only of the rows that are asked for; a row that is done needs it no more; --status asks for nothing."""
    needs = {"workdir": str(tmp_path / "trained"), "command": "python launch.py --config a.py --workdir trained"}
    rows = [{"name": "A", "config": SOFTMAX, "needs": needs}, {"name": "B", "config": SOFTMAX}]
    file, root = table_file(tmp_path, TABLE | {"rows": rows, "seeds": (0,)}), tmp_path / "out"
    monkeypatch.setattr(build_all, "check", lambda *_: None)
    monkeypatch.setattr(drive, "execute", lambda *_: 0)

    def run(*flags, only=""):
        return table_mode.run(launch.parse([f"--table={file}{only}", f"--workdir={root}", *flags]))

    words = f"A measures the run in {needs['workdir']}, which {{}}; first: {needs['command']}"
    with pytest.raises(ConfigError, match=re.escape(words.format("does not exist"))):
        run()
    assert not root.exists() and run("--status") == 0 and run(only=":only=b") == 0
    (tmp_path / "trained").mkdir()
    with pytest.raises(ConfigError, match=re.escape(words.format("is not finished"))):
        run()
    with pytest.raises(ConfigError, match=re.escape(words.format("is not finished"))):
        jobs.collect(launch.parse([f"--table={file}", f"--workdir={root}", "--launcher=slurm"]), [])
    (tmp_path / "trained" / "DONE").touch()
    assert run() == 0
    (tmp_path / "trained" / "DONE").unlink()
    finish(spec.planned(spec.load(file), [], root)[0], [True])
    assert run() == 0


def test_smoke_tables_have_a_folder_of_their_own(tmp_path):
    file = table_file(tmp_path, TABLE)
    names = {
        arg: spec.load(f"{file}:{arg}" if arg else file).name for arg in ("", "smoke", "smoke=False", "seeds=(1,)")
    }
    assert names == {"": "mine", "smoke": "mine_smoke", "smoke=False": "mine", "seeds=(1,)": "mine"}


def test_only_some_rows_are_run_and_the_others_stay_in_the_table(tmp_path):
    rows = [{"name": name, "config": SOFTMAX} for name in ("LeNet-5", "MLP", "A (b)")]
    file = table_file(tmp_path, TABLE | {"rows": rows})
    table = spec.load(f"{file}:seeds=(0,1),only=lenet-5+A (b)")
    assert table.arg == "seeds=(0,1)" and table.only == ("lenet-5", "a_b")
    runs = spec.planned(table, [], tmp_path)
    assert {run.row for run in runs} == {"LeNet-5", "MLP", "A (b)"}
    assert {run.row for run in table.chosen(runs)} == {"LeNet-5", "A (b)"}
    assert table.text("mlp") == f"{file}:seeds=(0,1),only=mlp" and spec.load(file).text() == file
    with pytest.raises(ConfigError, match="only=mlpp: there is no such row: did you mean 'mlp'"):
        spec.load(f"{file}:only=mlpp")


def test_the_command_line_overrides_rows():
    row = ["--config.optim.lr=0.5", "--config.total_epochs=3"]
    assert spec.merged(row, []) == tuple(row)
    assert spec.merged(row, ["--config.optim.lr=1"]) == ("--config.total_epochs=3", "--config.optim.lr=1")
    assert spec.merged(row, ["--config.total_steps=2"]) == ("--config.optim.lr=0.5", "--config.total_steps=2")


def with_row(**values):
    return TABLE | {"rows": [TABLE["rows"][0] | values]}


PUBLISHED = {"value": 1.0, "source": "s", "data": "d", "metric": "m", "protocol": "p"}
COLUMN = {"key": "test/top5", "label": "top-5 accuracy", "unit": "%"}
NEED = {"needs": {"workdir": "runs/a"}}
WRONG = [
    (TABLE | {"titel": "x"}, "'titel' is not a key of it: did you mean 'title'"),
    ({k: v for k, v in TABLE.items() if k != "data"}, "'data' is missing"),
    (TABLE | {"rows": []}, "rows is empty"),
    (TABLE | {"rows": ["a"]}, "row 1 must be a dict"),
    (TABLE | {"rows": [{"name": "A", "config": "a.py"}, {"name": "a", "config": "b.py"}]}, "two rows are called 'a'"),
    (TABLE | {"metric": {"key": "k", "label": "l", "better": "more"}}, "metric: better='more'; expected one of 'max'"),
    (TABLE | {"metric": {"key": "k", "lable": "l"}}, "metric: 'lable' is not a key of it: did you mean 'label'"),
    (with_row(seeds=()), "A: seeds=() must be one number or more"),
    (with_row(seeds=(1, 1)), "A: seeds=(1, 1) must be one number or more, each once"),
    (with_row(sedes=(1,)), "A: 'sedes' is not a key of it: did you mean 'seeds'"),
    (with_row(recipe={"epoch": 3}), "A: recipe: 'epoch' is not a key of it: did you mean 'epochs'"),
    (with_row(overrides=[3]), "A: overrides="),
    (with_row(published=PUBLISHED | {"value": "97"}), "A: published: value='97' is of type str; expected float"),
    (with_row(published={"value": 97.0}), "A: published: 'source' is missing"),
    ([], "get_table must return a dict, got tuple"),
    (TABLE | {"columns": ["loss"]}, "column 1 must be a dict with a key and a label, got 'loss'"),
    (TABLE | {"columns": [COLUMN | {"optinal": True}]}, "column 1: 'optinal' is not a key of it: did you mean 'opt"),
    (TABLE | {"columns": [COLUMN | {"key": "test/accuracy"}]}, "two metrics have the key 'test/accuracy'"),
    (TABLE | {"columns": [COLUMN | {"label": "test accuracy"}]}, "two metrics have the label 'test accuracy'"),
    (with_row(published_columns={"test/top5": PUBLISHED}), "A: published_columns: 'test/top5' is not the key of a"),
    (with_row(**NEED), "A: needs: 'command' is missing"),
]


@pytest.mark.parametrize(("table", "words"), WRONG, ids=[words for _, words in WRONG])
def test_mistakes_in_a_table_are_named(tmp_path, table, words):
    file = table_file(tmp_path, table)
    with pytest.raises(ConfigError) as error:
        spec.load(file)
    assert str(error.value).startswith(file) and words in str(error.value)


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(
        ConfigError, match=r"no file 'configs/tables/digit_c\.py'; did you mean 'configs/tables/digits_c"
    ):
        spec.load("configs/tables/digit_c.py")
    (tmp_path / "a.py").write_text("x = 1\n")
    with pytest.raises(ConfigError, match=r"a.py defines no get_table\(arg=None\)"):
        spec.load(str(tmp_path / "a.py"))
    (tmp_path / "b.py").write_text("def get_table(:\n")
    with pytest.raises(ConfigError, match=r"b\.py, line 1: invalid syntax"):
        spec.load(str(tmp_path / "b.py"))
    with pytest.raises(ConfigError, match="config argument 'smok' is not known; did you mean 'smoke'"):
        spec.load(f"{table_file(tmp_path, TABLE)}:smok")


SHIPPED = sorted(path.name for path in (configs.ROOT / "configs" / "tables").glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("name", SHIPPED)
def test_tables_of_the_repository_load_and_say_how_to_run_them(tmp_path, name):
    file = f"configs/tables/{name}"
    text = (configs.ROOT / file).read_text()
    assert f"python launch.py --table {file}" in text
    table, smoke = spec.load(file), spec.load(f"{file}:smoke,seeds=(3,)")
    assert smoke.name == f"{table.name}_smoke"
    runs = spec.planned(smoke, [], tmp_path)
    assert {run.seed for run in runs} == {3} and all(run.config.total_steps in (0, 2) for run in runs)
    chosen = [run.config.select.metric for run in spec.planned(table, [], tmp_path)]
    assert all(not metric or metric.startswith("validation/") for metric in chosen)  # none: the newest step
    assert len({run.workdir for run in runs}) == len(table.rows)


@pytest.mark.long
def test_planning_imports_no_jax(tmp_path):
    """`--status` on a login node: seconds, not the start of an accelerator."""
    import subprocess

    code = (
        "import sys; from cvdl_jax.cli.modes import table; from cvdl_jax.cli.tables import spec, status\n"
        "t = spec.load('configs/tables/digits_classifiers.py'); status.report(spec.planned(t, [], 'nowhere'), 1)\n"
        "sys.exit(any(m in sys.modules for m in ('jax', 'flax', 'scipy.stats', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=configs.ROOT, check=False).returncode == 0


def test_a_process_that_refused_to_start_has_failed(tmp_path):
    """A mistake in a configuration writes no FAILED.json; what the run said is the last line of its console.log."""
    run = planned(tmp_path)
    run.workdir.mkdir(parents=True)
    console = run.workdir / run_state.CONSOLE
    console.write_text("2026-01-01 python launch.py ...\nerror: config.optim.b11 is not a key\n")
    assert run_state.state_of(run.workdir, run.config)[:1] == (run_state.FAILED,)
    assert run_state.state_of(run.workdir, run.config).message == "config.optim.b11 is not a key"
    console.write_text("error: config.optim.b11 is not a key\n2026-01-02 python launch.py ...\ncompiled in 3 s\n")
    assert run_state.state_of(run.workdir, run.config).state == run_state.NOT_RUN  # it has begun anew since
    finish(run, [True])
    console.write_text("error: of an earlier start\n")
    assert run_state.state_of(run.workdir, run.config).state == run_state.DONE


@pytest.mark.parametrize(
    ("metric", "override", "words"),
    [
        ("test/acuracy", (), "A: its metric='test/acuracy' is not reported; did you mean 'test/accuracy'?"),
        (
            "test/accuracy",
            ("--config.select.metric=validation/acc",),
            "B: config.select.metric='validation/acc' is not",
        ),
        ("test/accuracy", ("--config.optim.freeze=.*",), "B: config.optim.freeze='.*' matches every parameter"),
        ("test/accuracy", ("--config.match={'positive': 1}",), "B: config.match is not a key"),
        ("test/accuracy", (), ""),
    ],
)
def test_every_row_is_built_and_traced_before_the_first_run(tmp_path, metric, override, words):
    jobs = [["A", SOFTMAX, []], ["B", SOFTMAX, [*override, "--config.parallel.fsdp=4"]]]  # devices of another machine
    if not words:
        return build_all.build(metric, jobs)
    with pytest.raises(ConfigError) as error:
        build_all.build(metric, jobs)
    assert words in str(error.value)


def test_a_row_without_its_data_lets_the_others_run(capsys):
    lost = ["--config.data.name=folder:nowhere"]
    build_all.build("test/accuracy", [["A", SOFTMAX, []], ["B", SOFTMAX, lost]])
    assert f"{build_all.MISSING}B: " in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"^B: .*nowhere does not exist"):
        build_all.build("test/accuracy", [["B", SOFTMAX, lost]])


def test_a_table_is_checked_before_its_first_run(tmp_path, monkeypatch):
    """The check comes after the states are read and before `execute`; nothing of the table is written."""

    def refuse(todo, metric, say):
        assert len(todo) == 2 and metric == "test/accuracy"
        raise ConfigError("A: no such key")

    monkeypatch.setattr(build_all, "check", refuse)
    monkeypatch.setattr(drive, "execute", lambda *_: pytest.fail("a run was started"))
    with pytest.raises(ConfigError, match="A: no such key"):
        table_mode.run(launch.parse([f"--table={table_file(tmp_path, TABLE)}", f"--workdir={tmp_path / 'out'}"]))
    assert not (tmp_path / "out").exists()

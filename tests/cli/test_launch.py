"""What the command line says to mistakes: exit code 2, the thing that is wrong, and what to type instead."""

import errno
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import launch
from cvdl_jax.config import configs

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "--config=configs/classify/mlp.py:smoke"


def refused(capsys, *flags: str) -> str:
    """The message of a command line that must not start, and that it is one plain sentence on stderr."""
    assert launch.main(flags) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and "Traceback" not in captured.err
    assert "compiled" not in captured.out  # refused before anything slow
    return captured.err


def assert_words(message: str, words: tuple[str, ...]) -> None:
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"


FLAGS = [
    ((), ("--workdir is missing", "--workdir runs/try")),
    ((CONFIG,), ("--workdir is missing", "--workdir runs/mlp")),
    (("--workdir=W",), ("--config is missing", "--config configs/classify/lenet5.py")),
    (("--workdir=W", "--confg=x.py"), ("'--confg'", "did you mean '--config'")),
    (
        ("--workdir=W", "--conf=x.py"),
        ("'--conf'", "did you mean '--config'"),
    ),  # no abbreviations: a later flag may clash
    (("--workdir=W", "smoke"), ("there is no flag 'smoke'",)),
    (("--workdir=W", "--mode=trian"), ("--mode='trian'", "did you mean 'train'")),
    (("--workdir=W", "--mode=evaluate"), ("--mode='evaluate'", "did you mean 'eval'")),
    (("--workdir=W", CONFIG, "--host_devices=-1"), ("--host_devices=-1", "1 or more")),
    (("--workdir=W", CONFIG, "--config.optim.lr"), ("--config.optim.lr", "--config.optim.lr=0.1")),
    (("--workdir=W", CONFIG, "--config.optim.lr", "0.1"), ("--config.optim.lr=0.1",)),
    (
        ("--workdir=W", "--config=configs/classify/lenet.py"),
        ("'configs/classify/lenet.py'", "'configs/classify/lenet5.py'"),
    ),
    (("--workdir=W", "--config=configs/classify/mlp.py:smok"), ("'smok'", "did you mean 'smoke'")),
    (("--workdir=W", "--config=configs/classify/resnet20.py:data=cifar10,depth=x"), ("depth='x'", "expected int")),
    (("--workdir=W", "--config=configs/datasets.py"), ("datasets.py", "defines no get_config")),
    (("--workdir=W", "--mode=eval"), ("config.json", "is W the --workdir of a run?")),
    (("--workdir=W", "--mode=predict"), ("--mode predict", "--input FOLDER", "--out FILE.csv")),
    (("--workdir=W", "--mode=predict", "--input=x", "--out=y"), ("config.json", "the --workdir of a run")),
    (("--workdir=W", "--mode=profile", CONFIG, "--steps=0"), ("--steps=0", "at least 1")),
    (("--workdir=W", "--mode=profile"), ("--config is missing",)),
    (("--workdir=W", "--mode=replay"), ("nonfinite", "no saved step")),
    (("--workdir=gs://bucket/run", CONFIG), ("--workdir gs://bucket/run", "mount the bucket", "/mnt/bucket/run")),
    (("--workdir=W", "--mode=predict", "--input=s3://b/x", "--out=y"), ("--input s3://b/x", "mount the bucket")),
    (("--workdir=W", "--mode=predict", "--input=x", "--out=gs://b/y.csv"), ("--out gs://b/y.csv",)),
    (("--compare", "runs/a", "gs://b/y"), ("--compare gs://b/y", "mount the bucket")),
    (("--workdir=~nobody-of-this-name/run", CONFIG), ("~nobody-of-this-name/run", "no such home folder")),
    # what would have no effect
    ((CONFIG, "--workdir=W", "--dry_run"), ("--dry_run", "--launcher=slurm")),
    ((CONFIG, "--workdir=W", "--input=x"), ("--input=x has no effect in --mode train, which reads --config, ",)),
    ((CONFIG, "--workdir=W", "--steps=10"), ("--steps=10 has no effect in --mode train",)),  # as by default
    (("--workdir=W", "--mode=eval", "--input", "x"), ("--input=x has no effect in --mode eval",)),
    (("--mode=doctor", "--split=test"), ("--split=test has no effect in --mode doctor, which reads --workdir",)),
    (("--mode=describe", "--status"), ("--status has no effect in --mode describe",)),
    (("--table=x.py", CONFIG), ("has no effect in --table, which reads --table, --config.KEY=VALUE, --workdir",)),
    (("--sweep=x.py", "--coordinator=auto"), ("--coordinator=auto has no effect in --sweep",)),
    ((CONFIG, "--workdir=W", "--config=b.py"), ("--config is given twice", "one config file")),
    ((CONFIG, "--workdir=W", "--optim.lr=0.1"), ("no flag '--optim.lr'", "--config.optim.lr=0.1")),
    ((CONFIG, "--workdir=W", "--seed", "3"), ("no flag '--seed'", "--config.seed=VALUE")),
]


@pytest.mark.parametrize(("flags", "words"), FLAGS, ids=[" ".join(flags) or "none" for flags, _ in FLAGS])
def test_flags_are_refused_by_name(capsys, tmp_path, flags, words):
    workdir = str(tmp_path / "run")
    message = refused(capsys, *(flag.replace("=W", f"={workdir}") for flag in flags))
    assert_words(message, tuple(word.replace("is W ", f"is {workdir} ") for word in words))
    assert not (tmp_path / "run").exists()  # a mistyped command leaves nothing behind


@pytest.mark.parametrize("mode", launch.modes())
def test_a_mode_reads_the_flags_that_it_names(mode):
    """`args.NAME` in the file of a mode, and in what it hands `args` to, are its FLAGS."""
    named = set(launch.flags_of(mode)) - {"mode", "host_devices", "launcher", "overrides", *launch.PROCESSES}
    text = (launch.MODES / f"{'evaluate' if mode == 'eval' else mode}.py").read_text()
    read = set(re.findall(r"\bargs\.(\w+)", text)) - {"overrides"}
    loads = {"config", "workdir"} if "load_config(args)" in text else set()
    drives = {"workdir", "workers", "status", mode} if "tables.drive" in text else set()
    assert named == read | loads | drives


def test_a_folder_is_no_file_to_write_predictions_to(capsys, tmp_path):
    message = refused(capsys, "--mode=predict", f"--workdir={tmp_path}", "--input=x", f"--out={tmp_path}")
    assert_words(message, (f"--out {tmp_path} is a folder", f"{tmp_path}/predictions.csv"))


def test_of_a_flag_typed_twice_the_last_one_counts_with_a_word(tmp_path):
    with pytest.warns(UserWarning, match="--workdir is given twice, and the last one counts"):
        args = launch.parse([CONFIG, "--workdir=a", f"--workdir={tmp_path}"])
    assert args.workdir == str(tmp_path)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("Could not determine home directory."), "HOME is not set"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "free space"),
        (RuntimeError("another one"), None),
        (OSError(errno.ENOENT, "No such file", "x"), None),
    ],
)
def test_errors_of_the_machine_are_a_sentence(error, words):
    try:
        raise error
    except type(error) as raised:
        sentence = launch._of_the_machine(raised, "w")
    assert sentence is None if words is None else words in sentence


@pytest.mark.long
def test_a_device_that_is_not_here_is_a_sentence(tmp_path):
    command = [sys.executable, str(ROOT / "launch.py"), CONFIG, f"--workdir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "JAX_PLATFORMS": "cuda"})
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "error: JAX_PLATFORMS=cuda: JAX finds no such device here; unset JAX_PLATFORMS" in done.stderr


@pytest.mark.parametrize("flags", [["--workdir"], ["--workdir=w", "--steps=x"]])
def test_malformed_flags_exit_with_2(capsys, flags):
    with pytest.raises(SystemExit) as error:
        launch.main(flags)
    assert error.value.code == 2
    assert f"argument {flags[-1].partition('=')[0]}: " in capsys.readouterr().err


OVERRIDES = [
    # unknown keys, at any depth
    ("optm.lr=1", ("config.optm", "did you mean 'optim'")),
    ("optim.momentm=0.9", ("config.optim.momentm", "optimizer 'adamw'", "lr_factors")),
    ("optim.weight_deca=0.9", ("config.optim.weight_deca", "did you mean 'weight_decay'")),
    ("optim.schedule.fina=0.1", ("config.optim.schedule.fina", "did you mean 'final'")),
    ("model.hiden=(3,)", ("config.model.hiden", "did you mean 'hidden'")),
    ("data.spli=x", ("config.data.spli", "did you mean 'split'?")),
    ("data.zzz=x", ("config.data.zzz", "known: ", "text, train")),
    ("data.trian=x", ("config.data.trian", "did you mean 'train'")),
    ("loss.x=1", ("config.loss.x", "softmax_cross_entropy", "label_smoothing")),
    ("ema.decai=0.9", ("config.ema.decai", "did you mean 'decay'")),
    ("plateau={'metrik':'validation/loss'}", ("config.plateau.metrik", "did you mean 'metric'")),
    ("early_stopping={'patence':3}", ("config.early_stopping.patence", "did you mean 'patience'")),
    ("normalise.men=(0.5,)", ("config.normalise.men", "did you mean 'mean'")),
    ("select.metrik=x", ("config.select.metrik", "did you mean 'metric'")),
    ("augment=flp", ("config.augment", "'flp'", "did you mean 'flip'")),
    ("augment=flip | padded_crop(pading=4)", ("config.augment", "pading", "did you mean 'padding'")),
    ("grad=sm(0.1)", ("config.grad", "'sm'", "did you mean 'sam'")),
    ("grad=accumulate(k=2)", ("config.grad", "accumulate.k", "known: n")),
    # names that do not exist
    ("experiment=clasify", ("config.experiment='clasify'", "did you mean 'classify'")),
    ("experiment=nowhere.py", ("config.experiment='nowhere.py'", "no such file")),
    ("model.name=lenet6", ("config.model.name='lenet6'", "did you mean 'lenet5'")),
    (
        "loss.name=softmax_crossentropy",
        ("config.loss.name='softmax_crossentropy'", "did you mean 'softmax_cross_entropy'"),
    ),
    ("data.name=digit", ("'digit'", "did you mean 'digits'", "config.data.data_dir")),
    ("data.train=trian", ("'trian'", "did you mean 'train'")),
    ("optim.name=adm", ("config.optim.name", "'adm'", "did you mean 'adam'")),
    ("optim.schedule.name=cosin", ("config.optim.schedule.name", "'cosin'", "did you mean 'cosine'")),
    ("optim.freeze=hed/.*", ("config.optim.freeze='hed/.*'", "'head/")),
    ("select.metric=test/accuracy", ("config.select.metric='test/accuracy'", "validation")),
    ("select.metric=validatoin/accuracy", ("config.select.metric='validatoin/accuracy'", "validation")),
    ("init_from=/nowhere", ("config.init_from", "/nowhere", "workdir")),
    # missing names
    ("model={}", ("config.model.name is missing",)),
    ("loss={}", ("config.loss.name is missing", "softmax_cross_entropy")),
    ("optim={}", ("config.optim.name is missing",)),
    ("data={}", ("config.data", "classify")),
    ("data.name=", ("config.data.name", "digits, mnist")),
    ("data.train=", ("config.data.train",)),
    ("eval={}", ("config.eval", "config.eval.every_epochs")),
    ("log={'tensorboard':False,'wandb':''}", ("config.log", "config.log.every_steps")),
    ("log={'every_steps':1}", ("config.log.tensorboard",)),
    ("checkpoint={}", ("config.checkpoint.keep",)),
    ("select={}", ("config.select.metric",)),
    ("parallel={}", ("config.parallel",)),
    ("early_stopping={'patience':1}", ("config.early_stopping.metric is missing",)),
    ("plateau={'factor':0.5}", ("config.plateau.metric is missing",)),
    # wrong types
    ("batch_size=many", ("config.batch_size='many'", "expected int")),
    ("optim.lr=fast", ("config.optim.lr='fast'", "expected float")),
    ("model.dropout=high", ("config.model.dropout='high'", "float")),
    ("data.image_size=32", ("config.data.image_size=32", "tuple[int, int]")),
    ("augment=padded_crop('x')", ("config.augment", "'x'", "expected int")),
    ("grad=accumulate(2.5)", ("config.grad", "2.5", "expected int")),
    ("remat=1", ("config.remat='1'", "expected bool")),
    ("data=3", ("config.data is a section",)),
    # impossible values
    ("batch_size=0", ("config.batch_size=0", "from 1 to 1,048,576")),
    ("batch_size=1150", ("config.batch_size=1150", "1149 examples", "at most 1149")),
    ("eval_batch_size=-1", ("config.eval_batch_size=-1", "from 0 to 1,048,576")),
    ("total_epochs=-1", ("config.total_epochs=-1", "positive")),
    ("seed=100000000000000000000000", ("config.seed=100000000000000000000000",)),
    ("optim.schedule={'name':'cosine','warmup_percent':200}", ("config.optim.schedule.warmup_percent", "100")),
    ("optim.schedule={'name':'cosine','warmup_steps':20}", ("warm-up of 20 steps", "run of 2")),
    ("model.hidden=(16, 0)", ("config.model.hidden[1]=0", "from 1 to 1,048,576")),
    ("model.dropout=1.0", ("dropout=1.0", "[0, 1)")),
    ("data.image_size=(0, 8)", ("config.data.image_size[0]=0", "from 1 to 1,048,576")),
    ("data.validation=train[:10]", ("'train'", "'train[:10]'", "share examples 0 to 9")),
    ("data.features=('image',)", ("label",)),
    ("data.features=('label',)", ("config.data.features",)),
    ("normalise={'mean':(0.5,0.5),'std':(0.5,0.5)}", ("config.normalise.mean", "2 numbers", "1 channel")),
    ("grad=accumulate(5)", ("config.grad", "16", "5")),
    ("parallel.fsdp=3", ("config.parallel.fsdp=3", "number of devices")),
    ("parallel.mode=pmapp", ("config.parallel.mode='pmapp'", "did you mean 'pmap'")),
    ("compute_dtype=float64", ("config.compute_dtype='float64'", "JAX_ENABLE_X64")),
    ("batch_size=None", ("config.batch_size=None", "expected int")),
    # what would crash late, or never end
    ("optim.lr=1e999", ("config.optim.lr=inf", "float32")),
    ("optim.freeze=.*", ("config.optim.freeze='.*' matches every parameter, so nothing would train",)),
    ("optim.weight_decay=-1.0", ("config.optim.weight_decay=-1.0 must be 0 or more",)),
    ("model.hidden=(100000000,)", ("config.model.hidden[0]=100000000 must be from 1 to 1,048,576",)),
    (
        "adversary={'epsilon':1e30}",
        ("config.adversary.epsilon=1e+30 is more than the whole range of pixels, 0..1; give at most 1",),
    ),
    ("adversary={'steps':100000}", ("config.adversary.steps=100000 must be from 1 to 1,000",)),
    ("steps_per_call=1000000000", ("config.steps_per_call=1000000000 must be from 1 to 100,000",)),
    (
        "plateau={'metric':'validation/loss','patience':10000000000}",
        ("config.plateau.patience=10000000000", "too large"),
    ),
    # a metric that no evaluation reports
    ("select.metric=validation/acuracy", ("config.select.metric", "did you mean 'validation/accuracy'")),
    ("plateau.metric=validation/los", ("config.plateau.metric", "did you mean 'validation/loss'")),
    (
        "early_stopping={'metric':'validation/los','patience':1}",
        ("config.early_stopping.metric", "did you mean 'validation/loss'"),
    ),
    ("early_stopping={'update_delta':1.0,'update_metric':'train/los'}", ("'train/los'", "did you mean 'train/loss'")),
    ("log.wandb=project", ("config.log.wandb='project'", "pip install wandb")),
]


@pytest.mark.parametrize(("override", "words"), OVERRIDES, ids=[override for override, _ in OVERRIDES])
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
def test_config_mistakes_are_refused_by_name(capsys, tmp_path, override, words):
    assert_words(refused(capsys, CONFIG, f"--workdir={tmp_path / 'run'}", f"--config.{override}"), words)


def test_many_steps_a_call_need_resident_data(capsys, tmp_path):
    flags = [f"--workdir={tmp_path / 'run'}", "--config.data.resident=never", "--config.steps_per_call=5"]
    assert_words(refused(capsys, CONFIG, *flags), ("config.steps_per_call=5", "config.data.resident"))


def test_a_metric_to_select_by_needs_its_evaluation(capsys, tmp_path):
    """Without a validation split the wish to select on it would be dropped without a word."""
    flags = [f"--workdir={tmp_path / 'run'}", "--config.data.validation="]
    assert_words(refused(capsys, CONFIG, *flags), ("config.select.metric='validation/accuracy'",))


@pytest.mark.parametrize(
    "mistake",
    [
        "--config.model.hiden=(3,)",
        "--config.data.data_dir={tmp_path}/nowhere",
        "--config.select.metric=validation/acuracy",
    ],
)
def test_the_mended_command_runs_in_the_same_workdir(capsys, tmp_path, mistake):
    """A mistake must not claim the folder: the message says what to type next, and that has to work."""
    workdir, name = f"--workdir={tmp_path / 'run'}", "--config.data.name=mnist"
    wrong = [mistake.format(tmp_path=tmp_path)] + ([name] if "data_dir" in mistake else [])
    assert launch.main([CONFIG, workdir, "--config.log.tensorboard=False", *wrong]) == 2
    assert launch.main([CONFIG, workdir, "--config.log.tensorboard=False"]) == 0, capsys.readouterr().err
    assert (tmp_path / "run" / "DONE").exists() and not (tmp_path / "run" / "FAILED.json").exists()


def started(folder):
    """A workdir in which a run of the smoke config has begun."""
    from cvdl_jax.workdir.folder import Workdir

    workdir = Workdir(folder)
    folder.mkdir()
    workdir.write_config(configs.load("configs/classify/mlp.py:smoke"))
    workdir.meta.write_text("{}")
    (workdir.checkpoints / "1").mkdir(parents=True)
    return workdir


def test_workdir_of_another_configuration(capsys, tmp_path):
    workdir = started(tmp_path / "run")
    before = workdir.config.read_bytes()
    flags = ["--config.optim.lr=0.5", "--config.seed=3", "--config.ema.decay=0.9"]
    message = refused(capsys, CONFIG, f"--workdir={workdir.path}", *flags)
    assert_words(
        message,
        (
            str(workdir.path), "another configuration", "optim.lr: 0.002 -> 0.5", "seed: 0 -> 3",
            "ema.decay: (absent) -> 0.9", "another --workdir",
        ),
    )  # fmt: skip
    assert "batch_size" not in message  # only what differs
    assert workdir.config.read_bytes() == before and not workdir.failed.exists()


def test_many_differences_are_counted(capsys, tmp_path):
    workdir = started(tmp_path / "run")
    message = refused(capsys, "--config=configs/classify/softmax.py", f"--workdir={workdir.path}")
    assert message.count("->") == 5 and "more" in message


def test_damaged_config_of_a_workdir(capsys, tmp_path):
    workdir = started(tmp_path / "run")
    workdir.config.write_text('{"seed": 0,')
    for flags in ([CONFIG], [], ["--mode=eval"]):
        message = refused(capsys, *flags, f"--workdir={workdir.path}")
        assert_words(message, (str(workdir.config), "damaged", "fresh --workdir"))


def test_workdir_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    for workdir in (tmp_path / "file", tmp_path / "file" / "run"):
        message = refused(capsys, CONFIG, f"--workdir={workdir}")
        assert_words(message, (str(workdir), "cannot be written", "another folder"))


def test_workdir_in_use(capsys, tmp_path):
    import os

    workdir = started(tmp_path / "run")
    workdir.lock()
    try:
        message = refused(capsys, CONFIG, f"--workdir={workdir.path}")
    finally:
        workdir.unlock()
    assert_words(message, (f"pid {os.getpid()}", str(workdir.path), "another --workdir"))


def test_a_run_continues_by_its_own_config(capsys, tmp_path):
    """Without --config the workdir's own is used; overrides are still compared with it."""
    workdir = started(tmp_path / "run")
    message = refused(capsys, f"--workdir={workdir.path}", "--config.seed=7")
    assert_words(message, ("seed: 0 -> 7",))
    assert json.loads(workdir.config.read_text())["seed"] == 0


def test_help_shows_every_mode(capsys):
    with pytest.raises(SystemExit) as error:
        launch.main(["--help"])
    out = capsys.readouterr().out
    assert error.value.code == 0
    assert_words(out, (*launch.modes(), "--config.KEY=VALUE", "Exit codes"))
    modes = (
        "attack augment card check compare describe doctor ensemble eval explain export predict profile replay report "
        "sweep"
    )
    assert launch.modes() == [*modes.split(), "table", "train"]


def test_home_is_expanded_in_every_flag_that_names_a_path(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    flags = ["--workdir=~/run", "--mode=predict", "--input=~/photos", "--out=~/x.csv"]
    args = launch.parse(flags)
    assert [args.workdir, *args.input, args.out] == [f"{tmp_path}/{name}" for name in ("run", "photos", "x.csv")]
    assert launch.parse(["--compare", "~/a", "b"]).compare == [f"{tmp_path}/a", "b"]
    assert launch.parse(["--ensemble", "~/a", "~"]).ensemble == [f"{tmp_path}/a", str(tmp_path)]
    named = {flag.dest for flag in launch.parser()._actions if flag.metavar in ("DIR", "RUN", "FILE", "PATH")}
    assert named == set(launch.PATHS)  # a new flag that names a path belongs there


@pytest.mark.parametrize(
    ("code", "advice"),
    [(errno.EROFS, "make it writable"), (errno.EACCES, "make it writable"), (errno.EDQUOT, "free space")],
)
def test_what_the_system_refuses_is_one_sentence_with_advice_that_fits(monkeypatch, capsys, code, advice):
    def refuses(args):
        raise OSError(code, os.strerror(code), "/runs/a")

    monkeypatch.setattr(launch.importlib, "import_module", lambda name: types.SimpleNamespace(run=refuses))
    assert launch.main(["--mode", "describe"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {os.strerror(code)}: /runs/a; {advice}") and error.count("\n") == 1

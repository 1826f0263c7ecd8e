"""What would be submitted: every argument as it was typed, every setting of the site where it belongs."""

import json
import re
import shlex

import pytest
import yaml

import launch
from cvdl_jax.cli.clusters import code, gke, jobs, shell, site, slurm, submit, tpu_vm
from cvdl_jax.cli.clusters.jobs import Job, Work
from cvdl_jax.cli.clusters.step import Step
from cvdl_jax.errors import ConfigError, UserError

# Arguments that a shell, YAML, Kubernetes or SLURM would all like to change.
NASTY = ("--config.augment=flip | cutout(size=2)", "--config.a='b \"c\" $HOME $(id) $$ `x`'", "--config.é=#!&;*?\\", "")
JOB = Job("a run", ("--config", "configs/my file.py:smoke", *NASTY), "runs/a b")
ONE = Work("a run", [JOB], 1)
MANY = Work(
    "table", [Job(f"r{i}", ("--config", "c.py", f"--config.seed={i}"), f"runs/t/r{i}") for i in range(3)], 5, True
)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def no_site(monkeypatch, tmp_path):
    """No settings of the machine that the tests run on, and no git."""
    monkeypatch.delenv(site.VARIABLE, raising=False)
    monkeypatch.setattr(site, "DEFAULT", str(tmp_path / "none.toml"))
    monkeypatch.setattr(code, "commit", lambda: COMMIT)
    monkeypatch.setattr(code, "differs", lambda words: "")


# The site ---------------------------------------------------------------------------------------------------------


def write_site(monkeypatch, tmp_path, text):
    file = tmp_path / "site.toml"
    file.write_text(text)
    monkeypatch.setenv(site.VARIABLE, str(file))
    return file


def load(name, arg=""):
    module = {"slurm": slurm, "gke": gke, "tpu_vm": tpu_vm}[name]
    return site.load(name, module.Options, module.REQUIRED, arg)


def test_site_is_the_file_then_the_command_line(monkeypatch, tmp_path):
    assert load("slurm") == slurm.Options()
    write_site(
        monkeypatch,
        tmp_path,
        '[slurm]\npartition = "gpu"\ntime = "04:00:00"\nsetup = ["module load cuda", "x, y"]\ngpus_per_node = 4\n'
        '[slurm.env]\nTFDS_DATA_DIR = "/data"\n[gke]\nimage = "i"\n',
    )
    found = load("slurm", "time=1-00:00:00,nodes=2")
    assert found == slurm.Options(
        partition="gpu", time="1-00:00:00", nodes=2, setup=("module load cuda", "x, y"), gpus_per_node=4,
        env={"TFDS_DATA_DIR": "/data"},
    )  # fmt: skip
    assert type(found.env) is dict


def test_default_file_is_read_where_it_exists(monkeypatch, tmp_path):
    file = tmp_path / "site.toml"
    file.write_text('[slurm]\naccount = "me"\n')
    monkeypatch.setattr(site, "DEFAULT", str(file))
    assert load("slurm").account == "me"


@pytest.mark.parametrize(
    ("text", "arg", "words"),
    [
        ('[slurm]\npartion = "gpu"', "", ("site.toml", "slurm.partion", "did you mean 'partition'?")),
        ('[slrm]\npartition = "gpu"', "", ("site.toml", "[slrm]", "did you mean 'slurm'?")),
        ("slurm = 3", "", ("site.toml", "[slurm]")),
        ("[slurm]\nnodes = 'two'", "", ("site.toml", "slurm.nodes='two'", "expected int")),
        ("[slurm]\nnodes = x\n", "", ("site.toml", "TOML", "line 2")),
        ("", "partion=gpu", ("'partion'", "did you mean 'partition'?")),
        ("", "nodes=two", ("nodes='two'", "expected int")),
    ],
)
def test_mistakes_in_the_site_are_named(monkeypatch, tmp_path, text, arg, words):
    write_site(monkeypatch, tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load("slurm", arg)
    assert [word for word in words if word not in str(error.value)] == []


def test_file_named_but_missing(monkeypatch, tmp_path):
    monkeypatch.setenv(site.VARIABLE, str(tmp_path / "gone.toml"))
    with pytest.raises(ConfigError, match=r"CVDL_SITE=.*gone\.toml: there is no such file"):
        load("slurm")


@pytest.mark.parametrize(
    ("name", "arg", "key", "example"),
    [
        ("tpu_vm", "", "name", "my-tpu"),
        ("tpu_vm", "name=t", "zone", "us-central2-b"),
        ("gke", "image=i", "claim", "cvdl-runs"),
    ],
)
def test_missing_settings_say_what_to_type(name, arg, key, example):
    with pytest.raises(ConfigError) as error:
        load(name, arg)
    assert f'{name} needs {key}: write {key} = "{example}" below [{name}] in ' in str(error.value)
    assert f"--launcher {name}:{key}={example}" in str(error.value)


def test_documentation_lists_every_setting():
    """docs/launchers.md shows each key with its default."""
    import tomllib

    text = (launch.MODES.parents[2] / "docs" / "launchers.md").read_text()
    block = text.partition("    [slurm]\n")[2].partition("\n\n## ")[0]
    shown = tomllib.loads("[slurm]\n" + re.sub(r"^    ", "", block, flags=re.M))
    for name, module in (("slurm", slurm), ("tpu_vm", tpu_vm), ("gke", gke)):
        defaults = {k: list(v) if isinstance(v, tuple) else v for k, v in module.Options._field_defaults.items()}
        assert shown[name] == defaults


# What is to be run ------------------------------------------------------------------------------------------------


def test_command_line_without_the_launchers_flags():
    argv = [
        "--launcher",
        "slurm:time=1",
        "--config=c.py",
        "--workdir",
        "a b",
        "--dry_run",
        "--config.x=--dry_run",
        "--status",
    ]
    assert jobs.without(argv) == ["--config=c.py", "--config.x=--dry_run", "--status"]
    assert jobs.without(["--launcher=slurm", "--workdir=w", "--mode", "eval"]) == ["--mode", "eval"]
    assert jobs.without(["--workdir=w", "--launcher=x"], keep=["--workdir"]) == ["--workdir=w"]


def test_workdirs_below_another_folder():
    assert JOB.words()[-2:] == ["--workdir", "runs/a b"]
    assert JOB.words("/volume")[-1] == "/volume/runs/a b"
    assert Job("x", ("--mode", "doctor"), None).words("/volume") == ["--mode", "doctor"]
    assert Job("x", (), "/data/run").words("/volume")[-1] == "/data/run"
    assert ONE.folders("/v") == ["/v/runs/a b"] and MANY.folders() == ["runs/t"]


def parsed(*argv):
    return launch.parse(argv), list(argv)


def test_a_single_run_is_checked_before_it_is_submitted(tmp_path):
    flags = ["--config=configs/classify/mlp.py:smoke", f"--workdir={tmp_path / 'run'}", "--launcher=slurm"]
    work = jobs.collect(*parsed(*flags))
    assert work == Work("run", [Job("run", ("--config=configs/classify/mlp.py:smoke",), str(tmp_path / "run"))], 1)
    with pytest.raises(ConfigError, match=r"config\.optm .*did you mean 'optim'"):
        jobs.collect(*parsed(*flags, "--config.optm.lr=1"))
    with pytest.raises(ConfigError, match="--status"):
        jobs.collect(*parsed(*flags, "--status"))
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_done_or_running_is_not_submitted(tmp_path, monkeypatch, capsys):
    from cvdl_jax.workdir import run_state

    flags = ["--config=configs/classify/mlp.py:smoke", f"--workdir={tmp_path / 'run'}", "--launcher=slurm"]
    monkeypatch.setattr(run_state, "state_of", lambda *_: run_state.RunState(run_state.DONE, 2))
    assert launch.main(flags) == 0
    assert "run: nothing to submit, all is done or running (1 of 1)" in capsys.readouterr().err
    monkeypatch.setattr(run_state, "state_of", lambda *_: run_state.RunState(run_state.RUNNING, 7))
    assert launch.main(flags) == 2
    assert f"{tmp_path / 'run'} is running already, at step 7" in capsys.readouterr().err


def test_only_runs_of_a_sweep_that_are_not_done_are_submitted(tmp_path, monkeypatch):
    from cvdl_jax.cli.tables import build_all
    from cvdl_jax.workdir import run_state

    states = iter([run_state.DONE, run_state.RUNNING, run_state.PARTIAL, run_state.FAILED])
    checked = []
    monkeypatch.setattr(run_state, "state_of", lambda *_: run_state.RunState(next(states)))
    monkeypatch.setattr(build_all, "check", lambda runs, metric, say: checked.extend(runs))
    argv = [
        "--sweep=configs/sweeps/digits_mlp_grid.py:smoke", f"--workdir={tmp_path}", "--workers=2", "--launcher=slurm",
        "--config.batch_size=8",
    ]  # fmt: skip
    work = jobs.collect(*parsed(*argv))
    assert (work.name, work.total, work.many, work.workers) == ("digits_mlp_grid_smoke", 4, True, 2)
    assert len(checked) == 4
    assert [job.name for job in work.jobs] == [
        "lr=0.002, weight_decay=0.0, seed 0",
        "lr=0.002, weight_decay=0.1, seed 0",
    ]
    assert work.jobs[0].arguments == (
        "--config", "configs/classify/mlp.py:smoke", "--config.batch_size=8", "--config.optim.lr=0.002",
        "--config.optim.weight_decay=0.0", "--config.seed=0",
    )  # fmt: skip
    assert work.jobs[0].workdir.startswith(f"{tmp_path}/lr_0.002_weight_decay_0.0-seed0-")
    again = ["python", "launch.py", *argv[:3], "--config.batch_size=8"]
    assert shlex.split(work.command) == again  # without --launcher, that is the one that writes the table


def test_runs_of_a_table_are_submitted(tmp_path, capsys, monkeypatch):
    table = {
        "title": "Two", "metric": {"key": "test/accuracy", "label": "test accuracy"}, "data": "digits", "protocol": "p",
        "rows": [
            {"name": "A", "config": "configs/classify/softmax.py:smoke"},
            {
                "name": "B (x)", "config": "configs/classify/svm.py:smoke",
                "overrides": ["config.augment=flip | cutout(2)"],
            },
        ],
    }  # fmt: skip
    (tmp_path / "two.py").write_text(f"def get_table(arg=None):\n    return {table!r}\n")
    monkeypatch.chdir(tmp_path)
    assert launch.main(["--table=two.py", "--launcher=slurm", "--dry_run"]) == 0
    captured = capsys.readouterr()
    assert "two: 2 of 2 runs are not done" in captured.err
    assert header(captured.out)["array"] == "0-1"
    tasks = re.findall(r"^  \d\) set -- (.*) ;;$", captured.out, flags=re.M)
    words = ["--config.augment=flip | cutout(2)", "--config.seed=0", "--workdir"]
    assert shlex.split(tasks[1])[:5] == ["--config", "configs/classify/svm.py:smoke", *words]
    assert re.fullmatch(r"runs/tables/two/b_x-seed0-[0-9a-f]{8}", shlex.split(tasks[1])[5])


# SLURM ------------------------------------------------------------------------------------------------------------


def header(text):
    lines = [line.removeprefix("#SBATCH --") for line in text.split("\n") if line.startswith("#SBATCH ")]
    return {key: value if given else True for key, given, value in (line.partition("=") for line in lines)}


def test_slurm_header_of_a_run():
    options = slurm.Options(
        partition="gpu", time="1-00:00:00", gpus_per_node="a100:4", mem="32G", extra=("--exclusive",)
    )
    text = slurm.script(ONE, options)
    assert text.startswith("#!/bin/bash\n#SBATCH ")
    assert header(text) == {
        "job-name": "a_run", "partition": "gpu", "time": "1-00:00:00", "nodes": "1", "ntasks-per-node": "1",
        "gpus-per-node": "a100:4", "mem": "32G", "signal": "B:TERM@120", "open-mode": "append",
        "output": "runs/slurm/%x-%j.out", "requeue": True, "exclusive": True,
    }  # fmt: skip
    assert "srun" not in text and "--array" not in text  # one process needs no srun


def test_slurm_array_has_a_task_per_run():
    found = header(slurm.script(MANY._replace(workers=2), slurm.Options(array_at_once=9)))
    assert found["array"] == "0-2%2" and found["output"] == "runs/slurm/%x-%A_%a.out"
    assert header(slurm.script(MANY, slurm.Options(array_at_once=9)))["array"] == "0-2%9"
    short = slurm.Options(array_limit=2)
    assert header(slurm.script(MANY, short))["array"] == "0-1"
    assert (
        "the first 2 runs (array_limit)" in slurm.remarks(MANY, short)[0] and "other 1" in slurm.remarks(MANY, short)[0]
    )
    assert slurm.remarks(MANY, slurm.Options()) == []


def test_slurm_processes_are_one_per_gpu():
    """JAX on SLURM makes SLURM_LOCALID the only visible device of a process (jax/_src/clusters/slurm_cluster.py)."""
    assert slurm.processes(slurm.Options(gpus_per_node=4)) == 1  # one process, all GPUs
    assert slurm.processes(slurm.Options(gpus_per_node="a100:4", nodes=2)) == 4
    assert slurm.processes(slurm.Options(nodes=3)) == 1
    with pytest.raises(ConfigError, match=r"tasks_per_node=2 with gpus_per_node=4.*tasks_per_node = 4"):
        slurm.processes(slurm.Options(gpus_per_node=4, nodes=2, tasks_per_node=2))
    with pytest.raises(ConfigError, match="nodes=0"):
        slurm.processes(slurm.Options(nodes=0))
    text = slurm.script(ONE, slurm.Options(nodes=2, gpus_per_node=4, cpus_per_task=8, python="python3"))
    assert header(text)["ntasks-per-node"] == "4" and header(text)["nodes"] == "2"
    assert 'run srun --kill-on-bad-exit=0 --wait=0 --cpus-per-task=8 python3 launch.py "$@"' in text


@pytest.mark.parametrize("options", [{"partition": "a b"}, {"account": "x#y"}, {"time": "1'"}, {"logs": 'a"b'}])
def test_slurm_refuses_what_a_header_cannot_hold(options):
    with pytest.raises(ConfigError, match="may hold no space, quote or '#'"):
        slurm.script(ONE, slurm.Options(**options))


def test_slurm_refuses_an_extra_that_is_no_option():
    with pytest.raises(ConfigError, match="extra='exclusive' must be one option"):
        slurm.script(ONE, slurm.Options(extra=("exclusive",)))


def test_environment_is_quoted_and_checked():
    assert shell.exports({"A": "x 'y' $z", "N": 3}) == ["export A='x '\"'\"'y'\"'\"' $z'", "export N=3"]
    for env in ({"A-B": "x"}, {"A": "x\ny"}, {"A": True}, {"A": ["x"]}):
        with pytest.raises(ConfigError, match="env"):
            shell.exports(env)


# Google Kubernetes Engine -----------------------------------------------------------------------------------------

TPU = gke.Options(image="i", claim="c", accelerator="tpu-v5-lite-podslice", topology="4x4", chips=4)


def manifests(work, options):
    (step,) = gke.steps(work, options)
    return list(yaml.safe_load_all(step.stdin))


def pod(manifest):
    (job,) = manifest["spec"]["replicatedJobs"]
    return job["template"]["spec"], job["template"]["spec"]["template"]["spec"]


def unescaped(text):
    """What Kubernetes makes of `$` in commands where no variable is set (third_party/forked/golang/expansion)."""
    return re.sub(r"\$(\$|\([A-Za-z_]\w*\))", lambda found: "$" if found[1] == "$" else found[0], text)


def test_gke_run_of_one_pod():
    (found,) = manifests(ONE, gke.Options(image="i", claim="c", env={"A": "$(B) $$"}, gpu="nvidia-l4", gpus=2))
    assert found["apiVersion"] == "jobset.x-k8s.io/v1alpha2" and found["kind"] == "JobSet"
    assert re.fullmatch(r"a-run-[0-9a-f]{8}", found["metadata"]["name"])
    assert found["spec"]["failurePolicy"] == {
        "maxRestarts": 5, "rules": [{"action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}]
    }  # fmt: skip
    job, spec = pod(found)
    assert (job["parallelism"], job["completions"], job["backoffLimit"]) == (1, 1, 0)
    rules = job["podFailurePolicy"]["rules"]
    assert [(rule["action"], rule.get("onExitCodes", {}).get("values")) for rule in rules] == [
        ("Ignore", [75, 143]), ("FailJob", [1, 2]), ("Ignore", None)
    ]  # fmt: skip
    assert spec["restartPolicy"] == "Never"  # what a pod failure policy asks for
    (container,) = spec["containers"]
    assert all(r["onExitCodes"]["containerName"] == container["name"] for r in rules[:2])
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 2}
    assert spec["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    assert [(e["name"], unescaped(e["value"])) for e in container["env"]] == [("A", "$(B) $$")]
    sh, c, command = container["command"]
    unset, run = unescaped(command).split("\n")
    assert [sh, c] == ["/bin/sh", "-c"] and unset.startswith("unset JOB_COMPLETION_INDEX")
    assert shlex.split(run) == ["exec", "python", "launch.py", *JOB.words("/volume")]


def test_gke_tpu_slice_tells_its_hosts_who_they_are():
    (found,) = manifests(ONE, TPU)
    job, spec = pod(found)
    assert (job["parallelism"], job["completions"], job["completionMode"]) == (4, 4, "Indexed")
    assert spec["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice", "cloud.google.com/gke-tpu-topology": "4x4"
    }  # fmt: skip
    assert spec["containers"][0]["resources"]["limits"] == {"google.com/tpu": 4}
    name = found["metadata"]["name"]
    assert unescaped(spec["containers"][0]["command"][2]).endswith(
        f' --coordinator={name}-run-0-0.{name}:8482 --num_processes=4 --process_id="$JOB_COMPLETION_INDEX"'
    )


def test_gke_a_manifest_per_run_named_by_what_it_does():
    found = manifests(MANY, TPU)
    names = [each["metadata"]["name"] for each in found]
    assert len(set(names)) == 3 and names == [each["metadata"]["name"] for each in manifests(MANY, TPU)]
    long = gke.name_of(Job("X" * 99 + "!", (), "w"))
    assert len(long) <= gke.NAME and re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", long)
    assert gke.name_of(Job("7 é", (), "w")).startswith("run-7-")


def test_gke_commands_of_several_lines_are_readable():
    (step,) = gke.steps(ONE, gke.Options(image="i", claim="c", setup=("source a", "b")))
    assert "\n                source a\n                b\n                exec python launch.py" in step.stdin
    assert step.words == ("kubectl", "apply", "-f", "-")
    assert gke.steps(ONE, TPU._replace(context="x"))[0].words == ("kubectl", "--context=x", "apply", "-f", "-")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hosts": 2}, "topology 4x4 has 16 chips, but hosts=2 with chips=4 have 8"),
        ({"chips": 3}, "topology 4x4 has 16 chips, but hosts=6 with chips=3 have 18"),
        ({"chips": 0}, "needs topology and chips"),
        ({"topology": "4by4"}, "needs topology and chips"),
        ({"gpu": "nvidia-l4"}, "accelerator is for TPUs, gpu for GPUs"),
        ({"accelerator": "", "gpus": 2}, "gpu and gpus belong together"),
    ],
)
def test_gke_settings_that_do_not_fit(change, words):
    with pytest.raises(ConfigError, match=words):
        gke.steps(ONE, TPU._replace(**change))


def test_gke_runs_must_be_on_the_volume():
    with pytest.raises(ConfigError, match=r"/tmp/x is not on the volume c, which is mounted at /volume"):
        gke.steps(Work("x", [Job("x", (), "/tmp/x")], 1), TPU)
    gke.steps(Work("x", [Job("x", (), "/volume/x")], 1), TPU)


# TPU VMs ----------------------------------------------------------------------------------------------------------

VM = tpu_vm.Options(name="t", zone="z")


def test_tpu_vm_copies_the_commit_and_runs_on_all_hosts():
    bundle, copy, run = tpu_vm.steps(ONE, VM._replace(project="p"))
    path = str(code.bundle(COMMIT))
    assert bundle.words[3:] == ("bundle", "create", "--quiet", path, "HEAD")
    gcloud = ("gcloud", "compute", "tpus", "tpu-vm")
    where = ("--zone=z", "--project=p", "--worker=all")
    assert copy.words == (*gcloud, "scp", path, f"t:{path.rpartition('/')[2]}", *where)
    assert run.words[:-1] == (*gcloud, "ssh", "t", *where) and run.words[-1].startswith("--command=set -eu\n")
    assert run.follow
    assert f"git checkout --quiet --detach {COMMIT}" in run.words[-1]
    assert f"until_done .venv/bin/python launch.py {shlex.join(JOB.words())} $peers" in run.words[-1]


def test_tpu_vm_clones_or_creates_where_asked_to():
    (run,) = tpu_vm.steps(ONE, VM._replace(repository="https://host/r.git", internal_ip=True, runs="/shared"))
    assert "--internal-ip" in run.words
    assert "git clone --quiet --no-checkout https://host/r.git cvdl_jax" in run.words[-1]
    assert f"git fetch --quiet https://host/r.git {COMMIT}" in run.words[-1]
    assert "--workdir '/shared/runs/a b'" in run.words[-1]
    create = tpu_vm.steps(ONE, VM._replace(accelerator="v5litepod-16", version="v", spot=True))[0]
    assert create.words[4:] == ("create", "t", "--zone=z", "--accelerator-type=v5litepod-16", "--version=v", "--spot")
    assert create.unless[4:] == ("describe", "t", "--zone=z")
    with pytest.raises(ConfigError, match="accelerator and version belong together"):
        tpu_vm.steps(ONE, VM._replace(accelerator="v5litepod-16"))


@pytest.mark.parametrize(
    "change", [{"name": "-x"}, {"zone": "a b"}, {"directory": "/"}, {"directory": "a b"}, {"directory": ""}]
)
def test_tpu_vm_refuses_names_that_are_none(change):
    with pytest.raises(ConfigError, match="may hold only"):
        tpu_vm.steps(ONE, VM._replace(**change))


def test_tpu_vm_runs_only_what_is_committed(monkeypatch):
    monkeypatch.setattr(code, "differs", lambda words: f"a file that is not committed ({[*words][1]})")
    with pytest.raises(UserError, match=r"configs/my file\.py:smoke.*commit first"):
        tpu_vm.prepare(ONE, VM)
    assert tpu_vm.remarks(ONE, VM)[0].startswith("not as it is here: a file that is not committed")


def test_tpu_vm_says_how_to_stop_and_to_copy():
    assert shlex.split(tpu_vm.remarks(ONE, VM)[-1])[-1] == '--command=kill -TERM "$(cut -d " " -f 1 cvdl_jax_logs/now)"'
    (line,) = tpu_vm.submitted(MANY, VM._replace(runs="/shared"), [])
    assert line.endswith("gcloud compute tpus tpu-vm scp t:/shared/runs/t runs --zone=z --recurse --worker=0")
    (line,) = tpu_vm.submitted(ONE, VM, [])
    assert "'t:cvdl_jax/runs/a b' runs" in line


# The command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--launcher=slrm"], ("--launcher='slrm' does not exist", "did you mean 'slurm'?")),
        (["--launcher=slurm:nods=2"], ("'nods'", "did you mean 'nodes'?")),
        (["--launcher=slurm", "--process_id=0"], ("leave out --coordinator",)),
        (["--launcher=gke"], ("gke needs image",)),
        (["--launcher=slurm", "--config.optm.lr=1"], ("config.optm", "did you mean 'optim'?")),
    ],
)
def test_launcher_mistakes_are_refused_by_name(capsys, tmp_path, flags, words):
    assert (
        launch.main(["--config=configs/classify/mlp.py:smoke", f"--workdir={tmp_path / 'w'}", "--dry_run", *flags]) == 2
    )
    captured = capsys.readouterr()
    assert captured.out == "" and [word for word in words if word not in captured.err] == []


def test_missing_tool_is_named(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert launch.main(["--config=configs/classify/mlp.py:smoke", "--workdir=w", "--launcher=slurm"]) == 2
    assert "sbatch is not on the PATH" in (error := capsys.readouterr().err) and "--dry_run" in error


def test_dry_run_prints_what_is_submitted_and_nothing_else(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # no tool is needed
    flags = ["--config=configs/classify/mlp.py:smoke", "--workdir=my run", "--dry_run"]
    assert launch.main([*flags, "--launcher=slurm"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("#!/bin/bash\n") and f"cd {tmp_path}" in text and "/launch.py" in text
    assert "set -- --config=configs/classify/mlp.py:smoke --workdir 'my run'\n" in text
    assert launch.main([*flags, "--launcher=gke:image=i,claim=c"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["kind"] == "JobSet"
    assert list(tmp_path.iterdir()) == []


def test_printed_step_of_several_lines():
    step = Step(("ssh", "a b", "--command=one\ntwo 'x'"))
    assert step.printed() == "ssh 'a b' --command=\"$(cat <<'END_OF_COMMAND'\none\ntwo 'x'\nEND_OF_COMMAND\n)\""
    assert Step(("make", "x y"), unless=("test", "-e", "x")).printed() == "test -e x > /dev/null 2>&1 ||\n  make 'x y'"
    with pytest.raises(UserError, match="END_OF_COMMAND"):
        Step(("ssh", "--command=a\nEND_OF_COMMAND")).printed()


def test_interrupted_submission(monkeypatch, capsys, tmp_path):
    def interrupted(step):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Step, "run", interrupted)
    assert (
        launch.main(["--config=configs/classify/mlp.py:smoke", "--workdir=w", "--launcher=tpu_vm:name=t,zone=z"]) == 130
    )
    assert "what was submitted goes on" in capsys.readouterr().err


def test_gke_answer(capsys):
    lines = gke.submitted(ONE, TPU, ["jobset.jobset.x-k8s.io/x created"])
    assert lines[0] == "jobset.jobset.x-k8s.io/x created" and gke.name_of(JOB) in lines[1] and "logs -f" in lines[1]
    assert json.dumps(lines) and submit.say("x") is None
    assert capsys.readouterr().err == "x\n"

"""The scripts that are submitted, run by real shells among stand-ins for the tools of a site."""

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import launch
from cvdl_jax.cli.clusters import code, site, slurm, tpu_vm
from cvdl_jax.cli.clusters.jobs import Job, Work
from cvdl_jax.config import configs

pytestmark = pytest.mark.long
NASTY = ("--config.augment=flip | cutout(size=2)", "--config.a='b \"c\" $HOME $(id) $$ `x`'", "--config.é=#!&;*?\\", "")
JOB = Job("a run", ("--config", "my file.py:smoke", *NASTY), "runs/a b")
# A stand-in appends its name, arguments and standard input to $CALLS; what it does next is in $FAKE_<NAME>.
RECORD = f"""#!{sys.executable}
import json, os, sys
name = os.path.basename(sys.argv[0])
stdin = sys.stdin.read() if name in ("sbatch", "kubectl") else ""
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([name, sys.argv[1:], stdin]) + "\\n")
exec(os.environ.get("FAKE_" + name.upper(), ""))
"""
# Says on one named pipe that it has started, and then waits for SIGTERM, or for a line on another.
WAIT = """
import signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(75))
with open(os.environ["STARTED"], "w") as started:
    started.write("started")
with open(os.environ["GO_ON"]) as go_on:
    sys.exit(int(go_on.readline()))
"""
TOOLS = ("sbatch", "srun", "scontrol", "gcloud", "kubectl", "python", "python3", "curl", "sleep")


class Site:
    """A folder of stand-ins, the environment to find them by, and what they were called with."""

    def __init__(self, folder: Path):
        self.folder, self.record = folder, folder / "calls"
        (folder / "bin").mkdir(parents=True)
        for name in TOOLS:
            self.tool(name)
        for name in ("started", "go_on"):
            os.mkfifo(folder / name)
        self.environment = {
            "PATH": f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin", "CALLS": str(self.record), "HOME": str(folder),
            "STARTED": str(folder / "started"), "GO_ON": str(folder / "go_on"), "LC_ALL": "C.UTF-8",
        }  # fmt: skip

    def tool(self, name: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(RECORD)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def calls(self, *names: str) -> list[list]:
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        return [call for call in map(json.loads, lines) if call[0] in names]

    def started(self) -> None:
        """Returns when the waiting stand-in has started."""
        assert (self.folder / "started").read_text() == "started"

    def go_on(self, exit_code: int) -> None:
        """Lets it end."""
        (self.folder / "go_on").write_text(f"{exit_code}\n")

    def shell(self, script: str, *more: str, shell: str = "bash", **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [shell, "-c", script], env=self.environment | environment, cwd=self.folder, capture_output=True, text=True,
            timeout=120,
        )  # fmt: skip

    def begin(self, script: str, shell: str = "bash", **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            [shell, "-c", script], env=self.environment | environment, cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    found = Site(tmp_path / "site")
    monkeypatch.setattr(site, "DEFAULT", str(tmp_path / "none.toml"))
    monkeypatch.delenv(site.VARIABLE, raising=False)
    for name in ("PATH", "CALLS"):
        monkeypatch.setenv(name, found.environment[name])
    monkeypatch.chdir(found.folder)
    return found


# SLURM ------------------------------------------------------------------------------------------------------------

TASK = {"SLURM_JOB_ID": "1235", "SLURM_ARRAY_JOB_ID": "1234", "SLURM_ARRAY_TASK_ID": "1"}
MANY = Work("t", [Job("r0", ("--config", "c.py"), "r0"), JOB], 2, True)


def leaves(code: int) -> dict[str, str]:
    return {"FAKE_PYTHON": f"sys.exit({code})"}


def test_slurm_arguments_arrive_as_they_were_typed(cluster):
    script = slurm.script(Work("x", [JOB], 1), slurm.Options(python="python", env={"A": "x 'y' $z"}))
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    shows = {"FAKE_PYTHON": "print(os.environ['A'], os.getcwd(), sep='|')"}
    done = cluster.shell(f"cd /; {script}", SLURM_JOB_ID="7", **shows)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"x 'y' $z|{cluster.folder}\n"
    assert cluster.calls("python") == [["python", [str(configs.ROOT / "launch.py"), *JOB.words()], ""]]


def test_slurm_task_runs_the_run_of_its_number(cluster):
    script = slurm.script(MANY, slurm.Options(python="python", setup=("echo 'from setup'",)))
    done = cluster.shell(script, **TASK)
    assert (done.returncode, done.stdout) == (0, "from setup\n")
    assert [arguments[1:] for _, arguments, _ in cluster.calls("python")] == [JOB.words()]
    beyond = cluster.shell(script, **TASK | {"SLURM_ARRAY_TASK_ID": "2"})
    assert beyond.returncode == 2 and "this array has no run 2" in beyond.stderr
    assert len(cluster.calls("python")) == 1


def test_slurm_several_processes_are_started_by_srun(cluster):
    script = slurm.script(Work("x", [JOB], 1), slurm.Options(python="python", nodes=2, gpus_per_node=4))
    assert cluster.shell(script, SLURM_JOB_ID="7").returncode == 0
    words = ["--kill-on-bad-exit=0", "--wait=0", "python", str(configs.ROOT / "launch.py"), *JOB.words()]
    assert cluster.calls("srun", "python") == [["srun", words, ""]]


@pytest.mark.parametrize("code", [0, 1, 2, 74, 75, 76, 130, 134])
def test_slurm_only_75_is_queued_again(cluster, code):
    script = slurm.script(MANY, slurm.Options(python="python"))
    done = cluster.shell(script, **TASK, **leaves(code))
    assert done.returncode == code
    asked = [["scontrol", ["show", "job", "1235"], ""], ["scontrol", ["requeue", "1234_1"], ""]]
    assert cluster.calls("scontrol") == (asked if code == 75 else [])


def test_slurm_job_that_is_no_array_is_queued_again_by_its_own_number(cluster):
    script = slurm.script(Work("x", [JOB], 1), slurm.Options(python="python"))
    assert cluster.shell(script, SLURM_JOB_ID="7", **leaves(75)).returncode == 75
    assert cluster.calls("scontrol")[-1][1] == ["requeue", "7"]


def test_slurm_cancelled_or_often_requeued_jobs_are_left_alone(cluster):
    script = slurm.script(MANY, slurm.Options(python="python", max_requeues=3))
    state = {"FAKE_SCONTROL": "print('JobId=1235 UserId=x\\n   JobState=CANCELLED Reason=None')"}
    done = cluster.shell(script, **TASK, **leaves(75), **state)
    assert done.returncode == 75 and "cancelled: saved, and not queued again" in done.stdout
    done = cluster.shell(script, **TASK, **leaves(75), SLURM_RESTART_COUNT="3")
    assert done.returncode == 75 and "stopped after 3 requeues" in done.stdout
    assert [arguments[0] for _, arguments, _ in cluster.calls("scontrol")] == ["show", "show"]
    cluster.shell(script, **TASK, **leaves(75), SLURM_RESTART_COUNT="2")
    assert cluster.calls("scontrol")[-1][1] == ["requeue", "1234_1"]


@pytest.mark.parametrize("launcher", ["python", "srun"])
def test_slurm_hands_sigterm_on_and_queues_the_job_again(cluster, launcher):
    options = slurm.Options(python="python", nodes=2 if launcher == "srun" else 1)
    process = cluster.begin(slurm.script(MANY, options), **TASK, **{f"FAKE_{launcher.upper()}": WAIT})
    cluster.started()
    process.send_signal(signal.SIGTERM)  # as `--signal=B:TERM@120` does: to the shell only
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    assert cluster.calls("scontrol")[-1][1] == ["requeue", "1234_1"]


def test_slurm_queues_a_job_again_that_was_told_to_stop_before_python_could_answer(cluster):
    dies = WAIT.replace("lambda *_: os._exit(75)", "signal.SIG_DFL")
    process = cluster.begin(slurm.script(MANY, slurm.Options(python="python")), **TASK, FAKE_PYTHON=dies)
    cluster.started()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    assert cluster.calls("scontrol")[-1][1] == ["requeue", "1234_1"]
    assert cluster.shell(slurm.script(MANY, slurm.Options(python="python")), **TASK, **leaves(143)).returncode == 143


def test_slurm_run_that_ends_well_in_spite_of_sigterm(cluster):
    """The signal came during the last evaluation: the run is done, and nothing is queued again."""
    ignores = WAIT.replace("lambda *_: os._exit(75)", "signal.SIG_IGN")
    process = cluster.begin(slurm.script(MANY, slurm.Options(python="python")), **TASK, FAKE_PYTHON=ignores)
    cluster.started()
    process.send_signal(signal.SIGTERM)
    cluster.go_on(0)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert cluster.calls("scontrol") == []


def test_slurm_submission(cluster, capsys, monkeypatch):
    flags = ["--config=configs/classify/mlp.py:smoke", "--workdir=my run", "--launcher=slurm:time=01:00:00"]
    assert launch.main([*flags, "--dry_run"]) == 0
    printed = capsys.readouterr().out
    assert cluster.calls(*TOOLS) == [] and not (cluster.folder / "runs").exists()
    monkeypatch.setenv("FAKE_SBATCH", "print('4321;cluster')")
    assert launch.main(flags) == 0
    assert capsys.readouterr().out.startswith("submitted job 4321; squeue -j 4321 shows it, scancel 4321 ends it; ")
    ((_, words, stdin),) = cluster.calls("sbatch")
    assert words == ["--parsable"] and stdin == printed
    assert (cluster.folder / "runs" / "slurm").is_dir()  # without it SLURM would not start the job
    monkeypatch.setenv("FAKE_SBATCH", "print('sbatch: error: invalid partition', file=sys.stderr); sys.exit(1)")
    assert launch.main(flags) == 2
    assert "sbatch --parsable failed with exit code 1: sbatch: error: invalid partition" in capsys.readouterr().err


def test_slurm_script_trains(cluster, capsys, clean_environment):
    """What was submitted is a run of this repository; submitted again, it is done."""
    flags = ["--config=configs/classify/mlp.py:smoke", "--workdir=my run", "--launcher=slurm"]
    assert launch.main([*flags, "--config.log.tensorboard=False"]) == 0
    ((_, _, script),) = cluster.calls("sbatch")
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=300,
        env={**clean_environment, "PATH": cluster.environment["PATH"], "SLURM_JOB_ID": "7", "SLURM_NTASKS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (cluster.folder / "my run" / "DONE").exists()
    assert launch.main([*flags, "--config.log.tensorboard=False"]) == 0
    assert "nothing to submit" in capsys.readouterr().err and len(cluster.calls("sbatch")) == 1


# Google Kubernetes Engine -----------------------------------------------------------------------------------------


def test_gke_submission(cluster, capsys, monkeypatch):
    flags = ["--config=configs/classify/mlp.py:smoke", "--workdir=my run", "--launcher=gke:image=i,claim=c,context=x"]
    assert launch.main([*flags, "--dry_run"]) == 0
    printed = capsys.readouterr().out
    monkeypatch.setenv("FAKE_KUBECTL", "print('jobset.jobset.x-k8s.io/my-run created')")
    assert launch.main(flags) == 0
    assert capsys.readouterr().out.startswith("jobset.jobset.x-k8s.io/my-run created\n")
    ((_, words, stdin),) = cluster.calls("kubectl")
    assert words == ["--context=x", "apply", "-f", "-"] and stdin == printed
    (job,) = yaml.safe_load(stdin)["spec"]["replicatedJobs"]
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    done = cluster.shell(container["command"][2].replace("$$", "$"), shell="sh", JOB_COMPLETION_INDEX="0")
    assert done.returncode == 0, done.stderr
    words = ["launch.py", "--config=configs/classify/mlp.py:smoke", "--workdir", "/volume/my run"]
    assert cluster.calls("python") == [["python", words, ""]]


# TPU VMs ----------------------------------------------------------------------------------------------------------

# `gcloud ... scp` copies into the home folder of the host, `ssh` runs the command there.
GCLOUD = """
import shutil, subprocess
words = dict(word.partition("=")[::2] for word in sys.argv[1:] if word.startswith("--"))
home = os.environ["HOST"]
if sys.argv[4] == "scp":
    shutil.copy(sys.argv[5], os.path.join(home, sys.argv[6].partition(":")[2]))
if sys.argv[4] == "ssh":
    shell = [os.environ.get("HOST_SHELL", "sh"), "-c", words["--command"]]
    sys.exit(subprocess.run(shell, env={**os.environ, "HOME": home}).returncode)
"""
# `python3 -m venv` puts itself into the virtual environment; there it is "python".
VENV = """
import shutil
if sys.argv[1:3] == ["-m", "venv"]:
    os.makedirs(sys.argv[3] + "/bin")
    shutil.copy(sys.argv[0], sys.argv[3] + "/bin/python")
"""
TINY = """
from cvdl_jax.config import configs
def get_config(arg=None):
    return configs.smoke(configs.base())
"""


@pytest.fixture
def pod(cluster, tmp_path, monkeypatch):
    """A repository with one commit, and the host of a TPU VM."""
    root = tmp_path / "my repository"
    root.mkdir()
    (root / "requirements.txt").write_text("jax\n")
    (root / "tiny.py").write_text(TINY)
    git = ["git", "-C", str(root), "-c", "user.name=x", "-c", "user.email=x"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    (tmp_path / "host").mkdir()
    monkeypatch.setattr(configs, "ROOT", root)
    monkeypatch.setattr(tpu_vm, "ROOT", root)
    monkeypatch.setattr(code.tempfile, "tempdir", str(tmp_path))
    for name, value in {"HOST": str(tmp_path / "host"), "FAKE_GCLOUD": GCLOUD, "FAKE_PYTHON3": VENV}.items():
        monkeypatch.setenv(name, value)
        cluster.environment[name] = value
    monkeypatch.chdir(root)
    return cluster


FLAGS = ["--config=tiny.py", "--workdir=my run", "--launcher=tpu_vm:name=t,zone=z"]
CALL = ["launch.py", "--config=tiny.py", "--workdir", "my run"]


def runs(pod):
    return [arguments for _, arguments, _ in pod.calls("python") if arguments[0] == "launch.py"]


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_tpu_vm_runs_the_commit(pod, capfd, monkeypatch, tmp_path, shell):
    monkeypatch.setenv("HOST_SHELL", shell)
    monkeypatch.setenv("FAKE_PYTHON", "print('trained')")
    assert launch.main(FLAGS) == 0
    captured = capfd.readouterr()
    assert "trained" in captured.out and "to copy them here: gcloud compute tpus tpu-vm scp" in captured.out
    checkout = tmp_path / "host" / "cvdl_jax"
    heads = [subprocess.check_output(["git", "-C", str(at), "rev-parse", "HEAD"]) for at in (checkout, configs.ROOT)]
    assert heads[0] == heads[1] and (checkout / "tiny.py").read_text() == TINY
    pip = ["-m", "pip", "install", "--quiet", "-r", "requirements.txt", "jax[tpu]"]
    assert [arguments for _, arguments, _ in pod.calls("python")] == [pip, CALL]
    assert launch.main(FLAGS) == 0  # again: nothing is cloned or installed twice
    assert [arguments for _, arguments, _ in pod.calls("python")] == [pip, CALL, CALL]


def test_tpu_vm_dry_run_given_to_bash_does_the_same(pod, capfd, tmp_path):
    assert launch.main(FLAGS) == 0
    done = pod.calls("gcloud")
    capfd.readouterr()
    assert launch.main([*FLAGS, "--dry_run"]) == 0
    printed = capfd.readouterr().out
    assert pod.calls("gcloud") == done
    assert pod.shell(printed).returncode == 0
    assert pod.calls("gcloud") == [*done, *done] and len(done) == 2


def test_tpu_vm_refuses_what_is_not_committed(pod, capsys):
    (configs.ROOT / "tiny.py").write_text(TINY + "\n# changed\n")
    assert launch.main(FLAGS) == 2
    assert "changes that are not committed (tiny.py)" in capsys.readouterr().err
    (configs.ROOT / "new.py").write_text(TINY)
    subprocess.run(["git", "checkout", "-q", "tiny.py"], check=True)
    assert launch.main(["--config=new.py", *FLAGS[1:]]) == 2
    assert "a file that is not committed (new.py)" in capsys.readouterr().err
    assert pod.calls("gcloud") == []


def test_tpu_vm_a_run_that_was_stopped_goes_on(pod, monkeypatch, capfd, tmp_path):
    count = (
        f"p = {str(tmp_path / 'n')!r}; n = len(open(p).read()) if os.path.exists(p) else 0; open(p, 'a').write('x');"
    )
    monkeypatch.setenv("FAKE_PYTHON", f"{count} sys.exit(75 if 0 < n < 3 else 0)")
    assert launch.main(FLAGS) == 0
    assert runs(pod) == [CALL] * 3  # the first call was pip's
    assert pod.calls("sleep") == [["sleep", ["5"], ""]] * 2
    assert capfd.readouterr().out.count("stopped and saved; it goes on in 5 s") == 2


def test_tpu_vm_a_failed_run_is_told_and_the_next_ones_run(pod):
    jobs = [Job("a", ("--config=a",), "a"), Job("b", NASTY, "b c")]
    (*_, ssh) = tpu_vm.steps(Work("two", jobs, 2, True), tpu_vm.Options(name="t", zone="z"))
    for step in tpu_vm.steps(Work("two", jobs, 2, True), tpu_vm.Options(name="t", zone="z"))[:-1]:
        step.run()
    done = pod.shell(shlex.join(ssh.words), FAKE_PYTHON="sys.exit(3 if '--config=a' in sys.argv else 0)")
    assert done.returncode == 3
    assert "exit code 3: .venv/bin/python launch.py --config=a --workdir a" in done.stdout
    assert runs(pod) == [["launch.py", *job.words()] for job in jobs]


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        ("", []),
        ("a:0:10.0.0.2", []),
        ("unknown:u0:10.0.0.2,unknown:u1:10.0.0.3,x:u2:10.0.0.4", ["10.0.0.2", "3", "1"]),
        ("host-0,host-1", ["host-0", "2", "1"]),
    ],
)
def test_tpu_vm_hosts_learn_who_they_are(pod, monkeypatch, endpoints, expected):
    """The two forms of worker-network-endpoints that jax/_src/clusters/cloud_tpu_cluster.py reads."""
    answer = f"print('1' if sys.argv[-1].endswith('agent-worker-number') else {endpoints!r})"
    monkeypatch.setenv("FAKE_CURL", answer if endpoints else "sys.exit(22)")
    assert launch.main(FLAGS) == 0
    flags = ["--coordinator={}:8482", "--num_processes={}", "--process_id={}"]
    assert runs(pod) == [CALL + [flag.format(value) for flag, value in zip(flags, expected, strict=False)]]
    launch.parse([*FLAGS, *runs(pod)[0][4:]])  # they are flags of launch.py


def command_of(pod):
    """The command that a host is given."""
    assert launch.main(FLAGS) == 0
    return next(word for word in pod.calls("gcloud")[-1][1] if word.startswith("--command=")).partition("=")[2]


def host(pod):
    return {"HOME": pod.environment["HOST"], "FAKE_PYTHON": WAIT}


def test_tpu_vm_runs_outlive_the_connection(pod, capfd):
    command = command_of(pod)
    first = pod.begin(command, shell="sh", **host(pod))
    pod.started()
    os.killpg(first.pid, signal.SIGHUP)  # the connection is lost
    assert first.wait(timeout=60) == -signal.SIGHUP
    first.stdout.close()
    second = pod.begin(command, shell="sh", **host(pod))
    other = pod.shell(command.replace("my_run", "another"), shell="sh", **host(pod))
    assert other.returncode == 2 and "my_run is running here (pid " in other.stderr
    pod.go_on(9)
    output, _ = second.communicate(timeout=60)
    assert second.returncode == 9, output
    assert "exit code 9: .venv/bin/python launch.py" in output
    assert len(runs(pod)) == 2  # that of command_of, and the one that outlived


def test_tpu_vm_runs_are_stopped_by_what_the_launcher_prints(pod, capfd):
    command = command_of(pod)
    stop = shlex.split(capfd.readouterr().err.strip().splitlines()[-1].partition(": ")[2])[-1].partition("=")[2]
    process = pod.begin(command, shell="sh", **host(pod))
    pod.started()
    assert pod.shell(f"cd; {stop}", HOME=pod.environment["HOST"]).returncode == 0
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    assert pod.calls("sleep") == [] and len(runs(pod)) == 2  # not started again


def test_tpu_vm_needs_a_new_python(pod, monkeypatch, capfd):
    monkeypatch.setenv("FAKE_PYTHON3", "sys.exit(1)")
    assert launch.main(FLAGS) == 2
    assert "needs Python 3.11 or later" in capfd.readouterr().err
    assert runs(pod) == []


def test_tpu_vm_is_created_where_there_is_none(pod, monkeypatch):
    flags = [*FLAGS[:-1], "--launcher=tpu_vm:name=t,zone=z,accelerator=v5litepod-16,version=v"]
    assert launch.main(flags) == 0
    assert [call[1][3] for call in pod.calls("gcloud")] == ["describe", "scp", "ssh"]
    monkeypatch.setenv("FAKE_GCLOUD", f"if sys.argv[4] == 'describe': sys.exit(1)\n{GCLOUD}")
    assert launch.main(flags) == 0
    assert [call[1][3] for call in pod.calls("gcloud")][3:] == ["describe", "create", "scp", "ssh"]

"""Cloud TPU VMs: `gcloud compute tpus tpu-vm ssh NAME --worker=all --command=...`, the same command on every host.

The commit that is checked out here is copied (or cloned from `repository`), a virtual environment is made, and the runs
follow each other; one that leaves with 75 is started again. They outlive the connection: a lost one, or Ctrl-C, ends
only the reading of their output, and the same command reads it again. Hosts of a pod learn who they are from the
metadata server of the VM.
"""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from cvdl_jax.cli.clusters import code
from cvdl_jax.cli.clusters.jobs import Work
from cvdl_jax.cli.clusters.shell import PEERS, RUNS, SUPERVISE, exports
from cvdl_jax.cli.clusters.step import Step
from cvdl_jax.config.configs import ROOT
from cvdl_jax.errors import ConfigError, UserError

REQUIRED = {"name": "my-tpu", "zone": "us-central2-b"}
PYTHON = ".venv/bin/python"


class Options(NamedTuple):
    """The TPU, and how the code gets there.

    Attributes:
        name: of the TPU VM.
        accelerator: such as v5litepod-16; with `version`, the TPU VM is created where there is none of this name.
        version: of its runtime, such as v2-alpha-tpuv5-lite.
        spot: create a spot TPU VM.
        internal_ip: connect by the internal address.
        repository: URL to clone; empty copies the commit from here.
        directory: of the checkout on every host, below the home folder.
        python: to make the virtual environment with; 3.11 or later.
        setup: shell lines before the runs.
        runs: folder that relative workdirs are put into; a pod of several hosts needs one that all of them share.
        env: environment variables of the runs.
    """

    name: str = ""
    zone: str = ""
    project: str = ""
    accelerator: str = ""
    version: str = ""
    spot: bool = False
    internal_ip: bool = False
    repository: str = ""
    directory: str = "cvdl_jax"
    python: str = "python3"
    setup: tuple[str, ...] = ()
    runs: str = ""
    env: dict = {}


def steps(work: Work, options: Options) -> list[Step]:
    """Creates the TPU VM where asked to, copies the commit, runs.

    Raises:
        ConfigError: for a name that a host or shell would take for something else.
    """
    _check(options)
    commit = code.commit()
    bundle = code.bundle(commit)
    made = []
    if options.accelerator:
        kind = [f"--accelerator-type={options.accelerator}", f"--version={options.version}"]
        create = _gcloud(options, "create", options.name, *kind, *(["--spot"] if options.spot else []))
        made.append(Step(create, unless=_gcloud(options, "describe", options.name)))
    everywhere = ["--worker=all", *(["--internal-ip"] if options.internal_ip else [])]
    if not options.repository:
        made.append(Step(("git", "-C", str(ROOT), "bundle", "create", "--quiet", str(bundle), "HEAD")))
        made.append(Step(_gcloud(options, "scp", str(bundle), f"{options.name}:{bundle.name}", *everywhere)))
    command = f"--command={script(work, options, commit)}"
    return [*made, Step(_gcloud(options, "ssh", options.name, *everywhere, command), follow=True)]


def prepare(work: Work, options: Options) -> None:
    """Refuses to run a commit that is not what lies here.

    Raises:
        UserError: naming what is not committed.
    """
    differing = code.differs(word for job in work.jobs for word in job.arguments)
    if differing:
        raise UserError(f"{differing}: the TPU runs a commit, so that its results can be traced; commit first")


def remarks(work: Work, options: Options) -> list[str]:
    """What people should know before it is submitted."""
    differing = code.differs(word for job in work.jobs for word in job.arguments)
    stop = f'kill -TERM "$(cut -d " " -f 1 {_logs(options)}/now)"'
    ssh = shlex.join(_gcloud(options, "ssh", options.name, "--worker=all", f"--command={stop}"))
    return [
        *([f"not as it is here: {differing}; the TPU would run the commit"] if differing else []),
        "the runs go on when this command is stopped; the same command shows their output again",
        f"to save and stop them: {ssh}",
    ]


def submitted(work: Work, options: Options, outputs: list[str]) -> list[str]:
    """What to say when the runs have ended: how to copy them to where they would lie here."""
    lines = []
    for here, there in zip(work.folders(), work.folders(options.runs), strict=True):
        source = there if there.startswith("/") else f"{options.directory}/{there}"
        copy = _gcloud(options, "scp", f"{options.name}:{source}", str(Path(here).parent), "--recurse", "--worker=0")
        lines.append(f"to copy them here: {shlex.join(copy)}")
    return lines


def script(work: Work, options: Options, commit: str) -> str:
    """What every host does, in POSIX sh."""
    name = re.sub(r"[^A-Za-z0-9.+-]+", "_", work.name)
    logs = f'"$HOME"/{_logs(options)}'
    calls = [f"until_done {PYTHON} launch.py {shlex.join(job.words(options.runs))} $peers" for job in work.jobs]
    job = "\n".join([SUPERVISE, PEERS, RUNS, "", *calls, f'echo "$worst" > {logs}/{name}.code'])
    start = [
        *_checkout(options, commit),
        *_environment(options),
        *options.setup,
        *exports(options.env),
        f": > {logs}/{name}.log",
        f"rm -f {logs}/{name}.code",
        "(",
        "  set +eu",
        "  trap '' HUP",
        *(f"  {line}".rstrip() for line in job.split("\n")),
        f") >> {logs}/{name}.log 2>&1 < /dev/null &",
        f'echo "$! {name}" > {logs}/now',
    ]
    return "\n".join(
        [
            "set -eu",
            f"mkdir -p {logs}",
            "pid= running=",
            f"if [ -f {logs}/now ]; then read -r pid running < {logs}/now; fi",
            'if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then',
            f'  if [ "$running" != {name} ]; then echo "$running is running here (pid $pid)" >&2; exit 2; fi',
            "else",
            *(f"  {line}".rstrip() for line in start),
            "fi",
            f"read -r pid running < {logs}/now",
            f'tail -n +1 --pid="$pid" -f {logs}/{name}.log',
            f'exit "$(cat {logs}/{name}.code)"',
        ]
    )


def _checkout(options: Options, commit: str) -> list[str]:
    origin = shlex.quote(options.repository) if options.repository else f'"$HOME"/{code.bundle(commit).name}'
    return [
        'cd "$HOME"',
        f"[ -d {options.directory}/.git ] || git clone --quiet --no-checkout {origin} {options.directory}",
        f"cd {options.directory}",
        f"git fetch --quiet {origin} {commit if options.repository else 'HEAD'}",
        f"git checkout --quiet --detach {commit}",
    ]


def _environment(options: Options) -> list[str]:
    python = shlex.quote(options.python)
    return [
        f"if ! {python} -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then",
        "  echo 'this host needs Python 3.11 or later; install it and name it: --launcher tpu_vm:python=...' >&2",
        "  exit 2",
        "fi",
        f"[ -x {PYTHON} ] || {python} -m venv .venv",
        "if ! cmp -s requirements.txt .venv/requirements.txt; then",
        f"  {PYTHON} -m pip install --quiet -r requirements.txt 'jax[tpu]'",
        "  cp requirements.txt .venv/requirements.txt",
        "fi",
    ]


def _logs(options: Options) -> str:
    """Folder of the output, below the home folder of a host."""
    return f"{options.directory}_logs"


def _gcloud(options: Options, verb: str, *words: str) -> tuple[str, ...]:
    where = [f"--zone={options.zone}", *([f"--project={options.project}"] if options.project else [])]
    flags = [word for word in words if word.startswith("--") and not word.startswith("--command=")]
    last = [word for word in words if word.startswith("--command=")]
    names = [word for word in words if not word.startswith("--")]
    return ("gcloud", "compute", "tpus", "tpu-vm", verb, *names, *where, *flags, *last)


def _check(options: Options) -> None:
    for key in ("name", "zone", "project", "accelerator", "version", "directory"):
        value = getattr(options, key)
        if not re.fullmatch(r"(?![-/])[\w./:-]*", value) or (key == "directory" and not value):
            raise ConfigError(f"tpu_vm: {key}={value!r} may hold only letters, digits, '.', '_', '-'")
    if bool(options.accelerator) != bool(options.version):
        raise ConfigError("tpu_vm: accelerator and version belong together; they create the TPU VM where there is none")

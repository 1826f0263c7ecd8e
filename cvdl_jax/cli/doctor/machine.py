"""The rest of the machine: caches, disk, memory, threads, variables, git, programs."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from cvdl_jax.cli.doctor.items import NOTE, OK, PROBLEM, Item
from cvdl_jax.core.formatting import binary

ENOUGH_DISK, ENOUGH_MEMORY = 2 * 2**30, 2**30
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def caches() -> Iterator[Item]:
    """Whether the user's cache can be written to, and how large it is."""
    from cvdl_jax.config.configs import cache_folder

    root = cache_folder()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        yield Item(PROBLEM, f"{root} cannot be written: {error.strerror}", "export CVDL_CACHE=/a/folder/with/room")
        return
    sizes = {p.name: folder_size(p) for p in sorted(root.iterdir()) if p.is_dir()}
    text = ", ".join(f"{name} {binary(size)}" for name, size in sizes.items()) or "empty"
    yield Item(OK, f"{root}: {text}" + (f" (it can be emptied: rm -r {root})" if sizes else ""))
    other = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if other:
        yield Item(OK, f"compiled programs go to JAX_COMPILATION_CACHE_DIR={other}")


def folder_size(folder: Path) -> int:
    """Bytes of all files in a folder; a file that goes away meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


def disk(places: Mapping[str, Path]) -> Iterator[Item]:
    """Free space where runs, data and caches go: {what goes there: folder}."""
    for what, place in places.items():
        there = next((p for p in (place, *place.parents) if p.exists()), Path("/"))
        free = shutil.disk_usage(there).free
        text = f"{binary(free)} free for {what} in {place}"
        if free < ENOUGH_DISK:
            yield Item(
                PROBLEM, f"{text}; 2 GiB are little enough", f"free some, for example: du -xh {there} | sort -h | tail"
            )
        else:
            yield Item(OK, text)


def memory(meminfo: Path = Path("/proc/meminfo"), limit: Path = Path("/sys/fs/cgroup/memory.max")) -> Iterator[Item]:
    """Main memory, and what a container may use of it."""
    if not meminfo.exists():
        yield Item(OK, "not known on this system")
        return
    values = {name: int(n) * 1024 for name, n in re.findall(r"(\w+):\s+(\d+) kB", meminfo.read_text())}
    free, total = values["MemAvailable"], values["MemTotal"]
    text = f"{binary(free)} free of {binary(total)}"
    bound = limit.read_text().strip() if limit.exists() else "max"
    if bound.isdigit() and int(bound) < total:
        text += f"; this container may use {binary(int(bound))}"
        free = min(free, int(bound))
    if free < ENOUGH_MEMORY:
        yield Item(
            PROBLEM, text, "end other programs; --config.batch_size=N and --config.data.resident=never need less"
        )
    else:
        yield Item(OK, text)


def threads(environment: Mapping[str, str] = os.environ) -> Iterator[Item]:
    """Cores, and variables that make runs hang or crawl; the devices' check lists all that JAX reads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    own = f", OMP_NUM_THREADS={environment['OMP_NUM_THREADS']}" if environment.get("OMP_NUM_THREADS") else ""
    yield Item(OK, f"{cores} cores for this process of {os.cpu_count()}{own}")
    flag = re.search(r"xla_force_host_platform_device_count=(\d+)", environment.get("XLA_FLAGS", ""))
    virtual, pool = int(flag[1]) if flag else 1, environment.get("NPROC", "")
    if virtual > 1 and not (pool.isdigit() and int(pool) >= 8 * virtual):
        given = f"XLA_FLAGS asks for {virtual} virtual devices, NPROC={pool or '(not set)'} gives too few threads"
        fix = f"export NPROC={8 * virtual}, or use --host_devices={virtual}"
        yield Item(PROBLEM, f"{given}: they can wait for each other forever", fix)
    for name, why in (("JAX_DISABLE_JIT", "nothing is compiled"), ("JAX_DEBUG_NANS", "every step is checked, slowly")):
        if environment.get(name, "").lower() not in ("", "0", "false"):
            yield Item(PROBLEM, f"{name}={environment[name]}: {why}", f"unset {name}")


def git(root: Path) -> Iterator[Item]:
    """The commit that runs will record, and whether the working tree differs from it."""

    def ask(*command: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = ask("rev-parse", "--short=12", "HEAD")
    if commit is None:
        yield Item(NOTE, f"{root} is no git checkout: runs cannot record their commit")
        return
    changed = (ask("status", "--porcelain", "--untracked-files=no") or "").splitlines()
    if changed:
        text = f"commit {commit}, {len(changed)} files changed: runs are recorded as dirty"
        yield Item(NOTE, text, "git commit -a, before runs that are to be reported")
    else:
        yield Item(OK, f"commit {commit}, nothing changed")


def programs() -> Iterator[Item]:
    """Whether programs are installed that optional features use."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    yield Item(OK, f"{browser}, to print reports" if browser else "no Chromium; reports open in any browser")

"""What every test runs under: strict JAX, a compilation cache, and folders of its own for data and caches.

Environment variables that change it:
    CVDL_TEST_DATA: a folder of prepared TFDS data sets (mnist, cifar10 ...), read only; without it their tests skip.
    CVDL_TEST_DATA_TFRECORD: the same as TFRecord files.
    CVDL_TEST_CACHE: where compiled functions are kept between sessions; ~/.cache/cvdl_jax/test_compilation by default.
    CVDL_TEST_COMPILE: "fast" compiles with less optimisation, in a third of the time, for tests that run hardly
        anything but once; the Makefile sets it. Tests that ask for `flags_of_users` compile as users do.
    CVDL_TEST_SCRATCH: a folder to prepare data in and keep there; by default a new one per session, removed at the end.
"""

import atexit
import ctypes
import gc
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
import quick_compile
from quick_compile import FAST

from cvdl_jax.engine import xla_flags

pytest_plugins = ("curriculum_plugin", "pytester")


def _prepare_environment() -> str | None:
    """Sets the environment of this process, its xdist workers and the processes that tests start.

    Returns:
        The folder to remove at the end of the session; None if it is not ours (a worker's, or one that was given).
    """
    cache = os.environ.get("CVDL_TEST_CACHE") or Path.home() / ".cache" / "cvdl_jax" / "test_compilation"
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(cache).expanduser().resolve())
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"  # source lines of operations: an eighth of tracing, lowering
    os.environ["MPLBACKEND"] = "agg"
    xla_flags.prepare()
    if os.environ.get("CVDL_TEST_COMPILE") == "fast" and xla_flags.KNOWN_TO.match(xla_flags.jaxlib_version()):
        os.environ["XLA_FLAGS"] = " ".join(dict.fromkeys([*os.environ["XLA_FLAGS"].split(), *FAST]))
    # Tests send signals that a shell's background (SIGINT) or nohup (SIGHUP) had this process ignore.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if "CVDL_TEST_SESSION" in os.environ:  # an xdist worker: the controller has made the folder
        return None
    given = os.environ.get("CVDL_TEST_SCRATCH")
    scratch = Path(given).resolve() if given else Path(tempfile.mkdtemp(prefix="cvdl_jax_tests_"))
    for name, folder in {"TFDS_DATA_DIR": scratch / "data", "CVDL_CACHE": scratch / "cache"}.items():
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(folder)
    os.environ["CVDL_TEST_SESSION"] = str(scratch)
    return None if given else str(scratch)


def _remove_at_end(folder: str) -> None:
    """Removes a folder when this process ends, however pytest ends, but not when a fork of it does."""
    owner = os.getpid()
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(folder, ignore_errors=True))


_OURS = _prepare_environment()  # before anything imports jax, which reads its variables only once
if _OURS:
    _remove_at_end(_OURS)

import jax  # noqa: E402
from hypothesis import settings  # noqa: E402

quick_compile.prepare()

# On a shared machine a deadline fails at random; the same examples each time make a failure repeat itself.
settings.register_profile("cvdl", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("cvdl")
_LIBC = ctypes.CDLL(None)
MOST_BYTES = 1536 * 2**20  # a worker that holds more than this begins the next module without compiled functions
# Traces make many objects and little garbage; looking for it as often as Python does took a tenth of the time.
gc.set_threshold(100_000, 50, 100)
jax.config.update("jax_numpy_rank_promotion", "raise")


def _resident_bytes() -> int:
    """Memory that this process holds now; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def forget_compiled_functions():
    """Forgets compiled functions if this process is large: JAX itself would keep all of them."""
    if _resident_bytes() > MOST_BYTES:
        jax.clear_caches()
        gc.collect()
        if hasattr(_LIBC, "malloc_trim"):  # glibc keeps what was freed; this gives it back to the system
            _LIBC.malloc_trim(0)


@pytest.fixture(scope="module", autouse=True)
def _release_compiled_functions():
    """A worker does so between modules."""
    yield
    forget_compiled_functions()


@pytest.fixture
def alone():
    """After a test that shares no compiled function with the others of its module, a worker does so too."""
    yield
    forget_compiled_functions()


@pytest.fixture(scope="session")
def scratch_data() -> Path:
    """Where sets of our own are prepared, shared by xdist workers and by processes that tests start."""
    return Path(os.environ["CVDL_CACHE"]) / "datasets"


def _folder(variable: str) -> Path:
    if not os.environ.get(variable):
        pytest.skip(f"{variable} names no folder of prepared TFDS data sets")
    return Path(os.environ[variable]).resolve()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of prepared real data sets named by CVDL_TEST_DATA; skips without one."""
    return _folder("CVDL_TEST_DATA")


@pytest.fixture(scope="session")
def real_data_tfrecord() -> Path:
    """The folder of real data sets stored as TFRecord, named by CVDL_TEST_DATA_TFRECORD; skips without one."""
    return _folder("CVDL_TEST_DATA_TFRECORD")


@pytest.fixture(scope="module")
def flags_of_users():
    """Processes that the module's tests start compile as those of users do, whatever CVDL_TEST_COMPILE says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", " ".join(flag for flag in os.environ["XLA_FLAGS"].split() if flag not in FAST))
        yield


@pytest.fixture
def clean_environment() -> dict[str, str]:
    """A copy of the environment for a child process, without what pytest and coverage tools add."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}

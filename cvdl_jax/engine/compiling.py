"""Compiles ahead of time, in worker threads, so that signals are answered while the compiler runs.

A handler that raised during compilation would unwind through the compiler's C++ frames and crash the process. Here the
main thread only waits for workers and looks at the flag.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import jax

POLL_SECONDS = 0.1


class CacheCounter:
    """Counts hits and misses of the persistent compilation cache since it was made."""

    def __init__(self) -> None:
        self.hits = self.misses = 0
        jax.monitoring.register_event_listener(self._listen)

    def _listen(self, event: str, **_: Any) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            self.hits += 1
        elif event == "/jax/compilation_cache/cache_misses":
            self.misses += 1

    def __str__(self) -> str:
        if not jax.config.jax_enable_compilation_cache:
            return "no cache"
        return f"cache: {self.hits} hits, {self.misses} misses"


def use_cache(folder: str | Path) -> CacheCounter:
    """Turns the persistent compilation cache on, for every program however small.

    Args:
        folder: where compiled programs are kept between runs.

    Returns:
        A counter of its hits and misses.
    """
    if not jax.config.jax_compilation_cache_dir:  # JAX_COMPILATION_CACHE_DIR wins
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return CacheCounter()


def run_in_workers(
    jobs: Mapping[str, Callable[[], Any]], interrupted: Callable[[], bool], on_interrupt: Callable[[], None]
) -> tuple[dict[str, Any], float]:
    """Runs functions in worker threads while the main thread watches for signals.

    Args:
        jobs: {name: function without arguments}, run at most two at a time.
        interrupted: whether to give up.
        on_interrupt: called on the main thread if so; must end the process, since a compilation cannot be cancelled.

    Returns:
        ({name: result}, seconds).
    """
    start = time.perf_counter()
    pool = ThreadPoolExecutor(2, thread_name_prefix="compile")
    futures = {name: pool.submit(job) for name, job in jobs.items()}
    pending = set(futures.values())
    while pending:
        done, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_EXCEPTION)
        if any(f.exception() for f in done):
            break
        if pending and interrupted():
            on_interrupt()
    pool.shutdown(wait=True, cancel_futures=True)
    results = {name: f.result() for name, f in futures.items() if not f.cancelled()}
    return results, time.perf_counter() - start

"""What the scripts of the launchers share; POSIX sh, so that any shell of a site can run it."""

import shlex
from collections.abc import Mapping

from cvdl_jax.errors import ConfigError

# `wait` returns early when a trapped signal comes, so it is asked again until the process is gone.
SUPERVISE = """\
# run COMMAND: runs it in the background, so that this shell can hand SIGTERM on to it, which makes a training run
# save and leave with 75. Its exit code is in $code.
child= stopping=
stop() { stopping=1; if [ -n "$child" ]; then kill -TERM "$child" 2>/dev/null; fi; }
trap stop TERM
run() {
  code=75
  if [ -n "$stopping" ]; then return 0; fi
  "$@" &
  child=$!
  if [ -n "$stopping" ]; then stop; fi
  while :; do
    wait "$child"
    kill -0 "$child" 2>/dev/null || break
  done
  code=0
  wait "$child" || code=$?
  child=
}"""

# Who the hosts of a TPU pod are, for `launch.py`: $peers is empty on a TPU VM of one host. An entry of
# worker-network-endpoints is a host, or name:id:host (jax/_src/clusters/cloud_tpu_cluster.py); the port is JAX's own.
PEERS = """\
metadata() {
  curl -sf -H 'Metadata-Flavor: Google' "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}
peers=
hosts=$(metadata worker-network-endpoints) || hosts=
count=$(printf '%s\\n' "$hosts" | tr ',' '\\n' | grep -c .) || count=0
if [ "$count" -gt 1 ]; then
  first=${hosts%%,*}
  peers="--coordinator=${first##*:}:8482 --num_processes=$count --process_id=$(metadata agent-worker-number)"
fi"""
# Runs that follow each other; one that saved and left with 75 goes on, unless this shell was told to stop.
RUNS = """\
worst=0
until_done() {
  while :; do
    run "$@"
    if [ "$code" -ne 75 ] || [ -n "$stopping" ]; then break; fi
    echo "stopped and saved; it goes on in 5 s"
    sleep 5
  done
  if [ "$code" -ne 0 ]; then
    worst=$code
    echo "exit code $code: $*"
  fi
}"""


def exports(env: Mapping[str, object]) -> list[str]:
    """`export NAME=value` lines.

    Raises:
        ConfigError: for a name that a shell does not take.
    """
    return [f"export {name}={shlex.quote(str(value))}" for name, value in checked(env).items()]


def checked(env: Mapping[str, object]) -> dict[str, object]:
    """Environment variables whose names and values can be set."""
    for name, value in env.items():
        if not name.isidentifier() or not name.isascii():
            raise ConfigError(f"env: {name!r} is not the name of an environment variable")
        if not isinstance(value, str | int | float) or isinstance(value, bool) or "\n" in str(value):
            raise ConfigError(f'env.{name}={value!r} must be text in one line; write {name} = "..."')
    return dict(env)

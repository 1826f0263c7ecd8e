"""Who the processes of a run are, from flags and from a cluster's environment."""

import pytest

from cvdl_jax.engine.distributed import Peers, peers
from cvdl_jax.errors import ConfigError

ALONE = {"LANG": "C"}


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_NTASKS": "2"},
        {"OMPI_COMM_WORLD_SIZE": "4"},
        {"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2"},
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"},
    ],
)
def test_clusters_are_recognised(environment):
    assert peers("", 0, -1, {**ALONE, **environment}) == Peers()


@pytest.mark.parametrize(
    "environment",
    [{}, {"SLURM_NTASKS": "1"}, {"TPU_WORKER_HOSTNAMES": "localhost"}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}],
)
def test_one_process_waits_for_nobody(environment):
    assert peers("", 0, -1, {**ALONE, **environment}) is None


def test_flags_win_over_the_environment():
    assert peers("10.0.0.1:1234", 2, 1, {"SLURM_NTASKS": "8"}) == Peers("10.0.0.1:1234", 2, 1)


def test_auto_lets_jax_find_the_others():
    assert peers("auto", 0, -1, ALONE) == Peers()
    with pytest.raises(ConfigError, match="--coordinator=auto finds the processes itself"):
        peers("auto", 2, 0, ALONE)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("10.0.0.1:1234", 0, -1), "belong together"),
        (("", 2, 0), "belong together"),
        (("10.0.0.1", 2, 0), "must be HOST:PORT"),
        (("10.0.0.1:1234", 2, 2), "must be below --num_processes=2"),
    ],
)
def test_half_a_set_of_flags_is_refused(flags, message):
    with pytest.raises(ConfigError, match=message):
        peers(*flags, ALONE)

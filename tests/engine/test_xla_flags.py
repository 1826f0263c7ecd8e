"""Flags of XLA: what a run adds, and that an existing choice wins."""

import os

import pytest

from cvdl_jax.engine import xla_flags
from cvdl_jax.errors import ConfigError


def test_convolutions_are_taken_from_ynnpack_where_the_flag_is_known(monkeypatch):
    monkeypatch.setattr(xla_flags, "jaxlib_version", lambda: "0.10.2")
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    xla_flags.prepare()
    assert os.environ["XLA_FLAGS"] == f"--xla_dump_to=x {xla_flags.CONVOLUTIONS}"
    xla_flags.prepare(4)  # once only
    assert os.environ["XLA_FLAGS"].count("ynn") == 1
    assert os.environ["XLA_FLAGS"].endswith("--xla_force_host_platform_device_count=4")


@pytest.mark.parametrize("version", ["0.9.3", "0.12.0", "1.0", ""])
def test_an_unknown_version_gets_no_flag_it_might_die_of(monkeypatch, version):
    monkeypatch.setattr(xla_flags, "jaxlib_version", lambda: version)
    monkeypatch.setenv("XLA_FLAGS", "")
    xla_flags.prepare()
    assert "ynn" not in os.environ["XLA_FLAGS"]


def test_the_users_own_choice_wins(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=")
    xla_flags.prepare()
    assert os.environ["XLA_FLAGS"] == "--xla_cpu_experimental_ynn_fusion_type="


def test_the_version_is_read_without_importing():
    import jaxlib

    assert xla_flags.jaxlib_version() == jaxlib.__version__


def test_negative_devices():
    with pytest.raises(ConfigError, match="--host_devices=-1 must be a number"):
        xla_flags.prepare(-1)

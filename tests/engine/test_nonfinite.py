"""A loss that is not finite stops the run, is located to the step, saved, and replayed to the module."""

import json

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import launch
from cvdl_jax.cli.modes import replay
from cvdl_jax.core.task import State, Task, create_state, descend
from cvdl_jax.errors import UserError

FLAGS = [
    "--config=configs/classify/mlp.py", "--config.total_steps=40", "--config.log.every_steps=10",
    "--config.log.tensorboard=False",
]  # fmt: skip


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A run whose learning rate is absurd from the first step on."""
    workdir = tmp_path_factory.mktemp("nonfinite") / "run"
    code = launch.main(
        [*FLAGS, "--config.optim.lr=1e30", "--config.optim.schedule.warmup_percent=0", f"--workdir={workdir}"]
    )
    return workdir, code


def test_run_stops_within_one_interval_and_names_the_step(broken, capsys):
    workdir, code = broken
    assert code == 1
    failure = json.loads((workdir / "FAILED.json").read_text())
    assert failure["error"] == "NonFiniteLoss"
    assert "not finite at step 2" in failure["message"] and "--mode replay" in failure["message"]
    assert failure["step"] <= 20  # found at the end of the interval of ten steps, one interval late at most
    assert not (workdir / "DONE").exists()


def test_state_and_batch_of_the_step_are_saved(broken):
    workdir, _ = broken
    with np.load(workdir / "nonfinite" / "batch.npz") as batch:
        assert batch["image"].shape == (64, 8, 8, 1) and batch["image"].dtype == np.uint8
        assert batch["label"].shape == (64,)
    assert (workdir / "nonfinite" / "2").is_dir()


def test_replay_names_the_first_module(broken, capsys):
    workdir, _ = broken
    assert launch.main(["--mode=replay", f"--workdir={workdir}"]) == 0
    out = capsys.readouterr().out
    assert "step 2:" in out
    assert "the first module whose output is not finite: dense1 (Dense)" in out


def test_replay_without_a_saved_step(tmp_path):
    assert launch.main(["--mode=replay", f"--workdir={tmp_path}"]) == 2


class Broken(nn.Module):
    """The second layer divides by zero where its input is."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(3, name="first")(x)
        x = Divide(name="second")(x)
        return nn.Dense(2, name="third")(x)


class Divide(nn.Module):
    """1 / (x - x)."""

    @nn.compact
    def __call__(self, x):
        return 1 / (x - x)


def test_replay_reports_in_the_order_of_computation():
    model = Broken()

    def loss(state: State, batch, key):
        out = model.apply({"params": state.params}, batch["image"], True)
        return state, {"loss": (out.sum(), jnp.float32(len(out)))}

    task = Task(
        lambda key, batch: {"params": model.init(key, batch["image"], True)["params"]}, descend(loss, optax.sgd(0.1))
    )
    batch = {"image": jnp.ones((4, 5))}
    import jax

    lines = replay.report(task, create_state(task, jax.random.key(0), batch), batch, seed=0)
    assert "first module whose output is not finite: second (Divide)" in "\n".join(lines)
    bad = {"image": batch["image"].at[0, 0].set(jnp.nan)}
    lines = replay.report(task, create_state(task, jax.random.key(0), batch), bad, seed=0)
    assert lines[1] == "  the batch's image is not finite"
    assert "first (Dense)" in lines[2]


def test_interrupted_message_is_a_user_error():
    from cvdl_jax.engine.nonfinite import NonFiniteLoss

    assert issubclass(NonFiniteLoss, UserError) and NonFiniteLoss.exit_code == 1

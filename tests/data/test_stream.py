"""Streamed batches: equal to the resident gather, resumable, shared by processes, complete in evaluation."""

from dataclasses import replace

import numpy as np
import pytest

from cvdl_jax.data import order, stream
from cvdl_jax.data.host import HostStage
from cvdl_jax.data.load import load
from cvdl_jax.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def streamed():
    return load("digits", train="train[:100]", test="test", resident="never").splits


@pytest.fixture(scope="module")
def resident():
    return load("digits", train="train[:100]", test="test").splits


def equal(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert first[name].dtype == second[name].dtype
        np.testing.assert_array_equal(first[name], second[name])


def test_streamed_batches_are_the_resident_gather(streamed, resident):
    assert streamed["train"].arrays is None
    count = 0
    for k, batch in enumerate(stream.train_batches(streamed["train"], 5, 2, 9, 32)):
        _, index = order.examples(5, order.batch_positions(2 + k, 32), 100)
        equal(batch, {name: array[index] for name, array in resident["train"].arrays.items()})
        count += 1
    assert count == 7
    (same,) = stream.train_batches(resident["train"], 5, 8, 9, 32)
    equal(batch, same)
    (same,) = streamed["train"].batches([order.batch_positions(8, 32)], seed=5)
    equal(batch, same)


def test_a_random_host_stage_resumes_and_is_shared_by_processes(streamed):
    split = replace(streamed["train"], stage=HostStage((6, 6), crop="random_resized"))
    whole = list(stream.train_batches(split, 1, 0, 6, 24))
    for k, batch in enumerate(stream.train_batches(split, 1, 4, 6, 24)):
        equal(batch, whole[4 + k])
    parts = [list(stream.train_batches(split, 1, 0, 6, 24, p, 3)) for p in range(3)]
    for k, batch in enumerate(whole):
        equal({name: np.concatenate([part[k][name] for part in parts]) for name in batch}, batch)


def test_evaluation_is_complete_and_masked(streamed, resident):
    for processes in (1, 2):
        parts = [list(stream.eval_batches(streamed["test"], 128, p, processes)) for p in range(processes)]
        batches = [{n: np.concatenate([p[k][n] for p in parts]) for n in parts[0][k]} for k in range(len(parts[0]))]
        mask = np.concatenate([b["mask"] for b in batches])
        assert mask.dtype == np.float32 and mask.sum() == 359 and len(mask) == 384
        for name, array in resident["test"].arrays.items():
            rows = np.concatenate([b[name] for b in batches])
            np.testing.assert_array_equal(rows[mask > 0], array)


def test_what_cannot_be_streamed_is_said(streamed, monkeypatch):
    with pytest.raises(ConfigError, match="does not divide over 3 processes"):
        stream.train_batches(streamed["train"], 0, 0, 1, 32, 0, 3)
    varying = replace(
        streamed["train"], features={"x": replace(streamed["train"].features["image"], shape=(None, 8, 1))}
    )
    with pytest.raises(DataError, match="cannot be stacked"):
        stream.train_batches(varying, 0, 0, 1, 32)
    monkeypatch.setattr("cvdl_jax.data.tfds_source.decode_image", lambda *_: 1 // 0)
    with pytest.raises(DataError, match=r"example train/\d+ of .* cannot be decoded"):
        next(iter(stream.train_batches(streamed["train"], 0, 0, 1, 32)))
    assert list(stream.train_batches(streamed["train"], 0, 3, 3, 32)) == []

"""BERT against transformers: names, shapes and answers that it once gave, and the library where it is installed."""

import gzip
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from weights_for_tests import BERT, bert_inputs, weight

from cvdl_jax.core import counting
from cvdl_jax.core.trees import path_name
from cvdl_jax.models import pretrained, registry
from cvdl_jax.models.sequence.bert import Pretraining

CONTENT = json.loads(gzip.decompress(Path(__file__).with_name("fixtures").joinpath("bert.json.gz").read_bytes()))
SECTION = {"name": "bert_tiny", **{key: value for key, value in BERT.items() if key != "vocabulary"}}
TOLERANCE = 1e-4  # of the standard deviation of the scores
LABELS = [(b, t) for b, n in enumerate(bert_inputs()[2]) for t in range(n)]


def module(section, vocabulary):
    return Pretraining(registry.create(section, "config.model", vocabulary=vocabulary))


def nested(arrays):
    tree: dict = {}
    for path, x in arrays.items():
        *folders, last = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = jnp.asarray(x)
    return tree


@pytest.fixture(scope="module")
def apply():
    model = module(SECTION, BERT["vocabulary"])
    tokens, segments, lengths = bert_inputs()
    places = jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape)
    run = jax.jit(lambda v: model.apply(v, tokens, segments, lengths, places, False)[0],
                  compiler_options={"xla_backend_optimization_level": 0})  # fmt: skip
    return lambda arrays: run(nested(arrays))


@pytest.mark.curriculum("J15")
def test_names_shapes_and_number_of_parameters_are_those_of_bert_base():
    """110,106,428 parameters with both heads, 109,482,240 of the encoder."""
    model = module({"name": "bert_base_uncased"}, 30522)
    one = jnp.zeros((1, 8), jnp.int32)
    made = jax.eval_shape(lambda k: model.init(k, one, one, jnp.full((1,), 8), one, False), jax.random.key(0))
    assert counting.parameters(made["params"]) == 110_106_428
    flat = {path_name(path): x.shape for path, x in jax.tree_util.tree_leaves_with_path(made)}
    ours = pretrained.exported(
        {k: np.broadcast_to(np.int8(0), s) for k, s in flat.items()}, {"name": "bert_base_uncased"}
    )
    assert {name: list(x.shape) for name, x in ours.items()} == CONTENT["whole"]


@pytest.mark.curriculum("J15", "J16", "J17")
def test_the_same_weights_give_the_same_scores(apply):
    """Of words and of pairs, in every place that is no padding; other weights do not."""
    tensors = {name: weight(name, tuple(shape)) for name, shape in CONTENT["shapes"].items()}
    arrays = pretrained.imported(tensors, SECTION)
    assert arrays.unknown == ()
    expected = np.asarray(CONTENT["words"]), np.asarray(CONTENT["next"])
    rows = tuple(np.asarray(LABELS).T)
    words, pairs = map(np.asarray, apply(arrays.arrays))
    assert np.abs(words[rows] - expected[0][rows]).max() <= TOLERANCE * expected[0].std()
    assert np.abs(pairs - expected[1]).max() <= TOLERANCE * expected[1].std()
    for changed in ("params/block1/attention/value/kernel", "params/block0/norm1/scale", "params/segments/embedding"):
        wrong = apply({**arrays.arrays, changed: arrays.arrays[changed] * 1.01})[0]
        assert np.abs(wrong[rows] - expected[0][rows]).max() > TOLERANCE * expected[0].std(), changed


def test_files_of_the_bare_encoder_and_with_old_names_of_norms_are_read():
    tensors = {name: weight(name, tuple(shape)) for name, shape in CONTENT["shapes"].items()}
    known = pretrained.imported(tensors, SECTION).arrays
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): x
           for name, x in tensors.items()}  # fmt: skip
    bare = {name.removeprefix("bert."): x for name, x in tensors.items() if name.startswith("bert.")}
    assert len(old.keys() - tensors.keys()) > 4
    for other, less in ((old, 0), (bare, 7)):
        arrays = pretrained.imported({**other, "embeddings.position_ids": np.zeros((1, 16))}, SECTION)
        assert arrays.unknown == ("embeddings.position_ids",) and len(arrays.arrays) == len(known) - less
        assert all((arrays.arrays[name] == known[name]).all() for name in arrays.arrays)


def test_the_library_itself_agrees(apply):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    import make_bert_fixture as theirs

    model = theirs.small()
    tensors = {name: x.numpy().copy() for name, x in model.state_dict().items()}
    arrays = pretrained.imported(tensors, SECTION)
    assert {name.removesuffix(".weight").removesuffix(".bias") for name in arrays.unknown} <= {
        "cls.predictions.decoder", "bert.embeddings.position_ids"
    }  # fmt: skip
    words = np.asarray(theirs.answers(model)["words"])
    rows = tuple(np.asarray(LABELS).T)
    assert np.abs(np.asarray(apply(arrays.arrays)[0])[rows] - words[rows]).max() <= TOLERANCE * words.std()
    back = pretrained.exported(arrays.arrays, SECTION)
    for name, x in back.items():
        np.testing.assert_array_equal(np.asarray(x), tensors[name], err_msg=name)

"""Our models against names, shapes and logits that torchvision and timm once gave; `make_fixtures.py` writes them.

`test_parity.py` asks the libraries themselves, where they are installed.
"""

import gzip
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import make_model
from weights_for_tests import CLASSES, SMALL, image, weight

from cvdl_jax.core.trees import path_name
from cvdl_jax.models import pretrained, registry

FOLDER = Path(__file__).parent / "fixtures"
TOLERANCE = 1e-4  # of the standard deviation of the logits


def fixture(name):
    return json.loads(gzip.decompress((FOLDER / name).read_bytes()))


WHOLE = fixture("names.json.gz")
FILLED = fixture("small.json.gz")
# One of each scheme of names that is traced fast; the others are long.
QUICK = ("vgg16_bn", "resnet18", "mobilenetv1_100", "vit_b_32", "deit_tiny_distilled_patch16_224", "mixer_s16_224")
NAMED = [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in WHOLE]
quick_jit = lambda f: jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})  # noqa: E731


@pytest.mark.curriculum("I7")
@pytest.mark.parametrize("name", NAMED)
def test_names_and_shapes_are_theirs(name):
    """All that the other library keeps, and nothing else; zeros of one byte stand for the numbers."""
    model, row = make_model(name, 1000), registry.variants()[name].row
    shapes = jax.eval_shape(lambda k: model.init(k, jnp.zeros((1, *row["input"])), False), jax.random.key(0))
    flat = {path_name(path): x.shape for path, x in jax.tree_util.tree_leaves_with_path(shapes)}
    zeros = {path: np.broadcast_to(np.int8(0), shape) for path, shape in flat.items()}
    ours = pretrained.exported(zeros, {"name": name})
    assert {their: list(x.shape) for their, x in ours.items()} == WHOLE[name]


def logits_of(case, arrays):
    section = dict(SMALL[case])
    model = make_model(section.pop("name"), CLASSES, "float32", **section)
    variables: dict = {}
    for path, x in arrays.items():
        *folders, last = path.split("/")
        node = variables
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = jnp.asarray(x)
    return quick_jit(lambda v, x: model.apply(v, x, False)[0]), variables


@pytest.mark.curriculum("I7")
@pytest.mark.parametrize("case", SMALL)
def test_the_same_weights_give_their_logits(case):
    """And others do not: one kernel, larger by a hundredth, is seen."""
    tensors = {name: weight(name, tuple(shape)) for name, shape in FILLED[case]["shapes"].items()}
    found = pretrained.imported(tensors, SMALL[case])
    assert found.unknown == ()
    expected = np.asarray(FILLED[case]["logits"])
    apply, variables = logits_of(case, found.arrays)
    limit = TOLERANCE * expected.std()
    assert np.abs(apply(variables, image(case)) - expected).max() <= limit
    kernels = [name for name in found.arrays if name.endswith("kernel")]
    for changed in (kernels[0], kernels[len(kernels) // 2]):
        wrong = {**found.arrays, changed: found.arrays[changed] * 1.01}
        assert np.abs(apply(logits_of(case, wrong)[1], image(case)) - expected).max() > limit


def test_fixtures_are_small_and_are_of_the_cases():
    assert set(FILLED) == set(SMALL) and sum(path.stat().st_size for path in FOLDER.iterdir()) < 100_000

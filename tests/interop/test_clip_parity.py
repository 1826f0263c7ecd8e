"""CLIP against open_clip's: the same random weights give the same similarities, and its loader takes what we write.

It needs torch and open_clip; elsewhere it is skipped.
`test_clip_fixture.py` compares with what transformers once gave, without either.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

from cvdl_jax.models import pretrained, registry  # noqa: E402

END = 49_407
IGNORED = ("attn_mask", "position_ids")


@pytest.mark.parametrize("name", ["ViT-B-32-quickgelu", "ViT-B-32"])
def test_the_same_weights_give_the_same_similarities(name):
    torch.manual_seed(0)
    model = open_clip.create_model(name, pretrained=None).eval()
    tensors = {key: x.numpy().copy() for key, x in model.state_dict().items()}
    rng = np.random.default_rng(1)
    image, tokens = rng.normal(size=(2, 224, 224, 3)).astype(np.float32), rng.integers(1, 40_000, (3, 77))
    tokens[:, 0] = END - 1
    for row, length in enumerate((5, 20, 76)):
        tokens[row, length], tokens[row, length + 1 :] = END, 0
    with torch.no_grad():
        images = model.encode_image(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()), normalize=True)
        texts = model.encode_text(torch.from_numpy(tokens), normalize=True)
        expected = (model.logit_scale.exp() * images @ texts.T).numpy()
    given = pretrained.imported(tensors, {"name": name})
    assert not [key for key in given.unknown if not any(word in key for word in IGNORED)]
    ours = registry.create({"name": name}, "config.model", vocabulary=49_408, dtype="float32")
    apply = jax.jit(partial(ours.apply, train=False))

    def logits(arrays):
        variables: dict = {}
        for path, x in arrays.items():
            *folders, last = path.split("/")
            node = variables
            for folder in folders:
                node = node.setdefault(folder, {})
            node[last] = jnp.asarray(x)
        return np.asarray(apply(variables, image, jnp.asarray(tokens, jnp.int32))[0])

    assert np.abs(logits(given.arrays) - expected).max() <= 1e-4 * np.abs(expected).max()
    kernel = given.arrays["params/text_projection/kernel"]
    wrong = {**given.arrays, "params/text_projection/kernel": kernel[:, ::-1]}
    assert np.abs(logits(wrong) - expected).max() > 1e-3 * np.abs(expected).max()
    written = pretrained.exported(given.arrays, {"name": name})
    loaded = model.load_state_dict({key: torch.from_numpy(np.array(x)) for key, x in written.items()}, strict=False)
    assert not loaded.unexpected_keys and all(any(word in key for word in IGNORED) for key in loaded.missing_keys)

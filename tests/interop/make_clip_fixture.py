"""Writes tests/interop/fixtures/clip.json.gz from Hugging Face's transformers, for `test_clip_fixture.py`.

    .venv-interop/bin/python tests/interop/make_clip_fixture.py        # where torch and transformers are installed

It has the names and shapes of CLIP ViT-B/32, those of a small one, and its logits for weights that
`tests/weights_for_tests.py` makes from the names.
"""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel

FOLDER = Path(__file__).parent / "fixtures"
sys.path.insert(0, str(FOLDER.parent.parent))
from weights_for_tests import weight  # noqa: E402

SMALL = {
    "text_config": {
        "vocab_size": 10, "hidden_size": 8, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 1,
        "max_position_embeddings": 6, "eos_token_id": 9, "bos_token_id": 1, "pad_token_id": 0,
    },
    "vision_config": {
        "hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 12,
        "patch_size": 4,
    },
    "projection_dim": 4,
}  # fmt: skip
TOKENS = [[1, 4, 9, 0, 0], [1, 5, 6, 7, 9], [9, 3, 2, 1, 8]]


def shapes(model: torch.nn.Module) -> dict[str, list[int]]:
    """{name: shape} of what a model keeps."""
    return {name: list(x.shape) for name, x in model.state_dict().items()}


def filled() -> dict:
    """Names and shapes of the small model, and its logits for the weights of these names."""
    model = CLIPModel(CLIPConfig(**SMALL)).eval().double()
    state = {
        name: torch.from_numpy(np.asarray(weight(name, tuple(s)), np.float64)) for name, s in shapes(model).items()
    }
    model.load_state_dict({name: x for name, x in state.items() if "position_ids" not in name}, strict=False)
    image = np.random.default_rng(1).normal(size=(2, 12, 12, 3)).astype(np.float32)
    with torch.no_grad():
        pixels = torch.from_numpy(image.transpose(0, 3, 1, 2).copy()).double()
        logits = model(input_ids=torch.tensor(TOKENS), pixel_values=pixels).logits_per_image.numpy()
    return {"shapes": shapes(model), "logits": [[float(f"{x:.8g}") for x in row] for row in logits]}


if __name__ == "__main__":
    with torch.device("meta"):
        whole = shapes(CLIPModel(CLIPConfig()))
    text = json.dumps({"whole": whole, "small": filled()}, separators=(",", ":")).encode()
    (FOLDER / "clip.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))

"""Writes tests/interop/fixtures/bert.json.gz from transformers, so that `make test` compares with it without torch.

    .venv-interop/bin/python tests/interop/make_bert_fixture.py

It has the names and shapes of BERT-base with the heads of pre-training, and what a small BERT of these heads answers
for weights that `tests/weights_for_tests.py` makes from the names.
"""

import gzip
import json
import sys
from pathlib import Path

import torch
from transformers import BertConfig, BertForPreTraining

FILE = Path(__file__).parent / "fixtures" / "bert.json.gz"
sys.path.insert(0, str(FILE.parents[2]))
from weights_for_tests import BERT, bert_inputs, weight  # noqa: E402

TIED = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")  # the embeddings and the bias once more
THEIRS = {
    "vocabulary": "vocab_size", "width": "hidden_size", "depth": "num_hidden_layers", "heads": "num_attention_heads",
    "hidden": "intermediate_size", "positions": "max_position_embeddings",
}  # fmt: skip


def shapes(model: torch.nn.Module) -> dict[str, list[int]]:
    """{name: shape} of what a model keeps, once."""
    return {k: list(x.shape) for k, x in model.state_dict().items() if k not in TIED and "position_ids" not in k}


def small() -> BertForPreTraining:
    """The small model, with the weights of its names."""
    model = BertForPreTraining(BertConfig(**{THEIRS[key]: value for key, value in BERT.items()})).eval()
    state = {name: torch.from_numpy(weight(name, tuple(shape)).copy()) for name, shape in shapes(model).items()}
    assert not model.load_state_dict(state, strict=False).unexpected_keys
    model.tie_weights()
    return model


def answers(model: BertForPreTraining) -> dict[str, list]:
    """Scores of words [b, t, v] and pairs [b, 2], in float64."""
    tokens, segments, lengths = map(torch.from_numpy, bert_inputs())
    mask = torch.arange(tokens.shape[1])[None] < lengths[:, None]
    with torch.no_grad():
        out = model.double()(tokens.long(), mask.long(), segments.long())
    return {"words": out.prediction_logits.tolist(), "next": out.seq_relationship_logits.tolist()}


if __name__ == "__main__":
    with torch.device("meta"):
        whole = shapes(BertForPreTraining(BertConfig()))
    model = small()
    rounded = {
        k: json.loads(json.dumps(x), parse_float=lambda s: float(f"{float(s):.8g}")) for k, x in answers(model).items()
    }
    content = {"whole": whole, "shapes": shapes(model), **rounded}
    FILE.write_bytes(gzip.compress(json.dumps(content, separators=(",", ":")).encode(), 9, mtime=0))

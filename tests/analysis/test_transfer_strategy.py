"""The table of transfer: its four answers, what they point at, and words that it does not know."""

from typing import get_args

import pytest

from cvdl_jax.analysis.transfer_strategy import TABLE, Amount, Similarity, transfer_strategy
from cvdl_jax.config import configs
from cvdl_jax.errors import ConfigError


@pytest.mark.curriculum("I3")
def test_the_four_answers():
    answers = {pair: transfer_strategy(*pair).name for pair in TABLE}
    assert answers == {
        ("similar", "few"): "new head",
        ("different", "few"): "linear probes",
        ("similar", "many"): "fine-tune a few layers",
        ("different", "many"): "fine-tune more layers",
    }
    assert set(TABLE) == {(s, a) for s in get_args(Similarity) for a in get_args(Amount)}


@pytest.mark.curriculum("I3", "I2")
def test_answers_are_recipes_that_train_as_much_as_they_say():
    optims = {pair: configs.load(strategy.config).optim.to_dict() for pair, strategy in TABLE.items()}
    assert optims["similar", "few"]["freeze"] == "(?!head/).*"
    assert optims["similar", "many"]["freeze"] == "conv[01]/.*" and "freeze" not in optims["different", "many"]
    for pair in (("similar", "many"), ("different", "many")):
        ((_, factor),) = optims[pair]["lr_factors"]
        assert factor == TABLE[pair].rate_factor == 0.1
    assert TABLE["similar", "few"].rate_factor is None


@pytest.mark.curriculum("I3")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("simlar", "few"), ["similarity='simlar'", "similar, different", "did you mean 'similar'"]),
        (("similar", "lots"), ["amount='lots'", "few, many"]),
        (("few", "similar"), ["similarity='few'"]),
        ((0.9, "few"), ["similarity=0.9"]),
        (("similar", None), ["amount=None"]),
    ],
)
def test_other_words_are_refused(arguments, words):
    with pytest.raises(ConfigError) as error:
        transfer_strategy(*arguments)
    assert all(word in str(error.value) for word in words), error.value

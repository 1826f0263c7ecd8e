"""How much of a trained network should learn a new task? The usual answers, as a function of two questions.

                     the source is similar              the source is different
    few examples     a new last layer, on its own       a linear classifier on features of several layers
    many examples    fine-tune a few layers             fine-tune more of them

Reference: the table of Li, Johnson and Yeung 2017, CS231n, lecture 7 ("Transfer Learning with CNNs"), which says of the
upper right "you're in trouble", try linear classifiers of different stages. What it rests on was measured by Razavian
et al. 2014, "CNN Features off-the-shelf", and Yosinski et al. 2014, "How Transferable are Features in Deep Neural
Networks?", figure 2: the first layers are general, the last are those of their task.
"""

from typing import Literal, NamedTuple, get_args

from cvdl_jax.errors import ConfigError, nearest

Similarity = Literal["similar", "different"]
Amount = Literal["few", "many"]
TENTH = 0.1  # of the source's learning rate, for layers that come from it


class Strategy(NamedTuple):
    """What to do with a trained network.

    Attributes:
        name: in two or three words.
        trains: which layers learn.
        rate_factor: of the source's learning rate, for those of them that come from it; None where none do.
        config: a recipe of this repository that does it.
        why: in a sentence.
    """

    name: str
    trains: str
    rate_factor: float | None
    config: str
    why: str


TABLE: dict[tuple[Similarity, Amount], Strategy] = {
    ("similar", "few"): Strategy(
        "new head", "a new last layer; all others are frozen", None, "configs/regimes/fine_tune.py:scheme=head",
        "the last features fit the new task, and more parameters than the head's would fit the few examples too well",
    ),
    ("similar", "many"): Strategy(
        "fine-tune a few layers", "a new last layer and the last few", TENTH, "configs/regimes/fine_tune.py:scheme=few",
        "the last layers are the ones that are made for their task, and there are examples to move them",
    ),
    ("different", "few"): Strategy(
        "linear probes", "a linear classifier on features of each of several layers; the best is chosen on validation "
        "examples", None, "configs/studies/linear_probes.py",
        "the last features are those of another task, earlier ones are more general, and there is little to tune with",
    ),
    ("different", "many"): Strategy(
        "fine-tune more layers", "all layers, from the last to the first", TENTH,
        "configs/regimes/fine_tune.py:scheme=gradual",
        "also the middle layers are those of another task, and there are examples to move them",
    ),
}  # fmt: skip


def transfer_strategy(similarity: Similarity, amount: Amount) -> Strategy:
    """What to do with a network of a large data set, for another task.

    Args:
        similarity: of the images of the two tasks.
        amount: labelled examples of the new task.

    Raises:
        ConfigError: for a word that is not one of an argument's.
    """
    for name, value, kind in (("similarity", similarity, Similarity), ("amount", amount, Amount)):
        if value not in get_args(kind):
            raise ConfigError(
                f"{name}={value!r} of transfer_strategy must be one of {', '.join(get_args(kind))}; "
                f"{nearest(str(value), get_args(kind))}"
            )
    return TABLE[similarity, amount]

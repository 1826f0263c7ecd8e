"""Short reviews from a grammar, for what reads sentences: masked words, next sentences, sentiment.

    Velora is a film from Norway. The acting is not dull and the plot is clever. We saw Velora in June.

The name is `reviews`, or with other settings `reviews(least=4, most=4)`. A review is about one thing of eight kinds, of
which it names other parts than the other kinds have, so that sentences of one review can be recognised; and about one
made-up name. Each opinion denies a word and states another: a good review denies bad words and states good ones, a bad
one has them the other way round. So both have the same words: counts of words say nothing about the label, and only who
sees what "not" belongs to can tell. Review i of a split is a function of (split, i) and the settings alone.
"""

import dataclasses

import tensorflow_datasets as tfds

from cvdl_jax.data.builders._settings import SPLIT_LIMITS, Drawn, named
from cvdl_jax.data.scenes import Words
from cvdl_jax.errors import ConfigError

STREAMS = {"train": 40, "validation": 41, "test": 42}
CLASSES = ("bad", "good")
THINGS = {
    "film": ("acting", "plot", "ending", "music", "camera", "script"),
    "book": ("story", "style", "cover", "chapter", "author", "print"),
    "hotel": ("room", "bed", "breakfast", "pool", "view", "lobby"),
    "restaurant": ("soup", "waiter", "menu", "dessert", "table", "kitchen"),
    "phone": ("screen", "battery", "speaker", "keyboard", "charger", "signal"),
    "song": ("melody", "rhythm", "singer", "chorus", "guitar", "lyrics"),
    "game": ("level", "puzzle", "graphics", "dialogue", "combat", "quest"),
    "car": ("engine", "seat", "brake", "wheel", "mirror", "gearbox"),
}
ADJECTIVES = (
    ("awful", "bad", "boring", "dull", "poor", "sad", "terrible", "ugly", "weak", "wrong"),
    ("clever", "excellent", "fine", "fresh", "good", "great", "lovely", "nice", "solid", "superb"),
)  # of each of CLASSES
PLACES = ("Norway", "Spain", "Japan", "Chile", "Kenya", "Canada")
MONTHS = ("January", "March", "May", "June", "August", "October")
PEOPLE = ("friends", "my sister", "two colleagues", "our parents", "nobody else", "a neighbour")
_HEADS = ("Vel", "Tar", "Mon", "Kes", "Lu", "Bra", "Nor", "Qui", "Zan", "Fe", "Dor", "Pel")
_TAILS = ("ora", "kin", "aris", "eth", "una", "do", "vix", "ello", "ard", "imo", "ys", "anta")
_OPINIONS = (
    "The {0} is not {denied} and the {1} is {stated}.",
    "The {0} is {stated} and the {1} is not {denied}.",
    "For a {thing} like {name} the {0} is {stated}, the {1} not {denied}.",
    "The {0} was not {denied}, and the {1} {stated}.",
)
_FACTS = ("We tried {name} in {month} with {people}.", "In {month} a {thing} like {name} is new.",
          "It was {month} when {people} told us of {name}.")  # fmt: skip


@dataclasses.dataclass(eq=False, kw_only=True)
class ReviewsConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes."""

    least: int
    most: int
    train: int
    validation: int
    test: int


def configure(
    least: int = 3, most: int = 6, train: int = 4000, validation: int = 500, test: int = 1000
) -> ReviewsConfig:
    """The arguments of the data set's name.

    Args:
        least: sentences of a review, with the one that says what it is about and one opinion.
        most: likewise.
        train: reviews of this split.
        validation: likewise.
        test: likewise.

    Returns:
        A builder config, named by the settings that differ from the defaults.

    Raises:
        ConfigError: for a number out of its range.
    """
    values = dict(locals())
    limits = {"least": (2, 100), "most": (2, 100), **dict.fromkeys(STREAMS, SPLIT_LIMITS)}
    name = named("reviews", configure, values, limits)
    if least > most:
        raise ConfigError(f"config.data.name: reviews(least={least}, most={most}) must have least <= most")
    return ReviewsConfig(name=name, description=f"Reviews with {values}.", **values)


def write(words: Words, label: int, least: int, most: int) -> str:
    """One review.

    Args:
        words: of the example.
        label: 0 for a bad one, 1 for a good one; it decides which of two words is denied and which is stated, and
            nothing else.
        least: sentences.
        most: likewise.
    """

    def choose(options):
        return options[words.below(len(options))]

    thing, name = choose(tuple(THINGS)), choose(_HEADS) + choose(_TAILS)
    text = [f"{name} is a {thing} from {choose(PLACES)}."]
    count = words.between(least, most)
    for i in range(1, count):
        if i == 1 or words.below(3):
            parts = list(THINGS[thing])
            two = [parts.pop(words.below(len(parts))) for _ in range(2)]
            both = choose(ADJECTIVES[0]), choose(ADJECTIVES[1])
            text.append(
                choose(_OPINIONS).format(*two, thing=thing, name=name, denied=both[1 - label], stated=both[label])
            )
        else:
            said = choose(_FACTS).format(month=choose(MONTHS), people=choose(PEOPLE), thing=thing, name=name)
            text.append(said)
    return " ".join(text)


class Reviews(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `reviews` data set."""

    VERSION = tfds.core.Version("1.0.0")
    splits = STREAMS

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=CLASSES)}
        return tfds.core.DatasetInfo(
            builder=self,
            description="Reviews whose words are the same whether they are good or bad, but not their order.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        config = self.builder_config
        for i in range(getattr(config, split)):
            words = Words(STREAMS[split], i)
            label = words.below(2)
            yield i, {"text": write(words, label, config.least, config.most), "label": label}

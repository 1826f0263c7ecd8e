"""Groups of examples by an entry of their data set: names of classes, texts and whole numbers, and what is none."""

import pytest

from cvdl_jax.data import subgroups
from cvdl_jax.data.schema import Feature
from cvdl_jax.errors import ConfigError

ROWS = {
    "place": [0, 1, -1], "camera": [3, 0, 3], "who": [b"Zo\xc3\xab", b"", "Al"], "identity": [7, 40, 7],
    "flag": [True, False, True], "age": [1.5, 2.5, 3.5],
}  # fmt: skip


class Source:
    """Three examples; remembers what was read."""

    name = "stand-in"
    features = {
        "place": Feature("label", (), "int32", 2, ("in", "out")),
        "camera": Feature("label", (), "int32", 4),
        "who": Feature("text", (), "bytes"),
        "identity": Feature("tensor", (), "int32"),
        "flag": Feature("tensor", (), "bool"),
        "age": Feature("tensor", (), "float32"),
        "classes": Feature("label", (None,), "int32", 4),
        "image": Feature("image", (8, 8, 1), "uint8"),
    }

    def __init__(self):
        self.asked = []

    def read_entries(self, indices, names):
        self.asked.append((list(indices), list(names)))
        return [{name: ROWS[name][i] for name in names} for i in indices]


@pytest.mark.parametrize(
    ("entry", "names"),
    [
        ("place", ["in", "out", "(absent)"]),
        ("camera", ["3", "0", "3"]),
        ("who", ["Zoë", "(absent)", "Al"]),
        ("identity", ["7", "40", "7"]),
        ("flag", ["1", "0", "1"]),
    ],
)
def test_the_group_of_each_example(entry, names, monkeypatch):
    """Read a part at a time, and nothing but the entry."""
    monkeypatch.setattr(subgroups, "_CHUNK", 2)
    source = Source()
    of = subgroups.names_of(source, entry, 3, "config.x")
    assert of.tolist() == names and of.dtype.kind == "U"
    assert source.asked == [([0, 1], [entry]), ([2], [entry])]
    assert subgroups.names_of(source, entry, 2, "config.x").tolist() == names[:2]


@pytest.mark.parametrize("entry", ["age", "classes", "image"])
def test_an_entry_that_makes_no_groups_is_refused(entry):
    words = f"config.x: '{entry}' has no single class, text or whole number of an example of stand-in; "
    with pytest.raises(ConfigError) as error:
        subgroups.check(Source(), entry, "config.x")
    assert words in str(error.value) and ("known: camera, flag" in str(error.value) or "did you" in str(error.value))


def test_an_entry_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"config\.x: 'identitty' is no entry of .*; did you mean 'identity'"):
        subgroups.names_of(Source(), "identitty", 3, "config.x")

"""Models by name, for tests: the registry's one way to make them, with the fields as keyword arguments."""

from cvdl_jax.models import registry


def make_model(name, num_classes, dtype="float32", remat=False, **fields):
    """A backbone or a sequence model; `fields` are those that differ from its row."""
    section = {"name": name, **fields}
    return registry.create(section, "config.model", num_classes=num_classes, dtype=dtype, remat=remat)


def input_of(name):
    """The shape of one example, without the batch."""
    return registry.variants()[name].row["input"]

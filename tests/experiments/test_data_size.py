"""The table of a vision transformer and a ResNet on parts of MNIST: what its rows share, and in what they differ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.studies import data_size
from configs.tables import mnist_data_size
from cvdl_jax.config import configs
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry


@pytest.mark.curriculum("J21")
def test_rows_differ_in_the_model_and_the_number_of_training_images_alone():
    table = mnist_data_size.get_table()
    assert table["seeds"] == (0, 1, 2) and len(table["rows"]) == 8
    loaded = [configs.load(row["config"]) for row in table["rows"]]
    shares = [int(config.data.train.removeprefix("train[:").removesuffix("]")) for config in loaded]
    assert shares == [540, 540, 2700, 2700, 10800, 10800, 54000, 54000]
    for config, other in zip(loaded[::2], loaded[1::2], strict=True):
        assert {line.split(".")[0] for line in configs.differences(config, other)} == {"model"}
    for config in loaded[2::2]:
        assert {line.split(":")[0] for line in configs.differences(loaded[0], config)} == {"data.train"}
    assert all(config.total_steps == 2000 for config in loaded)
    for percent in (0, 101):
        with pytest.raises(ConfigError, match=f"percent={percent} must lie between 1 and 100"):
            configs.load(f"configs/studies/data_size.py:percent={percent}")


@pytest.mark.curriculum("J21")
def test_both_networks_have_about_as_many_parameters():
    counts = {}
    for name in data_size.MODELS:
        config = data_size.get_config(f"model={name}")
        model = registry.create(config.model, "config.model", num_classes=10, dtype="float32", remat=False)
        x = jax.ShapeDtypeStruct((1, *config.data.image_size, 1), jnp.float32)
        shapes = jax.eval_shape(lambda x, model=model: model.init(jax.random.key(0), x, False), x)["params"]
        counts[name] = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert counts["resnet"] == pytest.approx(counts["vit"], rel=0.1) and 20_000 < counts["vit"] < 26_000

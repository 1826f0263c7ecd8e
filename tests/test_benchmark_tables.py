"""What the benchmarks make of the seconds that they measured."""

from functools import partial

import jax
import pytest

from benchmarks import against_torch, detectors, steps
from cvdl_jax.config import configs
from cvdl_jax.core.info import Info
from cvdl_jax.core.task import create_state, step_function
from experiments import classify


@pytest.mark.curriculum("L30")
def test_detectors_are_compared_with_the_slowest_of_the_run():
    """Medians order the rows; a speed-up is the median of the ratios of rounds, not the ratio of medians."""
    figures = {"a": [0.2, 0.4, 0.1], "b": [1.0, 2.0, 8.0], "c": [0.5, 0.25, 2.0]}
    header, rows = detectors.table(figures)
    assert header == ["detector", "seconds an image", "images a second", "speed-up over b"]
    assert [row[0] for row in rows] == ["b", "c", "a"]
    assert rows[0][1:] == [2.0, 0.5, 1.0] and rows[1][1:] == [0.5, 2.0, 4.0] and rows[2][1:] == [0.2, 5.0, 5.0]
    assert all(len(pair) == 2 for pair in detectors.DETECTORS.values())


@pytest.mark.parametrize("name", ["unet", "retinanet"])
def test_averages_do_no_more_than_those_of_torch(name):
    path, *overrides = steps.STEPS[name]
    assert configs.load(path, overrides).ema.statistics is False


@pytest.mark.curriculum("X19")
def test_one_step_is_lowered_for_cpu_gpu_and_tpu():
    """The same functions, nothing else asked of the user; each platform gets the convolutions of both directions."""
    image, label = jax.ShapeDtypeStruct((4, 8, 8, 1), "float32"), jax.ShapeDtypeStruct((4,), "int32")
    info = Info(10, (), {"image": image, "label": label}, {"train": 8, "validation": 4, "test": 4}, 4, 2, 2.0, 0)
    config = configs.load("configs/classify/resnet20.py:smoke", ["config.model.name=resnet8_tiny"])
    batch = {"image": image, "label": label}
    task = classify.make(config, info)
    state = jax.eval_shape(partial(create_state, task), jax.random.key(0), batch)
    traced = jax.jit(step_function(task, 0)).trace(state, batch)
    programs = {name: traced.lower(lowering_platforms=(name,)).as_text() for name in ("cpu", "cuda", "tpu")}
    counts = {name: text.count("stablehlo.convolution") for name, text in programs.items()}
    assert counts["cuda"] == counts["tpu"] == 20  # 7 forward, 7 for the kernels, 6 for the maps between them


@pytest.mark.curriculum("X19")
def test_a_speed_is_compared_with_the_fastest_form_of_the_other_library():
    """Medians choose the form, the ratio is the median of the ratios of rounds, a form that failed is left out."""
    facts = {"parameters": 5, "mfu": 0.25, "bytes": 2 * against_torch.GIB}
    rounds = {
        "ours": [facts | {"seconds": s} for s in (0.1, 0.2, 0.4)],
        "eager": [facts | {"seconds": s} for s in (0.4, 0.4, 0.4)],
        "compile": [facts | {"seconds": s, "bytes": against_torch.GIB} for s in (0.3, 0.2, 0.2)],
        "graph": [{"error": "out of memory"}] * 3,
    }
    name, ours, best, form, ratio, memory, theirs, mfu, rate = against_torch.row_of("lenet5", rounds)
    assert (name, form, ours, best, mfu) == ("lenet5", "compile", pytest.approx(200), pytest.approx(200), "25 %")
    assert ratio == pytest.approx(1.0) and (memory, theirs) == (2, 1)  # of 3, 1 and 0.5
    assert int(rate.replace(",", "")) == round(against_torch.BATCH.get("lenet5", 128) / 0.2)
    assert against_torch.row_of("lenet5", {"ours": rounds["ours"], "graph": rounds["graph"]})[1] == "failed"

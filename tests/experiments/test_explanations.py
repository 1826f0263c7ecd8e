"""Explanations measured on a network of which it is known what it sees, and on a run whose scenes have masks."""

import numpy as np
import pytest

import launch
from cvdl_jax.analysis.explain import known
from cvdl_jax.cli.tables import spec
from cvdl_jax.config import configs
from cvdl_jax.errors import ConfigError
from experiments.studies import explanations as study


def test_methods_find_the_square_that_the_network_sees_and_random_maps_do_not():
    asked = study.Study(images=12, methods="gradient_x_input | gradcam | rollout", steps=6, randomised=4)
    metrics, (subject, numbers, maps, reasons) = study.measure(asked, 0)
    assert (
        subject.truth.sum() == 12 * 25 and (np.asarray(subject.logits_fn(subject.x)).argmax(-1) == subject.target).all()
    )
    assert metrics["gradient_x_input/pointing"] == 1 == metrics["gradcam/pointing"] and metrics["random/pointing"] < 0.5
    for name in ("gradient_x_input", "gradcam"):
        assert metrics[f"{name}/gain"] > metrics["random/gain"] + 0.1
        assert metrics[f"{name}/gain"] == pytest.approx(metrics[f"{name}/insertion"] - metrics[f"{name}/deletion"])
    assert metrics["random/like_all_layers_randomised"] == 1  # random maps of the same seed
    assert "no attention layers" in reasons["rollout"] and "rollout" not in numbers
    figures = study.draw((subject, numbers, maps, reasons))
    assert (
        figures["numbers"].splitlines()[0].split()[:2] == ["seconds", "deletion"] and "rollout: " in figures["numbers"]
    )


def test_the_squares_are_where_the_truth_says():
    x, quadrant, truth = known.images(5, 1)
    assert x[truth].min() == 1 and x[~truth].max() < known.NOISE
    for c, mask in zip(quadrant, truth, strict=True):
        rows, columns = np.nonzero(mask)
        assert {(r // 12) * 2 + k // 12 for r, k in zip(rows, columns, strict=True)} == {c}


def test_one_method_alone_is_a_row_of_a_table():
    """Its metrics bear no name of a method, and are those that it has among others; areas have Student's interval."""
    asked = study.Study(images=5, methods="gradient_x_input", steps=4, randomised=2)
    together, (alone, (subject, _, maps, _)) = study.measure(asked, 0)[0], study.measure(asked._replace(alone=True), 0)
    assert alone["examples"] == 5 and not any("/" in name for name in alone)
    for name in ("deletion", "insertion", "pointing", "like_all_layers_randomised"):
        assert alone[name] == together[f"gradient_x_input/{name}"]
    of = subject.logits_fn, subject.x, maps["gradient_x_input"], subject.target
    areas = study.faithfulness.insertion(*of, steps=4).area
    half, mean = 2.7764451 * areas.std(ddof=1) / 5**0.5, areas.mean()
    assert (alone["insertion_low"], alone["insertion_high"]) == pytest.approx((mean - half, mean + half), rel=1e-5)
    control = study.measure(asked._replace(methods="random", alone=True), 0)[0]
    assert control["insertion"] == together["random/insertion"] != alone["insertion"]
    with pytest.raises(ConfigError, match=r"alone measures one method, config\.study\.methods names 2"):
        study.measure(asked._replace(methods="gradient | ig", alone=True), 0)
    with pytest.raises(ConfigError, match="no attention layers"):
        study.measure(asked._replace(methods="rollout", alone=True), 0)
    with pytest.raises(ConfigError, match=r"the rows \['occlusion_4', 'occlusion_4', 'random'\] are not all different"):
        study.measure(asked._replace(methods="occlusion(size=4) | occlusion(stride=4)"), 0)


def test_the_table_has_a_row_for_each_method_and_needs_a_run(tmp_path):
    table = spec.load(f"configs/tables/explanations.py:workdir={tmp_path / 'run'},images=7")
    runs = spec.planned(table, [], tmp_path)
    assert len(runs) == 17 and all(run.config.study.alone and run.config.study.images == 7 for run in runs)
    methods = [run.config.study.methods for run in runs]
    assert methods[-1] == "random" and "lrp(rule='gamma')" in methods
    with pytest.raises(ConfigError, match=rf"first: python launch\.py --config .*lenet5\.py.* {tmp_path}/run"):
        spec.refuse_missing(table, runs)


@pytest.mark.long
def test_each_class_of_a_scene_with_masks_is_asked_about(tmp_path):
    flags = ["--config=configs/classify/multi_label.py:smoke", "--config.log.tensorboard=False"]
    assert launch.main([*flags, f"--workdir={tmp_path / 'run'}"]) == 0
    asked = study.Study(str(tmp_path / "run"), images=4, methods="gradcam", steps=2, randomised=2)
    subject = study.of_run(asked)
    assert subject.truth.shape == subject.x.shape[:3] and subject.truth.any((1, 2)).all()
    assert len(subject.x) == len(subject.target) >= 4
    assert set(study.measure(asked, 0)[0]) >= {"gradcam/pointing", "random/pointing"}
    with pytest.raises(ConfigError, match=r"config\.study\.split='tests': did you mean 'test'"):
        study.of_run(asked._replace(split="tests"))


def test_a_method_that_does_not_exist_is_refused():
    config = configs.load("configs/studies/explanations.py:smoke", ["config.study.methods=gradcamm"])
    with pytest.raises(ConfigError, match="there is no 'gradcamm': did you mean 'gradcam'"):
        study.measure(study.Study(**config.study), 0)

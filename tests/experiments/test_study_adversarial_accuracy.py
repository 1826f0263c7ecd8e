"""The study of robust accuracy: the numbers of the attacks on its own images, and what each of them fooled."""

import jax
import numpy as np
import pytest

import launch
from cvdl_jax.analysis.attacks import pgd
from cvdl_jax.cli.tables import spec
from cvdl_jax.config import configs
from cvdl_jax.engine import trained
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.stats.intervals import wilson
from experiments.studies import adversarial_accuracy as study


def test_an_image_is_robust_if_no_attack_fools_the_classifier():
    """Of a linear classifier FGSM with a small radius is weaker than with a large one, which decides over both."""
    asked = study.Study(images=60, attacks="fgsm(eps=0.02) | fgsm(eps=0.1)")
    methods = study.robustness.methods(asked.attacks)
    metrics, (report, shown, names) = study.measure(asked, methods, 0)
    subject = trained.classifier("")
    images, label = trained.examples(subject, "test", 60)
    right = np.asarray(subject.logits_fn(images)).argmax(1) == label
    for eps in (0.02, 0.1):
        changed = pgd.fgsm(subject.logits_fn, images, label, eps=eps)
        held = right & (np.asarray(subject.logits_fn(changed)).argmax(1) == label)
        name = f"fgsm(eps={eps})/robust_accuracy"
        assert metrics[name] == held.mean()
        assert (metrics[f"{name}_low"], metrics[f"{name}_high"]) == wilson(int(held.sum()), 60)
    assert (
        metrics["robust_accuracy"]
        == metrics["fgsm(eps=0.1)/robust_accuracy"]
        < metrics["fgsm(eps=0.02)/robust_accuracy"]
    )
    assert metrics["clean_accuracy"] == right.mean() and metrics["examples"] == 60
    figures = study.draw((report, shown, names))
    assert figures["robust_accuracy"].splitlines()[2].startswith("fgsm(eps=0.02)") and "adversarial" in figures
    assert set(study.draw((report, {name: [] for name in shown}, names))) == {"robust_accuracy"}


def test_an_attack_that_does_not_exist_is_refused_before_anything_is_read():
    config = configs.load("configs/studies/adversarial_accuracy.py", ["config.study.attacks=pdg(eps=0.3)"])
    with pytest.raises(ConfigError, match=r"config\.study\.attacks: there is no attack 'pdg'; did you mean 'pgd'"):
        study.make(config, None)


def test_the_table_attacks_two_runs_and_names_the_command_of_each(tmp_path):
    folders = {name: tmp_path / name for name in ("plain", "robust")}
    table = spec.load(
        f"configs/tables/mnist_robustness.py:plain={folders['plain']},robust={folders['robust']},images=50"
    )
    runs = spec.planned(table, [], tmp_path)
    assert [run.config.study.workdir for run in runs] == [str(folder) for folder in folders.values()]
    names = [method.name for method in study.robustness.methods(runs[0].config.study.attacks)]
    assert table.metric["key"] == f"study/{names[0]}/robust_accuracy" and len(names) == 2
    folders["robust"].mkdir()
    (folders["robust"] / "DONE").touch()
    with pytest.raises(ConfigError, match=r"trained plainly measures .*robust_mnist\.py:share=0 --workdir .*/plain"):
        spec.refuse_missing(table, runs)
    spec.refuse_missing(table, runs[1:])


def test_the_plain_control_trains_on_clean_images_and_is_selected_by_accuracy():
    plain, attacked = (configs.load(f"configs/classify/robust_mnist.py:{share}smoke") for share in ("share=0,", ""))
    assert not plain.adversary and not plain.robust and plain.select.metric == "validation/accuracy"
    assert attacked.adversary.share == 1.0 and attacked.select.metric == "validation/robust_accuracy"
    assert {key for key in plain if plain[key] != attacked[key]} == {"adversary", "robust", "select"}


@pytest.mark.long
def test_the_table_is_made_of_runs(tmp_path):
    """Two trained runs, attacked: both figures of each, the published one beside ours and not subtracted."""
    for name, share in (("plain", "share=0,"), ("robust", "")):
        file = f"configs/classify/robust_mnist.py:{share}smoke"
        assert launch.main([f"--config={file}", "--config.log.tensorboard=False", f"--workdir={tmp_path / name}"]) == 0
    file = f"configs/tables/mnist_robustness.py:plain={tmp_path / 'plain'},robust={tmp_path / 'robust'},images=8"
    short = "--config.study.attacks=pgd(eps=0.3, steps=40, step_size=0.01)"
    assert launch.main([f"--table={file}", f"--workdir={tmp_path / 'table'}", short]) == 0
    text = (tmp_path / "table" / "results.md").read_text()
    assert text.count("| 1 |") >= 2 and "93.20† (Madry et al. 2018, table 1, PGD-40)" in text
    assert "not comparable: protocol theirs '10,000 test images" in text
    assert "clean accuracy (%)" in text and "Wilson over 8 examples" in text
    jax.clear_caches()

"""What accuracy hides when positives are rare: one digit against the rest, fewer and fewer of it.

The run takes no steps. A logistic regression on pixels is fitted by Newton's method for every prevalence and several
subsets of the positives. Beside it stands a "classifier" that calls everything negative.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted, Inside, NotNegative, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import confusion, ranking, which_metric

READS = ("study",)
RATES = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "mcc")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    data: Mapping = {}  # a section as `config.data`, with train and test
    positive: Counted = 8  # the class that counts as positive
    prevalences: tuple[Inside, ...] = (0.09, 0.05, 0.02)  # of positives, in training and test; the last is tabled
    draws: Size = 20  # subsets of the positives for each prevalence
    penalty: NotNegative = 0.001  # half of it times the squared norm of the weights is added to the mean loss


def thinned(x, label, prevalence, rng):
    """All negatives, and as many positives, drawn without replacement, as make `prevalence` their share."""
    rest, rare = np.flatnonzero(~label), np.flatnonzero(label)
    kept = round(prevalence / (1 - prevalence) * len(rest))
    if not 1 <= kept <= len(rare):
        raise ConfigError(
            f"config.study.prevalences: {prevalence} needs {kept} of {len(rare)} positives; the largest that there is "
            f"is {len(rare) / len(label):.3f}"
        )
    rows = np.concatenate([rest, rng.permutation(rare)[:kept]])
    return x[rows], label[rows]


def fit(x, label, penalty, steps=12):
    """Weights of a logistic regression, and its bias, which no penalty draws to 0, by Newton's method: [d + 1]."""
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    w, ridge = np.zeros(x.shape[1]), np.diag([*[penalty] * (x.shape[1] - 1), 0.0])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-x @ w))
        slope = x.T @ (p - label) / len(x) + ridge @ w
        w = w - np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x / len(x) + ridge, slope)
    return w


def scores_of(w, x):
    """Probabilities of the positive class, [n]."""
    return 1 / (1 + np.exp(-x @ w[:-1] - w[-1]))


def judged(label, scores, prevalence):
    """Measures of one test set: at the thresholds 1/2, prevalence and infinity (all negative), and over all of them."""
    measures = {}
    for name, threshold in (("half", 0.5), ("prevalence", prevalence), ("never", np.inf)):
        report = confusion.report(*confusion.counts_at(label, scores, threshold))
        measures |= {f"{rate}_{name}": report.values[rate] for rate in RATES}
        measures[f"undefined_{name}"] = len(report.undefined)
    measures["auc"] = ranking.roc_auc(label, scores)
    measures["auc_of_classes"] = ranking.roc_auc(label, scores >= 0.5)  # what is left when scores become decisions
    measures["ap"] = ranking.average_precision_of_scores(label, scores)
    return measures


def load(study):
    """{split: (pixels in 0..1 [n, d], whether it is the positive class [n])}."""
    binary = {}
    for name, batch in recipe.whole_splits(study.data, "config.study.data", ("train", "test"))[1].items():
        image = np.asarray(batch["image"])
        image = image / (255.0 if image.dtype == np.uint8 else 1.0)
        binary[name] = image.reshape(len(image), -1), np.asarray(batch["label"]) == study.positive
    return binary


def mean_of_known(values):
    """The mean over the draws in which a measure is defined; NaN if it is in none."""
    known = values[~np.isnan(values)]
    return known.mean() if known.size else np.nan


def measure(study, seed):
    """({metric: number}, what `draw` shows)."""
    data, rng, table, shown = load(study), np.random.default_rng(seed), {}, {}
    for prevalence in study.prevalences:
        rows = []
        for _ in range(study.draws):
            w = fit(*thinned(*data["train"], prevalence, rng), study.penalty)
            x, label = thinned(*data["test"], prevalence, rng)
            rows.append(judged(label, scores_of(w, x), prevalence))
        shown[prevalence] = label, scores_of(w, x)
        table[prevalence] = {name: np.asarray([row[name] for row in rows], np.float64) for name in rows[0]}
    last = table[study.prevalences[-1]]
    metrics = {name: mean_of_known(values) for name, values in last.items()}
    metrics = {name: value for name, value in metrics.items() if not np.isnan(value)}  # no draw defines the others
    metrics["draws_without_precision_half"] = np.isnan(last["precision_half"]).sum()
    first = study.prevalences[0]
    metrics |= {f"{name}_at_{first}": mean_of_known(table[first][name]) for name in ("accuracy_half", "auc", "ap")}
    return metrics, (table, shown)


def draw(shown):
    """Measures over the prevalence, and the two curves; the report of calling all negative, and what to use."""
    from cvdl_jax.analysis.figures.curves import panels, precision_recall, roc

    table, curves = shown
    figure, axes = panels([("means over draws of test sets", "share of positives", "measure"),
                           ("ROC, last draw", "false positive rate", "true positive rate"),
                           ("precision and recall, last draw", "recall", "precision")])  # fmt: skip
    lines = {"accuracy, all negative": "accuracy_never", "accuracy": "accuracy_half", "recall": "recall_half",
             "balanced accuracy": "balanced_accuracy_half", "F1": "f1_half", "MCC": "mcc_half", "AUC": "auc",
             "average precision": "ap"}  # fmt: skip
    for name, key in lines.items():
        means = [mean_of_known(measures[key]) for measures in table.values()]
        axes[0].plot(list(table), means, "k:" if key == "accuracy_never" else "o-", markersize=3, label=name)
    axes[0].legend(fontsize=6)
    for prevalence, (label, scores) in curves.items():
        roc(axes[1], label, scores, f"{100 * prevalence:g} % positive")
        precision_recall(axes[2], label, scores, f"{100 * prevalence:g} % positive")
    label, _ = curves[prevalence]
    advice = which_metric.which_metric(shares=(1 - prevalence, prevalence), output="scores")
    return {
        "unbalanced": figure,
        "calling_all_negative": confusion.report(0, 0, int(label.sum()), int((~label).sum())).text(),
        "which_metric": "\n".join(f"{a.metric} ({a.where}): {a.why}" for a in advice),
    }


def make(config, info) -> Task:
    """The task of this study."""
    study = configs.call(Study, config.study, "config.study")
    return studies.measured(config, lambda: measure(study, config.seed), draw)

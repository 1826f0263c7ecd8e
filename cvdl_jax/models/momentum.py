"""Learning from one's own moving average: a student is compared with a teacher that follows it, without gradients.

    teacher <- m teacher + (1 - m) student

MoCo v2 contrasts a student's vector with the teacher's of the other view and a queue of the teacher's earlier ones;
BYOL predicts the teacher's vector, without negatives; DINO has the teacher's distribution over prototypes, centred and
sharpened, as its target. The public functions below are the methods that `config.momentum` names.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.config.binding import Counted, Positive, Share, Size, call, check_name, check_section
from cvdl_jax.core.parallel import gather_rows
from cvdl_jax.core.task import State, Transform
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.distances import unit
from cvdl_jax.ops.losses import self_supervision as losses

TEACHER, STATISTICS, MEMORY = "teacher", "teacher_statistics", "memory"  # in `extra`
PREDICTOR = "predictor"  # in `params`; the teacher has none


class Compared(NamedTuple):
    """What a comparison gives.

    Attributes:
        losses: [b].
        memory: the new one.
        measures: {name: [b]}.
    """

    losses: jax.Array
    memory: Mapping[str, jax.Array]
    measures: Mapping[str, jax.Array]


class Following(NamedTuple):
    """A method of student and teacher.

    Attributes:
        views: of each image that the student sees; the teacher sees the first two of them, or fewer.
        pairs: (view of the student, view of the teacher) that are compared.
        predicts: whether the student has a predictor behind its projector.
        prototypes: whether the projector must have some.
        decay: m at the first step; constant, or rising to 1 as half a cosine.
        rises: whether it does.
        memory: `(key, e) -> tree`, kept in the state, of vectors of e numbers.
        compare: `(pairs of outputs [b, e], {view: output of the teacher}, memory) -> Compared`.
    """

    views: int
    pairs: tuple[tuple[int, int], ...]
    predicts: bool
    prototypes: bool
    decay: float
    rises: bool
    memory: Callable
    compare: Callable


def chosen(section: Mapping[str, Any], batch_size: int) -> Following:
    """The method that `config.momentum` names, with its arguments.

    Args:
        section: of the config.
        batch_size: of the run.

    Raises:
        ConfigError: for an unknown name, or wrong arguments.
    """
    path, known = "config.momentum", {"moco": moco, "byol": byol, "dino": dino}
    check_section(section, path)
    check_name(section.get("name", ""), known, f"{path}.name={section.get('name', '')!r} is not known")
    rest = {key: value for key, value in section.items() if key != "name"}
    method = known[section["name"]]
    told = {"batch_size": batch_size} if "batch_size" in inspect.signature(method).parameters else {}
    return call(method, rest, path, **told)


def moco(
    queue: Size = 4096, temperature: Positive = 0.2, decay: Share = 0.999, symmetric: bool = False, *, batch_size: int
) -> Following:
    """MoCo v2: InfoNCE with a queue.

    Args:
        queue: how many of the teacher's vectors are kept, a batch or more; the oldest leave first.
        temperature: of the logits.
        decay: m.
        symmetric: each view is compared with the other, in place of the first with the second.
        batch_size: of the run.

    Raises:
        ConfigError: for a queue that is shorter than a batch.

    Reference: Chen et al. 2020, "Improved Baselines with Momentum Contrastive Learning" (MoCo v2: a projector of two
        layers, temperature 0.2, a queue of 65,536, m = 0.999).
    """
    if queue < batch_size:
        raise ConfigError(f"config.momentum.queue={queue} holds no batch of {batch_size}; choose {batch_size} or more")

    def compare(pairs, teacher, memory):
        kept = memory["queue"]
        both = [losses.with_queue(unit(s), unit(t), kept, temperature) for s, t in pairs]
        value, hits = (sum(part) / len(both) for part in zip(*both, strict=True))
        new = jnp.concatenate([gather_rows(unit(teacher[max(teacher)])), kept])[: len(kept)]
        return Compared(value, {"queue": lax.stop_gradient(new)}, {"batch_accuracy": hits})

    def memory(key, e):
        return {"queue": unit(jax.random.normal(key, (queue, e)))}

    pairs = ((0, 1), (1, 0)) if symmetric else ((0, 1),)
    return Following(2, pairs, False, False, decay, False, memory, compare)


def byol(decay: Share = 0.996) -> Following:
    """BYOL: a predictor of the teacher's vector of the other view, in both directions; m rises to 1.

    Args:
        decay: m at the first step; `1 - (1 - m) (cos(pi k / K) + 1) / 2` at step k of K.

    Reference: Grill et al. 2020, "Bootstrap Your Own Latent", sections 3.1 and 3.3.
    """

    def compare(pairs, teacher, memory):
        both = [losses.bootstrap(unit(s), unit(t)) for s, t in pairs]
        return Compared(sum(both), memory, {})

    return Following(2, ((0, 1), (1, 0)), True, False, decay, True, lambda key, e: {}, compare)


def dino(
    decay: Share = 0.996,
    student_temperature: Positive = 0.1,
    teacher_temperature: Positive = 0.04,
    centre: Share = 0.9,
    more_views: Counted = 0,
) -> Following:
    """DINO: the teacher's centred and sharpened distribution over prototypes is the target of every other view.

    Args:
        decay: m at the first step, as in `byol`.
        student_temperature: of the student's distribution.
        teacher_temperature: of the teacher's; lower is sharper.
        centre: share of the old centre that each step keeps, of the mean of the teacher's scores of all rows and views.
        more_views: of the student alone, drawn from `config.small_views`; each is compared with both of the teacher's.

    Reference: Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers", section 3.1 and
        algorithm 1.
    """

    def compare(pairs, teacher, memory):
        temperatures = (student_temperature, teacher_temperature)
        parts = [losses.distilled(s, t, memory["centre"], *temperatures) for s, t in pairs]
        seen = jnp.concatenate([gather_rows(scores) for scores in teacher.values()])
        new = centre * memory["centre"] + (1 - centre) * lax.stop_gradient(seen).mean(0)
        right = [jax.nn.softmax((t - memory["centre"][None]) / teacher_temperature) for _, t in pairs]
        entropy = sum(-(p * jnp.log(jnp.maximum(p, 1e-12))).sum(1) for p in right) / len(right)
        return Compared(sum(parts) / len(parts), {"centre": new}, {"teacher_entropy": entropy})

    count = 2 + more_views
    pairs = tuple((s, t) for t in range(2) for s in range(count) if s != t)
    return Following(count, pairs, False, True, decay, True, lambda key, e: {"centre": jnp.zeros(e)}, compare)


def follow(method: Following, total_steps: int) -> Transform:
    """The transform, behind the descent, by which the teacher follows the student.

    Args:
        method: says by how much.
        total_steps: K of a decay that rises.

    Returns:
        A Transform that keeps `extra["teacher"]`, of all parameters but the predictor's.
    """

    def update(state: State, batch: Any, key: jax.Array):
        m = method.decay
        if method.rises:
            done = state.step.astype(jnp.float32) / total_steps
            m = 1 - (1 - m) * (jnp.cos(jnp.pi * done) + 1) / 2
        old = state.extra[TEACHER]
        new = jax.tree.map(lambda t, s: (m * t + (1 - m) * s).astype(t.dtype), old, _student(state))
        return state._replace(extra={**state.extra, TEACHER: new}), batch, {}

    return Transform(update, begun)


def begun(state: State) -> State:
    """The state with a teacher that is the student: the same parameters and statistics, without a predictor."""
    copies = jax.tree.map(jnp.copy, _student(state))
    stats = {name: jax.tree.map(jnp.copy, state.extra["batch_stats"][name]) for name in copies}
    return state._replace(extra={**state.extra, TEACHER: copies, STATISTICS: stats})


def completed(state: State, loaded: Sequence[str], anew: Sequence[str]) -> tuple[State, list[str], list[str]]:
    """A state some of whose arrays come from another run, with a teacher that is the student unless it came whole.

    Args:
        state: of any run.
        loaded: the names of its arrays that came, such as "extra/teacher/encoder/head/bias".
        anew: those that did not, each perhaps followed by its shape.

    Returns:
        (state, loaded, anew), without the names of what was replaced.
    """
    theirs = tuple(f"extra/{key}/" for key in (TEACHER, STATISTICS))
    if not any(name.startswith(theirs) for name in anew):
        return state, list(loaded), list(anew)
    return begun(state), *([name for name in names if not name.startswith(theirs)] for names in (loaded, anew))


def _student(state: State) -> dict[str, Any]:
    return {name: tree for name, tree in state.params.items() if name != PREDICTOR}

"""FSGAN, the way of a face into another picture: reenacted, segmented, completed and blended.

    I_r0 = I_s;  I_rj, S_rj = G_r(I_r(j-1); H(p_j));  S_t = G_s(I_t);  I_c = G_c(I_rn inside of its face, S_t)
    the result is I_c, blended into I_t where S_t says face

Pictures are in -1..1; a picture "without surroundings" is 0 where there is neither face nor hair.

Reference: Nirkin et al. 2019, "FSGAN: Subject Agnostic Face Swapping and Reenactment", sections 3 and 4.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.config.binding import NotNegative, Positive, Size
from cvdl_jax.core.info import Info
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_params
from cvdl_jax.ops import landmarks
from cvdl_jax.ops.blending import poisson

FACE, HAIR, REGIONS = 1, 2, 3
NETWORKS = ("reenactment", "segmentation", "inpainting", "detector")


class Swap(NamedTuple):
    """The arguments of `config.swap`."""

    steps: Size = 2  # n, of the reenactment
    sigma: Positive = 1.5  # of the maps of heat, in pixels
    segmentation: NotNegative = 0.1  # weight of the reenacted regions' cross-entropy beside the pixels' distance
    adversarial: NotNegative = 0.01  # of the critic of patches
    iterations: Size = 100  # of conjugate gradients that blend, at most


class Method(NamedTuple):
    """What a configuration chooses: networks by their names, the critic, the settings."""

    networks: dict[str, Any]
    critic: Any
    swap: Swap


def make_method(config: Any, info: Info) -> Method:
    """The method of `config.model` and `config.swap`.

    Raises:
        ConfigError: for data without pairs of faces, or sections that do not fit.
    """
    needed = [f"image{v}" for v in ("", "_target", "_other", "_swapped")]
    lacking = [name for name in needed if name not in info.spec]
    if lacking or "landmarks" not in info.spec:
        raise ConfigError(
            f"experiment {config.experiment!r} needs pairs of faces with landmarks, and config.data.name="
            f"{config.data.get('name', '')!r} lacks {', '.join(lacking) or 'landmarks'}; set it to face_pairs"
        )
    if set(config.model) != {*NETWORKS, "critic"}:
        raise ConfigError(f"config.model has {sorted(config.model)}; expected {', '.join((*NETWORKS, 'critic'))}")
    types, channels = {"dtype": config.compute_dtype}, info.spec["image"].shape[-1]
    outputs = {"reenactment": channels + REGIONS, "segmentation": REGIONS, "inpainting": channels, "detector": 1}
    networks = {
        name: registry.create(
            config.model[name], f"config.model.{name}", num_classes=outputs[name],
            kinds=("backbones",) if name == "detector" else ("segmentation",), **types,
        )
        for name in NETWORKS
    }  # fmt: skip
    critic = registry.create(config.model.critic, "config.model.critic", kinds=("generative",), **types)
    return Method(networks, critic, configs.call(Swap, config.swap, "config.swap"))


def run(method: Method, params: Any, name: str, x: jax.Array, train: bool) -> jax.Array:
    """The result of one of the networks."""
    return apply_params(method.networks[name], params[name], x, train)[0]


def alone(x: jax.Array, regions: jax.Array) -> jax.Array:
    """A picture [b, h, w, c] without surroundings; regions int [b, h, w, 1]."""
    return jnp.where(regions > 0, x, 0)


def reenacted(method: Method, params: Any, face: jax.Array, source: Any, target: Any, train: bool) -> Any:
    """A face in the pose and with the expression of a target.

    The landmarks are those of the source on its way to the target's pose, and at the end the target's own.

    Args:
        method: n steps.
        params: of the run.
        face: I_s without surroundings [b, h, w, c].
        source: v_s [b, 70, 3] and e_s [b, 3].
        target: v_t and e_t, likewise.
        train: mode of the network.

    Returns:
        I_rn [b, h, w, c] in -1..1; logits of S_rn [b, h, w, 3].
    """
    n, (height, width, c) = method.swap.steps, face.shape[1:]
    way = landmarks.between(*source, *target, n).at[:, -1].set(target[0])  # [b, n, 70, 3]
    heat = landmarks.heat_maps(landmarks.project(way), height, width, method.swap.sigma)
    logits = jnp.zeros((*face.shape[:3], REGIONS), face.dtype)
    for j in range(n):
        out = run(method, params, "reenactment", jnp.concatenate([face, heat[:, j].astype(face.dtype)], -1), train)
        face, logits = jnp.tanh(out[..., :c]), out[..., c:]
    return face, logits


def completed(method: Method, params: Any, face: jax.Array, seen: jax.Array, wanted: jax.Array, train: bool) -> Any:
    """A face of which a part is missing.

    Args:
        method: with the network.
        params: of the run.
        face: [b, h, w, c] in -1..1.
        seen: bool [b, h, w, 1], where it is visible.
        wanted: bool [b, h, w, 1], where there is to be a face.
        train: mode of the network.

    Returns:
        [b, h, w, c] in -1..1.
    """
    known = jnp.where(seen & wanted, face, 0)
    told = jnp.concatenate([known, wanted.astype(face.dtype), (seen & wanted).astype(face.dtype)], -1)
    return jnp.tanh(run(method, params, "inpainting", told, train))


def swapped(method: Method, params: Any, batch: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """The source's face in the other person's picture; of that, its landmarks are known and its regions are not.

    Returns:
        [b, h, w, c] in 0..1; where the picture was changed, bool [b, h, w, 1].
    """
    source, other = (2 * batch[name] - 1 for name in ("image", "image_other"))
    regions = run(method, params, "segmentation", source, False).argmax(-1)[..., None]
    moved, logits = reenacted(
        method, params, alone(source, regions), (batch["landmarks"], batch["angles"]),
        (batch["landmarks_other"], batch["angles_other"]), False,
    )  # fmt: skip
    place = run(method, params, "segmentation", other, False).argmax(-1)[..., None] == FACE
    whole = completed(method, params, moved, logits.argmax(-1)[..., None] == FACE, place, False)
    blended = poisson(whole, other, place, method.swap.iterations)
    return jnp.clip((blended + 1) / 2, 0, 1), place


def moved(method: Method, params: Any, batch: dict[str, jax.Array], train: bool) -> tuple[jax.Array, ...]:
    """The source as its other view, without surroundings, the logits of its regions, and what that view is."""
    source, target = (2 * batch[f"image{v}"] - 1 for v in ("", "_target"))
    poses = ((batch[f"landmarks{v}"], batch[f"angles{v}"]) for v in ("", "_target"))
    made = reenacted(method, params, alone(source, batch["regions_mask"]), *poses, train)
    return *made, alone(target, batch["regions_target_mask"])


def crossed(logits: jax.Array, regions: jax.Array) -> jax.Array:
    """The mean cross-entropy over the pixels of each image: logits [b, h, w, k], regions int [b, h, w, 1] -> [b]."""
    logs = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(logs, regions.astype(jnp.int32), -1).mean((1, 2, 3))


def inside(x: jax.Array, region: jax.Array) -> jax.Array:
    """Means over a region of each image, 0 where it is empty: x [b, h, w, c], region bool [b, h, w, 1] -> [b]."""
    return (x * region).sum((1, 2, 3)) / jnp.maximum(region.sum((1, 2, 3)) * x.shape[-1], 1)


def measured(method: Method, params: Any, batch: dict[str, jax.Array]) -> tuple[dict[str, jax.Array], jax.Array]:
    """What is known of each row beside its controls, {name: [b]}, and the swapped pictures [b, h, w, c]."""
    made = swapped(method, params, batch)[0]
    other, truth, face = batch["image_other"], batch["image_swapped"], batch["regions_other_mask"] == FACE
    pasted = poisson(batch["image"], other, face, method.swap.iterations)
    again, _, target = moved(method, params, batch, False)
    still, there = alone(2 * batch["image"] - 1, batch["regions_mask"]), batch["regions_target_mask"] > 0
    guesses = run(method, params, "segmentation", 2 * other - 1, False).argmax(-1)[..., None]
    values = {
        **{f"{n}_l1": inside(abs(x - truth), face) for n, x in
           (("swapped", made), ("unchanged", other), ("pasted", jnp.clip(pasted, 0, 1)))},
        "reenacted_l1": inside(abs(again - target), there) / 2,
        "still_l1": inside(abs(still - target), there) / 2,
        "regions": (guesses == batch["regions_other_mask"]).astype(other.dtype).mean((1, 2, 3)),
    }  # fmt: skip
    return values, made

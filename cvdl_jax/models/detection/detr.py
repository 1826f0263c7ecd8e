"""DETR: a Transformer reads the features of an image, and a fixed number of queries each say one object or none.

    tokens = encoder(conv1x1(features), positions),   h_i = decoder(query_i, tokens),   class_i, box_i = heads(h_i)

Every object has one query of its own, by the matching of least cost; the others are trained to say "no object", so
that no boxes have to be suppressed. Each block of the decoder is judged by the same heads.

Reference: Carion et al. 2020, "End-to-End Object Detection with Transformers".
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from cvdl_jax.config.binding import Counted, Layers, NotNegative, Positive, Share, Size, partially
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.criterion import Criterion, Sections, with_backbone
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.batch_norm import layer_norm
from cvdl_jax.nn.common import check_images, remat_block
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.necks import chosen_stages
from cvdl_jax.nn.transformer import Block, Given
from cvdl_jax.ops import boxes
from cvdl_jax.ops.matching import assign
from cvdl_jax.ops.positions import sinusoidal_grid
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Carion et al. 2020, section 4 and table 1: 41 M parameters, 91 classes and "no object"
    "detr_resnet50": {
        "input": (800, 1066, 3), "outputs": 92, "backbone": {"name": "resnet50"},
        # ResNet-50 without its head 23,508,032; 1x1 convolution 524,544; encoder 6 * (263,168 + 1,050,880 + 1,024);
        # decoder 6 * (2 * 263,168 + 1,050,880 + 1,536) + 512; 100 queries of 256; 257 * 92; 2 * 65,792 + 1,028. The
        # authors' 41,302,368 leave out what they freeze: scales and biases of norms, 53,120, and two stages, 222,400
        "params": 41_577_888,
    },
    "detr_small": {
        "input": (64, 64, 3), "outputs": 7, "width": 96, "heads": 4, "hidden": 384, "encoder": 2, "decoder": 3,
        "queries": 20, "stage": 1, "dropout": 0.0, "norm_first": True,
        "backbone": {"name": "resnet18", "widths": (32, 64), "depths": (2, 2)},
        # two stages of ResNet-18 without its head 173,600; 1x1 convolution 6,240; encoder 2 * (37,248 + 74,208 + 384)
        # + 192; decoder 3 * (2 * 37,248 + 74,208 + 576) + 192; 20 queries of 96; 97 * 7; 2 * 9,312 + 388
        "params": 873_355,
    },
    "detr_tiny": {
        "input": (16, 16, 3), "outputs": 4, "width": 8, "heads": 2, "hidden": 16, "encoder": 1, "decoder": 2,
        "queries": 5, "stage": 2, "backbone": {"name": "resnet8_tiny"},
        # ResNet-8 without its head 4,836; 136; encoder 288 + 280 + 32; decoder 2 * (576 + 280 + 48) + 16; 40; 36; 180
        "params": 7_652,
    },
}  # fmt: skip
XAVIER = nn.initializers.xavier_uniform()


class DETR(nn.Module):
    """A backbone, an encoder, a decoder of learned queries, and heads of classes and boxes.

    Attributes:
        outputs: scores of a query, "no object" first.
        backbone: made from `config.model.backbone`, the name of a variant or a section with its `name`.
        stage: index of the stage that the encoder reads.
        width: d, size of a token, even.
        heads: of attention, a divisor of d.
        hidden: units of the perceptrons.
        encoder: blocks that read the image.
        decoder: blocks of the queries.
        queries: the largest number of objects that can be said.
        dropout: rate in the blocks.
        norm_first: pre-norm in place of the paper's post-norm.
        attention_weights: return the weights of the decoder's attention to the image.
        remat: recompute blocks in the backward pass.
        dtype: of the products; scores and boxes are at least float32.
    """

    outputs: int
    backbone: nn.Module
    stage: Counted = 3
    width: Size = 256
    heads: Size = 8
    hidden: Size = 2048
    encoder: Counted = 6
    decoder: Layers = 6
    queries: Size = 100
    dropout: Share = 0.1
    norm_first: bool = False
    attention_weights: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Says the objects of images.

        Args:
            x: float [b, h, w, c].
            train: batch statistics used and updated, dropout on.

        Returns:
            logits [b, q, outputs]; {"boxes": centres and sizes in 0..1 [b, q, 4], "all_logits": of every block of the
            decoder [l, b, q, outputs], "all_boxes": [l, b, q, 4], "stages", "tokens": [b, h' w', d], "cross_attention":
            [b, heads, q, h' w'] of every block, if `attention_weights`}.

        Raises:
            ConfigError: for a stage that the backbone has not, or an odd width.
        """
        check_images(x, self, "detr")
        wide = at_least_float32(self.dtype)
        stages = self.backbone(x, train)[1].get("stages", ())
        if self.stage >= len(stages):
            raise ConfigError(f"config.model.stage={self.stage} is not one of the backbone's {len(stages)}, from 0 on")
        y = chosen_stages(stages, (self.stage,))[0].astype(self.dtype)
        y = Conv(self.width, (1, 1), dtype=self.dtype, param_dtype=wide, name="project")(y)
        (b, h, w, d) = y.shape
        places = sinusoidal_grid((h, w), d)[None]
        tokens = y.reshape(b, h * w, d)
        block = remat_block(Block, self.remat)
        fields = {
            "heads": self.heads, "hidden": self.hidden, "dropout": self.dropout, "attention_dropout": self.dropout,
            "attention_weights": self.attention_weights, "dtype": self.dtype, "norm_first": self.norm_first,
            "packed": False, "activation": "relu", "epsilon": 1e-5, "kernel_init": XAVIER,
        }  # fmt: skip
        for i in range(self.encoder):
            tokens, _ = block(**fields, name=f"encoder{i}")(tokens, train, Given(positions=places))
        if self.norm_first and self.encoder:
            tokens = layer_norm(self.dtype, "encoder_norm", 1e-5)(tokens)
        asked = self.param("queries", nn.initializers.normal(1.0), (1, self.queries, d), wide)
        given = Given(positions=asked, context=tokens, context_positions=places)
        y, states, crossed = jnp.zeros((b, self.queries, d), self.dtype), [], []
        last_norm = layer_norm(self.dtype, "decoder_norm", 1e-5)
        for i in range(self.decoder):
            y, out = block(**fields, cross=True, name=f"decoder{i}")(y, train, given)
            states.append(last_norm(y))
            crossed.append(out.get("cross_weights"))
        logits, predicted = self._heads(jnp.stack(states).astype(wide))
        out = {"boxes": predicted[-1], "all_logits": logits, "all_boxes": predicted, "stages": stages, "tokens": tokens}
        return logits[-1], out | ({"cross_attention": tuple(crossed)} if self.attention_weights else {})

    def _heads(self, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Scores and boxes of states [l, b, q, d]."""
        types = {"dtype": y.dtype, "param_dtype": y.dtype}
        logits = nn.Dense(self.outputs, **types, name="classes")(y)
        for i in range(2):
            y = nn.relu(nn.Dense(self.width, **types, name=f"box{i}")(y))
        return logits, nn.sigmoid(nn.Dense(4, **types, name="box2")(y))

    def criterion(self, sections: Sections) -> Criterion:
        """Cross-entropy of the queries, and the distance and the overlap of the boxes of those that have an object.

        `config.match` has the arguments of `match_costs`, `config.boxes` those of `box_weights`, `config.loss` is
        {"name": "cross_entropy"} and the arguments of `class_weights`. The class loss of an image is a mean over its
        queries, "no object" with its weight, times the number of objects; both losses are divided by the objects of
        the batch.

        Raises:
            ConfigError: for another loss, a section that does not fit its function, or more objects than queries.
        """
        loss = dict(sections["loss"])
        if loss.pop("name", None) != "cross_entropy":
            raise ConfigError("detr takes a softmax with 'no object'; set config.loss={'name': 'cross_entropy'}")
        costs = partially(match_costs, sections["match"], "config.match", "logits", "predicted", "truth")
        weigh = partially(box_weights, sections["boxes"], "config.boxes", "predicted", "true")
        no_object = partially(class_weights, loss, "config.loss", "labels")

        def of_block(logits: jax.Array, predicted: jax.Array, truth: dict) -> tuple[jax.Array, jax.Array]:
            """Class and box loss [b] of the answers of one block."""
            cost = jax.lax.stop_gradient(jax.vmap(costs)(logits, predicted, truth))  # [b, q, t]
            chosen = jax.vmap(assign)(cost, truth["mask"])  # [b, t]
            there = truth["mask"] > 0
            free = jnp.zeros(logits.shape[:2], jnp.int32)
            rows = jnp.arange(len(logits))[:, None]
            labels = free.at[rows, chosen].max(jnp.where(there, truth["labels"] + 1, 0))  # [b, q]
            weight = no_object(labels).astype(logits.dtype)
            entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            objects = jnp.maximum(there.sum(1), 1)
            class_loss = objects * (weight * entropy).sum(1) / weight.sum(1)
            far = weigh(jnp.take_along_axis(predicted, chosen[..., None], 1), truth["boxes"])
            return class_loss, jnp.where(there, far, 0).sum(1)

        def losses(logits: jax.Array, out: dict, truth: dict) -> tuple[dict[str, jax.Array], jax.Array]:
            if truth["mask"].shape[1] > self.queries:
                raise ConfigError(
                    f"config.model.queries={self.queries} are fewer than config.data.max_boxes="
                    f"{truth['mask'].shape[1]}: an object without a query would be lost; raise config.model.queries"
                )
            every = [of_block(*block, truth) for block in zip(out["all_logits"], out["all_boxes"], strict=True)]
            (class_loss, box_loss), earlier = every[-1], every[:-1]
            parts = {"class_loss": class_loss, "box_loss": box_loss}
            if earlier:
                parts["auxiliary_loss"] = sum(a + b for a, b in earlier)
            objects = jnp.maximum((truth["mask"] > 0).sum(1), 1) * 1.0
            return {"loss": sum(parts.values()), **parts}, objects

        def decode(logits: jax.Array, out: dict) -> tuple[jax.Array, jax.Array]:
            return boxes.from_centres(out["boxes"]), jax.nn.softmax(logits)[..., 1:]

        return Criterion(losses, decode)


def match_costs(
    logits: jax.Array,
    predicted: jax.Array,
    truth: dict[str, jax.Array],
    class_cost: NotNegative = 1.0,
    l1: NotNegative = 5.0,
    giou: NotNegative = 2.0,
) -> jax.Array:
    """What it costs that a query has an object: `- class_cost p(class) + l1 |b - b'|_1 - giou GIoU(b, b')`.

    Args:
        logits: [q, k + 1], "no object" first.
        predicted: centres and sizes [q, 4].
        truth: {"boxes": corners [t, 4], "labels": [t]}.
        class_cost: weight of the probability.
        l1: weight of the distance of centres and sizes.
        giou: weight of the overlap.

    Returns:
        [q, t].

    Reference: Carion et al. 2020, section 3.1 and appendix A.2.
    """
    probability = jax.nn.softmax(logits)[:, truth["labels"] + 1]  # [q, t]
    true = boxes.to_centres(truth["boxes"])
    far = jnp.abs(predicted[:, None] - true[None]).sum(-1)
    return -class_cost * probability + l1 * far - giou * boxes.giou(boxes.from_centres(predicted), truth["boxes"])


def box_weights(predicted: jax.Array, true: jax.Array, l1: NotNegative = 5.0, giou: NotNegative = 2.0) -> jax.Array:
    """The loss of a box, `l1 |b - b'|_1 + giou (1 - GIoU(b, b'))`.

    Args:
        predicted: centres and sizes [..., 4].
        true: corners [..., 4].
        l1: weight of the distance of centres and sizes.
        giou: weight of the overlap.

    Returns:
        [...].

    Reference: Carion et al. 2020, equation 2 and appendix A.2.
    """
    far = jnp.abs(predicted - boxes.to_centres(true)).sum(-1)
    return l1 * far + giou * (1 - boxes.of_pairs(boxes.giou, boxes.from_centres(predicted), true))


def class_weights(labels: jax.Array, no_object: Positive = 0.1) -> jax.Array:
    """The weight of each query in the class loss: 1 with an object, `no_object` without.

    Args:
        labels: int [...], 0 for none.
        no_object: the weight of the many queries that have none.

    Returns:
        [...].

    Reference: Carion et al. 2020, section 3.1: down by a factor of 10.
    """
    return jnp.where(labels > 0, 1.0, no_object)


def build(variant: str, outputs: int, dtype: Any = jnp.float32, remat: bool = False, **overrides: Any) -> DETR:
    """A variant of the table with overrides."""
    row = VARIANTS[variant]
    more = {"outputs": outputs, "dtype": dtype, "remat": remat}
    return from_row(DETR, row, with_backbone(row, overrides, dtype, remat), **more)

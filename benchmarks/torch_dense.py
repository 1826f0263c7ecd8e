"""A U-Net and a RetinaNet of `steps.py` in PyTorch, as its users write them: networks, losses and made-up batches."""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

CLASSES, OBJECTS, IMAGES = 6, 5, 256
SIZES = {"unet": (3, 64), "retinanet": (3, 128)}


class ConvNorm(nn.Sequential):
    """A convolution without bias, padded by half its kernel, batch normalisation, and ReLU where it is asked for."""

    def __init__(self, before: int, features: int, size: int = 3, stride: int = 1, relu: bool = True):
        layers = [nn.Conv2d(before, features, size, stride, size // 2, bias=False), nn.BatchNorm2d(features)]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class UNet(nn.Module):
    """Two convolutions a step, padded, with batch normalisation; transposed convolutions on the way up."""

    def __init__(self, classes: int = CLASSES + 1, widths: tuple[int, ...] = (16, 32, 64, 128, 256)):
        super().__init__()
        pairs = list(zip((3, *widths[:-1]), widths, strict=True))
        self.down = nn.ModuleList(nn.Sequential(ConvNorm(a, b), ConvNorm(b, b)) for a, b in pairs)
        self.doubled = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs[1:])
        self.up = nn.ModuleList(nn.Sequential(ConvNorm(b, a), ConvNorm(a, a)) for a, b in pairs[1:])
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        """Scores of the pixels of images [b, 3, h, w]."""
        stages = []
        for i, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if i else x)
            stages.append(x)
        for i in reversed(range(len(self.up))):
            x = self.up[i](torch.cat([stages[i], self.doubled[i](x)], 1))
        return self.head(x)


class Basic(nn.Module):
    """A basic block with the shortcut of option B."""

    def __init__(self, before: int, features: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(ConvNorm(before, features, 3, stride), ConvNorm(features, features, relu=False))
        same = before == features and stride == 1
        self.short = nn.Identity() if same else ConvNorm(before, features, 1, stride, relu=False)

    def forward(self, x):
        """Features of features."""
        return functional.relu(self.body(x) + self.short(x))


class RetinaNet(nn.Module):
    """A ResNet-18 of a quarter of its width, a pyramid of three levels and shared towers of two convolutions."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128), channels: int = 64, anchors: int = 9):
        super().__init__()
        self.stem = nn.Sequential(ConvNorm(3, widths[0], 7, 2), nn.MaxPool2d(3, 2, 1))
        stages = zip((widths[0], *widths[:-1]), widths, strict=True)
        self.stages = nn.ModuleList(
            nn.Sequential(Basic(a, b, 2 if i else 1), Basic(b, b, 1)) for i, (a, b) in enumerate(stages)
        )
        self.lateral = nn.ModuleList(ConvNorm(c, channels, 1, relu=False) for c in widths[1:])
        self.level = nn.ModuleList(ConvNorm(channels, channels, relu=False) for _ in widths[1:])
        tower = [nn.Sequential(ConvNorm(channels, channels), ConvNorm(channels, channels)) for _ in range(2)]
        self.classes, self.boxes = (
            t.append(nn.Conv2d(channels, anchors * n, 3, 1, 1)) for t, n in zip(tower, (CLASSES, 4), strict=True)
        )
        nn.init.constant_(self.classes[-1].bias, -math.log(99.0))

    def forward(self, x):
        """Scores [b, a, classes] and offsets [b, a, 4] of all anchors of images [b, 3, h, w]."""
        x, maps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        above, levels = None, []
        for i in reversed(range(len(self.level))):
            y = self.lateral[i](maps[i + 1])
            above = y if above is None else y + functional.interpolate(above, scale_factor=2.0)
            levels.insert(0, self.level[i](above))
        parts = []
        for head, n in ((self.classes, CLASSES), (self.boxes, 4)):
            parts.append(torch.cat([head(y).permute(0, 2, 3, 1).reshape(len(y), -1, n) for y in levels], 1))
        return parts


def anchors_of(size: int) -> torch.Tensor:
    """Anchors [a, 4] of three levels of strides 8, 16 and 32, [ymin, xmin, ymax, xmax] in 0..1."""
    boxes = []
    for stride in (8, 16, 32):
        n = size // stride
        at = (torch.arange(n) + 0.5) / n
        sides = [
            (2.5 * stride / size * 2 ** (o / 3) * math.sqrt(r), 2.5 * stride / size * 2 ** (o / 3) / math.sqrt(r))
            for o in range(3)
            for r in (0.5, 1.0, 2.0)
        ]
        centre = torch.stack(torch.meshgrid(at, at, indexing="ij"), -1).reshape(-1, 1, 2)
        half = torch.tensor(sides)[None] / 2
        boxes.append(torch.cat([centre - half, centre + half], -1).reshape(-1, 4))
    return torch.cat(boxes)


def segmentation_loss(logits, labels):
    """Cross-entropy plus the soft Dice loss of images."""
    p, y = logits.softmax(1), functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    dice = 1 - (2 * (p * y).sum((2, 3)) + 1) / ((p + y).sum((2, 3)) + 1)
    return functional.cross_entropy(logits, labels) + dice.mean()


def detection_loss(anchors: torch.Tensor) -> Callable:
    """The focal loss and smooth L1 of matched anchors, over the number of positive ones.

    An anchor is positive from an IoU of 0.5 on, or as the best one of a box, and negative below 0.4.
    """
    a_sides = anchors[:, 2:] - anchors[:, :2]
    a_centre, a_area = (anchors[:, :2] + anchors[:, 2:]) / 2, a_sides.prod(-1)

    def loss(outputs, boxes, labels, mask):
        logits, deltas = outputs
        low = torch.maximum(anchors[None, :, None, :2], boxes[:, None, :, :2])
        high = torch.minimum(anchors[None, :, None, 2:], boxes[:, None, :, 2:])
        shared = (high - low).clamp(min=0).prod(-1)  # [b, a, n]
        sides = boxes[..., 2:] - boxes[..., :2]
        iou = shared / (a_area[None, :, None] + sides.prod(-1)[:, None] - shared)
        iou = torch.where(mask[:, None], iou, -1.0)
        best = iou.argmax(1, keepdim=True)  # [b, 1, n]
        forced = torch.zeros_like(iou, dtype=torch.bool).scatter_(1, best, True) & (iou > 0)
        box = torch.where(forced.any(-1), torch.where(forced, iou, -1.0).argmax(-1), iou.argmax(-1))  # [b, a]
        overlap = iou.amax(-1)
        positive = forced.any(-1) | (overlap >= 0.5)
        counted = positive | (overlap < 0.4)
        target = functional.one_hot(labels.gather(1, box), CLASSES).to(logits.dtype) * positive[..., None]
        cross = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        p = logits.sigmoid()
        p_t = p * target + (1 - p) * (1 - target)
        alpha = 0.25 * target + 0.75 * (1 - target)
        classes = ((alpha * (1 - p_t) ** 2 * cross).sum(-1) * counted).sum()
        true = boxes.gather(1, box[..., None].expand(-1, -1, 4))
        t_sides = torch.where(positive[..., None], true[..., 2:] - true[..., :2], a_sides)
        offset = torch.cat([((true[..., :2] + true[..., 2:]) / 2 - a_centre) / a_sides, (t_sides / a_sides).log()], -1)
        far = functional.smooth_l1_loss(deltas, offset, beta=0.11, reduction="none").sum(-1)
        places = torch.where(positive, far, 0.0).sum()
        return (classes + places) / positive.sum(-1).clamp(min=1).sum()

    return loss


def problem_of(name: str, device: str) -> tuple[nn.Module, tuple[torch.Tensor, ...], Callable]:
    """A network, made-up targets of IMAGES images, and the loss `(outputs, *targets)`.

    Args:
        name: unet or retinanet.
        device: "cpu" or "cuda".
    """
    size = SIZES[name][1]
    if name == "unet":
        return UNet(), (torch.randint(0, CLASSES + 1, (IMAGES, size, size), device=device),), segmentation_loss
    low, sides = 0.6 * torch.rand(IMAGES, OBJECTS, 2), 0.15 + 0.25 * torch.rand(IMAGES, OBJECTS, 2)
    boxes, labels = torch.cat([low, low + sides], -1), torch.randint(0, CLASSES, (IMAGES, OBJECTS))
    mask = torch.arange(OBJECTS)[None] < torch.randint(1, OBJECTS + 1, (IMAGES, 1))
    targets = tuple(x.to(device) for x in (boxes, labels, mask))
    return RetinaNet(), targets, detection_loss(anchors_of(size).to(device))

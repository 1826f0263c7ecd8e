"""A DCGAN and the U-Net of a DDPM of `steps.py` in PyTorch, as its users write them: networks and training steps."""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

IMAGES, LATENT, TIMES = 1024, 64, 1000
DECAY = 0.999


class Generator(nn.Module):
    """Noise to images [b, 1, 28, 28] in -1..1 by transposed convolutions of stride 2."""

    def __init__(self, widths: tuple[int, int] = (64, 32)):
        super().__init__()
        self.widths = widths
        self.project = nn.Linear(LATENT, 49 * widths[0], bias=False)
        self.norm0, self.norm1 = nn.BatchNorm2d(widths[0]), nn.BatchNorm2d(widths[1])
        self.conv0 = nn.ConvTranspose2d(*widths, 4, 2, 1, bias=False)
        self.conv1 = nn.ConvTranspose2d(widths[1], 1, 4, 2, 1)

    def forward(self, z):
        """Images of noise [b, d]."""
        x = functional.relu(self.norm0(self.project(z).view(-1, self.widths[0], 7, 7)))
        return torch.tanh(self.conv1(functional.relu(self.norm1(self.conv0(x)))))


class Discriminator(nn.Module):
    """A logit for images [b, 1, 28, 28] by convolutions of stride 2."""

    def __init__(self, widths: tuple[int, int] = (32, 64)):
        super().__init__()
        self.conv0, self.conv1 = nn.Conv2d(1, widths[0], 4, 2, 1), nn.Conv2d(*widths, 4, 2, 1, bias=False)
        self.norm1, self.head = nn.BatchNorm2d(widths[1]), nn.Linear(49 * widths[1], 1)

    def forward(self, x):
        """Scores [b]."""
        x = functional.leaky_relu(self.conv0(x), 0.2)
        return self.head(functional.leaky_relu(self.norm1(self.conv1(x)), 0.2).flatten(1))[:, 0]


class Residual(nn.Module):
    """Two convolutions, each behind a group norm and SiLU, the time added in between; then attention, if asked for."""

    def __init__(self, before: int, width: int, attend: bool, time: int = 128, groups: int = 8):
        super().__init__()
        self.norm0, self.conv0 = nn.GroupNorm(groups, before, 1e-6), nn.Conv2d(before, width, 3, 1, 1)
        self.norm1, self.conv1 = nn.GroupNorm(groups, width, 1e-6), nn.Conv2d(width, width, 3, 1, 1)
        self.time = nn.Linear(time, width)
        self.short = nn.Conv2d(before, width, 1) if before != width else nn.Identity()
        self.attend = attend
        if attend:
            self.norm2 = nn.GroupNorm(groups, width, 1e-6)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x, time):
        """Maps [b, d, h, w] of maps and the time's vector."""
        y = self.conv0(functional.silu(self.norm0(x))) + self.time(time)[:, :, None, None]
        x = self.short(x) + self.conv1(functional.silu(self.norm1(y)))
        if not self.attend:
            return x
        y = self.norm2(x).flatten(2).transpose(1, 2)  # [b, h w, d]
        q, k, v = self.qkv(y).unsqueeze(1).chunk(3, -1)
        y = self.out(functional.scaled_dot_product_attention(q, k, v).squeeze(1))
        return x + y.transpose(1, 2).reshape(x.shape)


class UNet(nn.Module):
    """The U-Net of `ddpm_small`: 32 maps, 64 at a half and a quarter, attention at a quarter."""

    def __init__(self, width: int = 32, factors: tuple[int, ...] = (1, 2, 2)):
        super().__init__()
        widths, last = [width * factor for factor in factors], len(factors) - 1
        self.width = width
        self.time0, self.time1 = nn.Linear(width, 4 * width), nn.Linear(4 * width, 4 * width)
        self.first = nn.Conv2d(1, width, 3, 1, 1)
        self.down, self.halve, self.up, self.doubled = (nn.ModuleList() for _ in range(4))
        kept, before = [width], width
        for i, d in enumerate(widths):
            self.down.append(Residual(before, d, i == last))
            kept.append(d)
            before = d
            if i < last:
                self.halve.append(nn.Conv2d(d, d, 3, 2, 1))
                kept.append(d)
        self.middle0, self.middle1 = Residual(before, before, True), Residual(before, before, False)
        for i in range(last, -1, -1):
            for _ in range(2):
                self.up.append(Residual(before + kept.pop(), widths[i], i == last))
                before = widths[i]
            if i:
                self.doubled.append(nn.Conv2d(before, before, 3, 1, 1))
        self.norm, self.last = nn.GroupNorm(8, before, 1e-6), nn.Conv2d(before, 1, 3, 1, 1)

    def forward(self, x, t):
        """The noise in images [b, 1, h, w] at times int [b]."""
        half = self.width // 2
        rates = torch.exp(-math.log(10_000.0) / half * torch.arange(half, device=x.device))
        angles = t[:, None] * rates
        time = self.time1(functional.silu(self.time0(torch.cat([angles.sin(), angles.cos()], 1))))
        time, x = functional.silu(time), self.first(x)
        kept = [x]
        for i, block in enumerate(self.down):
            x = block(x, time)
            kept.append(x)
            if i < len(self.halve):
                x = self.halve[i](x)
                kept.append(x)
        x = self.middle1(self.middle0(x, time), time)
        for i, block in enumerate(self.up):
            x = block(torch.cat([x, kept.pop()], 1), time)
            if i % 2 and i // 2 < len(self.doubled):
                x = self.doubled[i // 2](functional.interpolate(x, scale_factor=2, mode="nearest"))
        return self.last(functional.silu(self.norm(x)))


def images_of(device: str, memory: torch.memory_format) -> torch.Tensor:
    """Made-up images in -1..1."""
    return (2 * torch.rand(IMAGES, 1, 28, 28, device=device) - 1).to(memory_format=memory)


def adam(model: nn.Module, device: str, rate: float, b1: float) -> torch.optim.Optimizer:
    """Adam that a graph can hold on a GPU."""
    return torch.optim.Adam(model.parameters(), rate, betas=(b1, 0.999), capturable=device == "cuda")


def gan_step(batch: int, device: str, memory: torch.memory_format, compiled: bool) -> tuple[Callable, Callable, int]:
    """(next batch, one update of both players, number of parameters), with the non-saturating loss."""
    players = [player.to(device, memory_format=memory).train() for player in (Discriminator(), Generator())]
    discriminate, generate = map(torch.compile, players) if compiled else players
    optimizers = [adam(player, device, 2e-4, 0.5) for player in players]
    images = images_of(device, memory)
    index = torch.zeros(batch, dtype=torch.int64, device=device)
    average = [p.detach().clone() for p in players[1].parameters()]
    cast = torch.autocast(device, torch.bfloat16, enabled=device == "cuda")

    def draw() -> None:
        index.copy_(torch.randint(0, IMAGES, (batch,), device=device))

    def step() -> None:
        with cast:
            with torch.no_grad():
                made = generate(torch.randn(batch, LATENT, device=device))
            losses = functional.softplus(-discriminate(images[index])) + functional.softplus(discriminate(made))
        optimizers[0].zero_grad(set_to_none=True)
        losses.mean().backward()
        optimizers[0].step()
        with cast:
            losses = functional.softplus(-discriminate(generate(torch.randn(batch, LATENT, device=device))))
        optimizers[1].zero_grad(set_to_none=True)
        losses.mean().backward()
        optimizers[1].step()
        torch._foreach_lerp_(average, [p.detach() for p in players[1].parameters()], 1 - DECAY)

    return draw, step, sum(p.numel() for player in players for p in player.parameters())


def diffusion_step(
    batch: int, device: str, memory: torch.memory_format, compiled: bool
) -> tuple[Callable, Callable, int]:
    """(next batch, one update of the U-Net, number of parameters), with the error of the noise."""
    model = UNet().to(device, memory_format=memory).train()
    forward = torch.compile(model) if compiled else model
    optimizer, images = adam(model, device, 5e-4, 0.9), images_of(device, memory)
    index = torch.zeros(batch, dtype=torch.int64, device=device)
    average = [p.detach().clone() for p in model.parameters()]
    cast = torch.autocast(device, torch.bfloat16, enabled=device == "cuda")
    kept = torch.cos(torch.linspace(0.01, 1.5, TIMES, device=device)) ** 2  # of the image, at each time

    def draw() -> None:
        index.copy_(torch.randint(0, IMAGES, (batch,), device=device))

    def step() -> None:
        x, t = images[index], torch.randint(0, TIMES, (batch,), device=device)
        noise, share = torch.randn_like(x), kept[t][:, None, None, None]
        with cast:
            loss = functional.mse_loss(forward(share.sqrt() * x + (1 - share).sqrt() * noise, t), noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        torch._foreach_lerp_(average, [p.detach() for p in model.parameters()], 1 - DECAY)

    return draw, step, sum(p.numel() for p in model.parameters())

"""The models of `steps.py` in PyTorch, as its users write them, with the same sizes, losses and optimizers."""

import torch
from torch import nn
from torch.nn import functional


class LeNet(nn.Module):
    """LeNet-5 with ReLU and max-pooling."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.conv0, self.conv1 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.dense0, self.dense1, self.head = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, classes)

    def forward(self, x):
        """Scores of images [b, 1, 32, 32]."""
        x = functional.max_pool2d(functional.relu(self.conv0(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.relu(self.dense1(functional.relu(self.dense0(x.flatten(1)))))
        return self.head(x)


class Block(nn.Module):
    """A basic block with the parameter-free shortcut."""

    def __init__(self, before: int, features: int, stride: int):
        super().__init__()
        self.stride, self.more = stride, features - before
        self.conv0 = nn.Conv2d(before, features, 3, stride, 1, bias=False)
        self.conv1 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.norm0, self.norm1 = nn.BatchNorm2d(features), nn.BatchNorm2d(features)

    def forward(self, x):
        """Features of features."""
        y = self.norm1(self.conv1(functional.relu(self.norm0(self.conv0(x)))))
        short = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return functional.relu(y + short)


class ResNet20(nn.Module):
    """The CIFAR form, option A."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        widths = [16] * 4 + [32] * 3 + [64] * 3
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.blocks = nn.Sequential(*[Block(a, b, 1 if a == b else 2) for a, b in pairs])
        self.head = nn.Linear(64, classes)

    def forward(self, x):
        """Scores of images [b, 3, 32, 32]."""
        return self.head(self.blocks(functional.relu(self.norm(self.stem(x)))).mean((2, 3)))


class ViT(nn.Module):
    """ViT-Ti with 4x4 patches."""

    def __init__(self, classes: int = 10, width: int = 192):
        super().__init__()
        self.embed = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 65, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, 3, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, 12, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        """Scores of images [b, 3, 32, 32]."""
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1) + self.position
        return self.head(self.blocks(tokens)[:, 0])


class CharLSTM(nn.Module):
    """Two LSTM layers of 256 units on one-hot symbols."""

    def __init__(self, symbols: int):
        super().__init__()
        self.symbols = symbols
        self.lstm = nn.LSTM(symbols, 256, 2, batch_first=True, dropout=0.2)
        self.head = nn.Linear(256, symbols)

    def forward(self, x, hidden):
        """Scores after each symbol of x [b, t], and the new state."""
        y, hidden = self.lstm(functional.one_hot(x, self.symbols).float(), hidden)
        return self.head(y), hidden


class CharGPT(nn.Module):
    """Four causal pre-norm blocks of 128 channels on 128 symbols; scores by the symbols' vectors."""

    def __init__(self, symbols: int, width: int = 128, length: int = 128):
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        self.position = nn.Parameter(torch.randn(1, length, width) * 0.02)
        self.blocks = nn.ModuleList(CausalBlock(width, 4) for _ in range(4))
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        """Scores after each symbol of x [b, t]."""
        y = self.embed(x) + self.position[:, : x.shape[1]]
        for block in self.blocks:
            y = block(y)
        return functional.linear(self.norm(y), self.embed.weight)


class CausalBlock(nn.Module):
    """Attention to what came before, by PyTorch's fused function, and a perceptron."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm0, self.norm1 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))

    def forward(self, x):
        """Tokens [b, t, d]."""
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm0(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, d))
        return x + self.mlp(self.norm1(x))

"""Pairs of parameters' paths, ours and PyTorch's, that several families' `torch_names` are made of.

A name map is {our path: (PyTorch's name, transform)}; `pretrained.py` has the transforms.
"""

NameMap = dict[str, tuple[str, str]]


def norm_names(ours: str, theirs: str) -> NameMap:
    """The parameters and statistics of a batch normalisation."""
    pairs = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    return {f"{ours}/{our}": (f"{theirs}.{their}", "") for our, their in pairs.items()}


def conv_names(ours: str, theirs: str, bias: bool = True) -> NameMap:
    """The parameters of a convolution."""
    names = {f"{ours}/kernel": (f"{theirs}.weight", "conv")}
    return names | ({f"{ours}/bias": (f"{theirs}.bias", "")} if bias else {})


def dense_names(ours: str, theirs: str) -> NameMap:
    """The parameters of a dense layer."""
    return {f"{ours}/kernel": (f"{theirs}.weight", "dense"), f"{ours}/bias": (f"{theirs}.bias", "")}

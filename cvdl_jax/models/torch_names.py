"""Pairs of parameters' paths, ours and PyTorch's, that several families' `torch_names` are made of.

A name map is {our path: (PyTorch's name, transform)}; `pretrained.py` has the transforms.
"""

NameMap = dict[str, tuple[str, str]]


def norm_names(ours: str, theirs: str) -> NameMap:
    """The parameters and statistics of a batch normalisation."""
    pairs = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    return {f"{ours}/{our}": (f"{theirs}.{their}", "") for our, their in pairs.items()}


def pair_names(ours: str, theirs: str, transform: str = "dense", entry: str = "kernel") -> NameMap:
    """A layer with an array and a bias: the kernel of a dense layer or convolution, the scale of a layer norm."""
    return {f"{ours}/{entry}": (f"{theirs}.weight", transform), f"{ours}/bias": (f"{theirs}.bias", "")}


def conv_names(ours: str, theirs: str, bias: bool = True) -> NameMap:
    """The parameters of a convolution."""
    names = pair_names(ours, theirs, "conv")
    return names if bias else {f"{ours}/kernel": names[f"{ours}/kernel"]}


def dense_names(ours: str, theirs: str) -> NameMap:
    """The parameters of a dense layer."""
    return pair_names(ours, theirs)

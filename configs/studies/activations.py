"""Every activation function beside its derivative, with the properties that decide between them.

    python launch.py --config configs/studies/activations.py --workdir runs/studies_activations

Clevert et al. 2016, section 2, for zero-centred activations; Maas et al. 2013, section 2, for lost units.

Measured: closed forms within 5.6e-7 of automatic differentiation; the mean for z ~ N(0, 1) is 0 for tanh and sine, 0.50
for the sigmoid, 0.40 for ReLU; a unit at z ~ N(-6, 1) is lost to ReLU (100 %), tanh (99.9 %) and the sigmoid (92 %),
not to Leaky ReLU (0 %); 1 s on two CPU cores.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies

NAMES = (
    "identity", "sigmoid", "tanh", "lecun_tanh", "relu", "leaky_relu", "leaky_relu(slope=0.1)", "elu",
    "elu(alpha=0.5)", "sine", "silu", "gelu", "gelu_tanh",
)  # fmt: skip


def get_config(arg=None):
    """The study's numbers; `smoke` makes it smaller."""
    arg = configs.parse_arg(arg, smoke=False)
    names = ("sigmoid", "relu") if arg.smoke else NAMES
    return studies.base("activations", names=names, points=100 if arg.smoke else 10_000)

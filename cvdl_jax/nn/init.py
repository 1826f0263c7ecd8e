"""Initialisers that several families share."""

import flax.linen as nn

# std = sqrt(2 / fan_in), before a ReLU. He et al. 2015, "Delving Deep into Rectifiers", equation 10
HE_NORMAL = nn.initializers.variance_scaling(2.0, "fan_in", "normal")

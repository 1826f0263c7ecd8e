"""Depth from one image: a small U-Net that says how many metres away every pixel is, on drawn scenes of 64x64.

    python launch.py --config configs/regimes/depth.py --workdir runs/depth
    python launch.py --config configs/regimes/depth.py:loss=l2 --workdir runs/depth_l2
    python launch.py --config configs/regimes/depth.py:loss=l1 --workdir runs/depth_l1

Eigen et al. 2014, "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network": the logarithm of the
depth is learned with the scale-invariant loss (lambda 0.5), or with the plain squared or absolute error; the network is
the one encoder-decoder of `configs/segment/unet.py` instead of their two scales. The scenes (`depth_scenes`) are 1,000
to train on, 200 to select on and 400 to test on; the sky, of unknown depth, is left out of the loss and the measures.

Measured on the test split with seed 0, on one CPU core that other programs shared:

    loss             abs_rel               rmse (m)           delta < 1.25         wall time
    scale_invariant  0.078 [0.075, 0.082]  1.03 [0.99, 1.07]  93.7 % [93.0, 94.3]  10 min
    l2               0.082 [0.078, 0.086]  1.07 [1.03, 1.11]  93.2 % [92.4, 93.9]  14 min
    l1               0.066 [0.062, 0.070]  1.03 [0.98, 1.08]  94.0 % [93.3, 94.7]  23 min
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `loss` is scale_invariant, l2 or l1; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, loss=configs.OneOf(("scale_invariant", "l2", "l1")), smoke=False)
    config = configs.base(depth_unit=0.001)
    config.experiment = "depth"
    name = "depth_scenes(size=32, train=32, validation=16, test=16)" if arg.smoke else "depth_scenes"
    config.data = {"name": name, "train": "train", "validation": "validation", "test": "test"}
    config.data.features = ("image", "depth")
    config.normalise = {"mean": (0.456, 0.475, 0.52), "std": (0.178, 0.2, 0.248)}
    config.model = {"name": "unet", "widths": (16, 32, 64, 128), "padding": "same", "norm": "batch"}
    config.loss = {"name": arg.loss}
    config.augment = "flip | brightness(amount=0.2) | contrast(amount=0.2)"
    config.select = {"metric": "validation/abs_rel", "mode": "min"}
    config.total_epochs, config.batch_size = 30, 32
    config.optim = {"name": "adamw", "lr": 2e-3, "weight_decay": 1e-4}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5}
    config.ema = {"decay": 0.99, "warmup": True}
    config.eval = {"every_percent": 10}
    if arg.smoke:
        config.model.widths = (4, 8)
    return configs.smoke(config) if arg.smoke else config

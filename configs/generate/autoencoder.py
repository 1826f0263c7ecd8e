"""Autoencoders of digits or drawn scenes: dense, convolutional, denoising, sparse, quantised, with dropout on the code.

    python launch.py --config configs/generate/autoencoder.py --workdir runs/mnist_autoencoder
    python launch.py --config configs/generate/autoencoder.py:data=digits --workdir runs/digits_autoencoder
    python launch.py --config configs/generate/autoencoder.py:data=captioned_scenes --workdir runs/scenes_autoencoder
    python launch.py --config configs/generate/autoencoder.py:form=dense --workdir runs/mnist_dense_autoencoder
    python launch.py --config configs/generate/autoencoder.py:form=denoising --workdir runs/mnist_denoising
    python launch.py --config configs/generate/autoencoder.py:form=sparse --workdir runs/mnist_sparse
    python launch.py --config configs/generate/autoencoder.py:form=dropout --workdir runs/mnist_dropout_features
    python launch.py --config configs/generate/autoencoder.py:form=quantised --workdir runs/mnist_vq_vae

Hinton and Salakhutdinov 2006 (dense, 784-1000-500-250-30); Vincent et al. 2008, "Extracting and Composing Robust
Features with Denoising Autoencoders" (a fifth of the pixels hidden by squares, and noise); Ng 2011 (sparse: 256
sigmoid units, each on for 5 % of the images); Srivastava et al. 2014, figure 7 (dropout: 256 ReLU units, half of them
dropped); van den Oord et al. 2017 (quantised: 7x7 words of 64; of scenes 16x16 words of 256, with 4 numbers each, whose
codes configs/generate/text_to_image.py denoises).

Measured on the test split with seed 0, mean squared error of a pixel, on one CPU core that other programs shared:

    form           squared_error     wall time
    convolutional  0.0044            19 min
    dense          not measured yet
    denoising      0.0142            18 min
    sparse         not measured yet
    dropout        not measured yet
    quantised      not measured yet

    data              squared_error     wall time, convolutional
    mnist             0.0044            19 min
    digits            0.0094            67 s
    captioned_scenes  not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs

FORMS = {
    "convolutional": {"name": "autoencoder_conv_28"},
    "dense": {"name": "autoencoder_784_30"},
    "denoising": {"name": "autoencoder_conv_28"},
    "sparse": {"name": "autoencoder_256", "code": "sigmoid"},
    "dropout": {"name": "autoencoder_256", "dropout": 0.5},
    "quantised": {"name": "vq_vae_28"},
}
SETS = ("mnist", "digits", "captioned_scenes")


def get_config(arg=None):
    """The run's numbers; `form` of FORMS; `data` of SETS; `smoke` makes it two steps at tiny size."""
    forms, sets = configs.OneOf(FORMS), configs.OneOf(SETS)
    arg = configs.parse_arg(arg, form=forms, data=sets, smoke=False)
    config = configs.base(latent={}, corruption="", bound_samples=0, judge={})
    scenes = arg.data == "captioned_scenes"
    datasets.images(config, "digits" if scenes else arg.data, arg.smoke, 8 if arg.smoke else 28)
    if scenes and not arg.smoke:
        config.data = {"name": "captioned_scenes(train=20000)", "train": "train", "validation": "validation"}
        config.data.update({"test": "test", "features": ("image", "label")})
    config.experiment, config.normalise = "autoencode", {}
    config.total_epochs, config.batch_size = 20, 128
    config.model = FORMS[arg.form]
    config.loss = {"name": "squared" if scenes else "bernoulli"}
    if scenes and arg.form == "quantised":
        config.model.update({"words": 256, "size": 4, "blocks": 2})
    if arg.form == "denoising":
        config.corruption = "cutout(size=14) | gaussian_noise(std=0.2)"
    if arg.form == "sparse":
        config.latent = {"name": "sparse", "weight": 1.0, "share": 0.05}
    if arg.form == "quantised":
        config.latent = {"name": "quantised", "commitment": 0.25}
    config.optim = {"name": "adam", "lr": 1e-3, "schedule": {"name": "cosine", "warmup_percent": 2}}
    config.eval = {"every_percent": 20}
    config.select = {"metric": "validation/squared_error", "mode": "min"}
    if arg.smoke:
        small = {"channels": (4, 8), "words": 6} if arg.form == "quantised" else {"latent": 4, "hidden": ()}
        config.model.update(small | ({"channels": (4, 8)} if "conv" in config.model.name else {}))
        if config.corruption:
            config.corruption = "cutout(size=4) | gaussian_noise(std=0.2)"
    return configs.smoke(config) if arg.smoke else config

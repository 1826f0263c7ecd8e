"""What a classifier gains from features that were learned without labels: codes, critics, inpainters and their like.

    python launch.py --config configs/studies/downstream.py --workdir runs/studies_downstream
    python launch.py --config configs/studies/downstream.py:data=mnist --workdir runs/studies_downstream_mnist
    python launch.py --config configs/studies/downstream.py:runs=trained --workdir runs/studies_downstream_runs

The first two are the control, pixels. The third reads the runs that these commands leave (others are named by
`--config.study.runs.NAME=WORKDIR`):

    python launch.py --config configs/generate/autoencoder.py --workdir runs/mnist_autoencoder
    python launch.py --config configs/generate/autoencoder.py:form=denoising --workdir runs/mnist_denoising
    python launch.py --config configs/generate/dcgan.py:data=mnist --workdir runs/mnist_dcgan

Vincent et al. 2008, "Extracting and Composing Robust Features with Denoising Autoencoders"; Radford et al. 2016,
section 4.1 (the discriminator's maps); Pathak et al. 2016, "Context Encoders" (inpainting, of runs of
configs/generate/inpainting.py; the denoising autoencoder fills holes, too). Every run is compared with its network at
its first weights, and with the pixels that it saw.

Measured on the test split with seed 0:

    runs     features          linear_accuracy          knn_accuracy             wall time
    none     pixels of digits  94.43 % [91.55, 96.37]   97.49 % [95.30, 98.68]   19 s
    trained  autoencoder       87.37 % [86.70, 88.01]   95.06 % [94.62, 95.47]   87 s
             denoising         88.11 % [87.46, 88.73]   96.05 % [95.65, 96.41]
             dcgan             96.40 % [96.02, 96.75]   93.95 % [93.47, 94.40]
             pixels            85.56 % [84.86, 86.24]   95.34 % [94.91, 95.74]
             at first weights  72.46 % (autoencoders),  86.95 %,
                               95.70 % (the critic)     92.02 %

    data     linear_accuracy of pixels  knn_accuracy of pixels
    digits   94.43 % [91.55, 96.37]     97.49 % [95.30, 98.68]
    mnist    85.64 % [84.94, 86.31]     95.54 % [95.12, 95.93]
"""

from configs import datasets
from cvdl_jax.config import configs

RUNS = {name: f"runs/mnist_{name}" for name in ("autoencoder", "denoising", "dcgan")}


def get_config(arg=None):
    """The run's numbers; `runs` is none or trained; `data` is digits or mnist, for pixels; `smoke` makes it small."""
    words = {"runs": configs.OneOf(("none", "trained")), "data": configs.OneOf(("digits", "mnist"))}
    arg = configs.parse_arg(arg, **words, smoke=False)
    config = configs.base(study={})
    datasets.images(config, arg.data, arg.smoke)
    section = {key: config.data[key] for key in ("name", "train", "validation", "test")}
    config.data, config.normalise, config.select = {}, {}, {"metric": "", "mode": "max"}
    given = {"runs": RUNS} if arg.runs == "trained" and not arg.smoke else {"data": section}
    config.study = {**given, "limit": 100 if arg.smoke else 10_000}
    config.experiment = "studies.downstream"
    config = configs.smoke(config) if arg.smoke else config
    config.total_steps, config.batch_size, config.eval = 0, 16, {"every_steps": 1}
    return config

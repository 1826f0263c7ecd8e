"""Every top-level key of a config and its default. The comments say what each one means and in which unit."""

from typing import Any

DEFAULTS: dict[str, Any] = {
    "experiment": "classify",  # a file of experiments/, or the path of one
    "seed": 0,  # of the weights, the order of the data and every draw
    "total_epochs": None,  # exactly one of these three; fractions of an epoch are allowed
    "total_steps": None,  # 0 for an analysis of a restored checkpoint
    "total_examples": None,  # seen in training, each as often as it is
    "batch_size": 128,  # global: over all devices and hosts
    "eval_batch_size": 0,  # 0: as batch_size
    "model": {},  # name and its keyword arguments
    "loss": {},  # name and its keyword arguments
    "data": {},  # name, data_dir, train, validation, test, ...; empty: a task without data
    "normalise": {},  # mean and std per channel, for images in 0..1; or fit, such as "standardise"
    "class_weights": None,  # "balanced", or one number for each class: weights of the training loss
    "auxiliary_weight": None,  # such as 0.3: of the losses of a model's auxiliary classifiers (model.auxiliary=True)
    "augment": "",  # "flip | padded_crop(padding=4)"
    "adversary": {},  # epsilon, step_size, steps, share, ramp_percent: train on adversarial examples
    "robust": {},  # epsilon, step_size, steps: evaluations measure the accuracy on such examples too
    "grad": "plain",  # "accumulate(4)", "sam(0.05)", "sam(0.05) | accumulate(2)"
    "optim": {},  # name, lr, schedule, weight_decay, ...
    "ema": {},  # decay, warmup; statistics=False: evaluate them by the batch statistics of the present weights
    "eval": {"every_epochs": 1},  # every_steps, every_epochs, every_percent or every_examples
    "log": {"every_steps": 50, "tensorboard": True, "wandb": ""},  # wandb: the name of a project, "" for off
    "checkpoint": {"keep": 2},  # and every_* to save more often than evaluations do
    "select": {"metric": "", "mode": "max"},  # the metric of the best checkpoint; "" for the newest
    "plateau": {},  # metric, factor, patience, ...: the learning rate falls when the metric stalls
    "early_stopping": {},  # metric, patience, ...
    "diagnostics": {},  # activations=True: drift, saturation and dead units; gradients=True: norms of every layer
    "subgroups": {},  # entries=("identity",): groups of examples that the report compares; positive: a class
    "test_time": {},  # views="identity | flip", average: evaluate the mean prediction of several views of an image
    "batch_stats": "running",  # of batch normalisation in evaluations: or "exact", of the training split, or "batch"
    "compute_dtype": "float32",  # or "bfloat16"; parameters stay float32
    "remat": False,  # recompute activations in the backward pass
    "init_from": "",  # a workdir, a checkpoint, or a file of weights (.safetensors, .npz), to take parameters from
    "init": {},  # include, exclude, rename, least: which of its parameters, under which names
    "parallel": {"mode": "jit", "fsdp": 1},  # how a step is spread over devices
    "steps_per_call": "auto",  # or a number of steps per compiled call
}
# Added after digests were published: left out of a digest while at their default, which of other keys is {}.
LATER = ("diagnostics", "class_weights", "batch_stats", "test_time", "auxiliary_weight", "init", "growth", "ada",
         "robust", "subgroups")  # fmt: skip

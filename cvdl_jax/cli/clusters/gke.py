"""Google Kubernetes Engine: one JobSet per run, given to `kubectl apply -f -`.

A pod that leaves with 75 has saved, and one that was ended before it could answer (143) has nothing to save: it is
started again and not counted. What Python ends itself would come again, a mistake (2) or a loss that is not finite and
other errors (1): it ends the JobSet at once. Anything else, such as a lost host, restarts it `max_restarts` times. The
name holds a digest of the command, so that a run that is submitted again is not run twice. Pods of a run of several
hosts are told who they are by `--coordinator` and the completion index of their Job.

Reference: JobSet API v1alpha2, https://jobset.sigs.k8s.io; pod failure policy,
https://kubernetes.io/docs/tasks/job/pod-failure-policy.
"""

import hashlib
import json
import math
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from cvdl_jax.cli.clusters.jobs import Job, Work
from cvdl_jax.cli.clusters.shell import checked
from cvdl_jax.cli.clusters.step import Step
from cvdl_jax.errors import ConfigError

REQUIRED = {"image": "us-docker.pkg.dev/PROJECT/REPOSITORY/cvdl_jax:TAG", "claim": "cvdl-runs"}
CONTAINER, JOB = "train", "run"
PORT = 8482
NAME = 40  # most characters of a JobSet's name: those of its pods may have 63


class Options(NamedTuple):
    """Where the pods run, and with what.

    Attributes:
        context: of kubectl (`kubectl config get-contexts`), which names the cluster; empty for the present one.
        image: with the repository and what requirements.txt lists.
        directory: of the repository in the image.
        claim: a PersistentVolumeClaim for the runs, ReadWriteMany for several hosts.
        mount: where it is mounted; relative workdirs are put into it.
        accelerator: TPU type of the nodes, such as tpu-v5-lite-podslice (cloud.google.com/gke-tpu-accelerator).
        topology: of the TPU slice, such as 4x4.
        chips: TPU chips of a host.
        gpu: type of the nodes, such as nvidia-l4 (cloud.google.com/gke-accelerator).
        gpus: GPUs of a host.
        hosts: pods of a run; 0 for 1, or for as many as the topology has.
        spot: use spot nodes.
        queue: of Kueue.
        max_restarts: of a run that was killed, or lost a host.
        grace_seconds: between SIGTERM and SIGKILL: the time for saving.
        keep_seconds: after which a finished JobSet is deleted.
        setup: shell lines before the run.
        env: environment variables.
    """

    context: str = ""
    namespace: str = "default"
    image: str = ""
    directory: str = "/cvdl_jax"
    python: str = "python"
    claim: str = ""
    mount: str = "/volume"
    accelerator: str = ""
    topology: str = ""
    chips: int = 0
    gpu: str = ""
    gpus: int = 0
    hosts: int = 0
    cpu: str = ""
    memory: str = ""
    spot: bool = False
    queue: str = ""
    service_account: str = ""
    max_restarts: int = 5
    grace_seconds: int = 120
    keep_seconds: int = 86400
    setup: tuple[str, ...] = ()
    env: dict = {}


def steps(work: Work, options: Options) -> list[Step]:
    """The one `kubectl apply`, with the manifests on standard input."""
    count = hosts(options)
    text = _yaml([manifest(job, options, count) for job in work.jobs])
    context = (f"--context={options.context}",) if options.context else ()
    return [Step(("kubectl", *context, "apply", "-f", "-"), text)]


def prepare(work: Work, options: Options) -> None:
    """GKE needs nothing prepared before the JobSets are submitted."""


def remarks(work: Work, options: Options) -> list[str]:
    """What people should know before it is submitted."""
    return [f"the pods run the code that is in {options.image}, not what lies here"]


def submitted(work: Work, options: Options, outputs: list[str]) -> list[str]:
    """What kubectl said, and how to follow and end the runs."""
    where = f"{f'--context={options.context} ' if options.context else ''}-n {options.namespace}"
    names = [name_of(job) for job in work.jobs]
    first = names[0] if len(names) == 1 else "NAME"
    return [
        *outputs[-1].splitlines(),
        f"kubectl {where} logs -f -l jobset.sigs.k8s.io/jobset-name={first} shows its output",
        f"kubectl {where} delete jobset {first} ends it; it has {options.grace_seconds} s to save",
    ]


def name_of(job: Job) -> str:
    """A JobSet's name: from the run's, and a digest of the command."""
    digest = hashlib.sha256(json.dumps(job.words()).encode()).hexdigest()[:8]
    words = re.sub(r"[^a-z0-9]+", "-", job.name.lower()).strip("-")
    return f"{('run-' + words if not words[:1].isalpha() else words)[: NAME - 9].strip('-')}-{digest}"


def hosts(options: Options) -> int:
    """Number of pods that one run needs.

    Raises:
        ConfigError: if the settings of the TPU slice or the GPUs do not fit together.
    """
    if options.accelerator and options.gpu:
        raise ConfigError("gke: accelerator is for TPUs, gpu for GPUs; keep one of them")
    if bool(options.gpu) != bool(options.gpus):
        raise ConfigError('gke: gpu and gpus belong together, as in gpu = "nvidia-l4" and gpus = 1')
    if not options.accelerator:
        return max(options.hosts, 1)
    if not re.fullmatch(r"\d+(x\d+)*", options.topology) or options.chips < 1:
        raise ConfigError(
            f"gke: accelerator={options.accelerator!r} needs topology and chips (those of one host), as in "
            f'topology = "4x4" and chips = 4; got topology={options.topology!r}, chips={options.chips}'
        )
    chips = math.prod(int(side) for side in options.topology.split("x"))
    count = options.hosts or -(-chips // options.chips)
    if count * options.chips != chips:
        raise ConfigError(
            f"gke: topology {options.topology} has {chips} chips, but hosts={count} with chips={options.chips} have "
            f"{count * options.chips}"
        )
    return count


def manifest(job: Job, options: Options, count: int) -> dict[str, Any]:
    """The JobSet of a run.

    Args:
        job: the run.
        options: of the site.
        count: of its hosts.
    """
    name = name_of(job)
    labels = {"app": "cvdl-jax"} | ({"kueue.x-k8s.io/queue-name": options.queue} if options.queue else {})
    exclusive = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"} if count > 1 else {}
    rules = [
        {"action": "Ignore", "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [75, 143]}},
        {"action": "FailJob", "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [1, 2]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
    template = {
        "spec": {
            "parallelism": count,
            "completions": count,
            "completionMode": "Indexed",
            "backoffLimit": 0,
            "podFailurePolicy": {"rules": rules},
            "template": {"metadata": {"labels": {"app": "cvdl-jax"}}, "spec": _pod(job, options, count, name)},
        }
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": name,
            "namespace": options.namespace,
            "labels": labels,
            "annotations": {**exclusive, "cvdl-jax/command": shlex.join(["python", "launch.py", *job.words()])},
        },
        "spec": {
            "ttlSecondsAfterFinished": options.keep_seconds,
            "failurePolicy": {
                "maxRestarts": options.max_restarts,
                "rules": [{"action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}],
            },
            "replicatedJobs": [{"name": JOB, "replicas": 1, "template": template}],
        },
    }


def _pod(job: Job, options: Options, count: int, name: str) -> dict[str, Any]:
    nodes = {
        "cloud.google.com/gke-tpu-accelerator": options.accelerator,
        "cloud.google.com/gke-tpu-topology": options.topology,
        "cloud.google.com/gke-accelerator": options.gpu,
        "cloud.google.com/gke-spot": "true" if options.spot else "",
    }
    limits = {
        "google.com/tpu": options.chips if options.accelerator else 0,
        "nvidia.com/gpu": options.gpus,
        "cpu": options.cpu,
        "memory": options.memory,
    }
    env = [{"name": key, "value": _escaped(str(value))} for key, value in checked(options.env).items()]
    container = {
        "name": CONTAINER,
        "image": options.image,
        "workingDir": options.directory,
        "command": ["/bin/sh", "-c", _escaped(_command(job, options, count, name))],
        **({"env": env} if env else {}),
        "resources": {"limits": {key: value for key, value in limits.items() if value}},
        "volumeMounts": [{"name": "runs", "mountPath": options.mount}, {"name": "memory", "mountPath": "/dev/shm"}],
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": options.grace_seconds,
        **({"serviceAccountName": options.service_account} if options.service_account else {}),
        **({"nodeSelector": chosen} if (chosen := {key: value for key, value in nodes.items() if value}) else {}),
        "containers": [container],
        "volumes": [
            {"name": "runs", "persistentVolumeClaim": {"claimName": options.claim}},
            {"name": "memory", "emptyDir": {"medium": "Memory"}},  # /dev/shm of a container is 64 MiB
        ],
    }


def _command(job: Job, options: Options, count: int, name: str) -> str:
    """Shell lines of a pod; `exec`, so that SIGTERM reaches the run."""
    words = job.words(options.mount)
    if job.workdir is not None and not Path(words[-1]).is_relative_to(options.mount):
        raise ConfigError(
            f"gke: --workdir {job.workdir} is not on the volume {options.claim}, which is mounted at {options.mount}; "
            "name a relative folder, or one below it"
        )
    run = f"exec {shlex.join([options.python, 'launch.py', *words])}"
    if count > 1:
        first = f"{name}-{JOB}-0-0.{name}"  # a pod of a JobSet is called so in its headless service
        run += f' --coordinator={first}:{PORT} --num_processes={count} --process_id="$JOB_COMPLETION_INDEX"'
        return "\n".join([*options.setup, run])
    return "\n".join(
        ["unset JOB_COMPLETION_INDEX  # which would say that there are several processes", *options.setup, run]
    )


def _escaped(text: str) -> str:
    """Text that Kubernetes would otherwise search for $(NAME)."""
    return text.replace("$", "$$")


def _yaml(manifests: list[dict[str, Any]]) -> str:
    """The manifests as one file; no line is folded, texts of several lines are shown as such."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: Dumper, value: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    return yaml.dump_all(manifests, Dumper=Dumper, sort_keys=False, width=math.inf, allow_unicode=True)

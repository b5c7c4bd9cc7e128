"""The cluster in which this process trains, read from the environment before TensorFlow starts.

`TF_CONFIG` is TensorFlow's own variable. Slurm sets other variables for each task of a step, from
which an equivalent `TF_CONFIG` is made.
"""

import dataclasses
import itertools
import json
import re
from collections.abc import Mapping

from conf.schema import Strategy
from errors import UserError

FIRST_PORT = 12_000  # of Slurm's tasks; the job's number is added, as jobs may share a node
PORTS = 20_000


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of a run.

    Attributes:
        addresses: "HOST:PORT" of each worker, the chief first.
        index: which of them this process is.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def tf_config(self) -> str:
        """The value of `TF_CONFIG`, from which `tf.distribute` learns the cluster."""
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})


def cluster_of(strategy: Strategy, environment: Mapping[str, str]) -> Cluster | None:
    """Returns the cluster of this process, or None if it trains alone.

    Args:
        strategy: `auto` uses a cluster if there is one, `multi_worker` requires one; the others use
            none.
        environment: the environment variables of the process.

    Raises:
        UserError: there is no cluster, but one is required; or its description is not valid.
    """
    if strategy not in (Strategy.auto, Strategy.multi_worker):
        return None
    cluster = None
    if "TF_CONFIG" in environment:
        cluster = _from_tf_config(environment["TF_CONFIG"])
    elif int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        cluster = _from_slurm(environment)
    if cluster is not None and len(cluster.addresses) > 1:
        return cluster
    if strategy is Strategy.multi_worker:
        raise UserError(
            "trainer.strategy=multi_worker: neither TF_CONFIG nor Slurm describes several "
            "workers; see docs/distributed.md, or set trainer.strategy=auto"
        )
    return None


def _from_tf_config(text: str) -> Cluster:
    try:
        config = json.loads(text)
        jobs, task = config["cluster"], config["task"]
        chiefs = jobs.get("chief", [])
        index = int(task["index"]) + (len(chiefs) if task["type"] == "worker" else 0)
        cluster = Cluster((*chiefs, *jobs.get("worker", [])), index)
        cluster.addresses[index]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(
            'TF_CONFIG: must be {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": '
            f'"worker", "index": NUMBER}}}} ({type(error).__name__}: {error}); correct it, or '
            "unset it to train in one process"
        ) from error
    return cluster


def _from_slurm(environment: Mapping[str, str]) -> Cluster:
    """Reads the variables of a Slurm step whose tasks are numbered node by node, the default."""
    hosts = expand_hosts(environment["SLURM_STEP_NODELIST"])
    counts = re.findall(r"(\d+)(?:\(x(\d+)\))?", environment["SLURM_STEP_TASKS_PER_NODE"])
    tasks = [int(number) for number, times in counts for _ in range(int(times or 1))]
    port = FIRST_PORT + int(environment["SLURM_JOB_ID"]) % PORTS
    addresses = [
        f"{host}:{port + task}"
        for host, number in zip(hosts, tasks, strict=True)
        for task in range(number)
    ]
    return Cluster(tuple(addresses), int(environment["SLURM_PROCID"]))


def expand_hosts(text: str) -> list[str]:
    """Expands Slurm's list of hosts: "gpu[08-10,12],login1" gives a list of five hosts."""
    hosts: list[str] = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        pieces = re.split(r"\[(.*?)\]", part)  # every second piece was in brackets
        options = [_numbers(piece) if i % 2 else [piece] for i, piece in enumerate(pieces)]
        hosts += map("".join, itertools.product(*options))
    return hosts


def _numbers(ranges: str) -> list[str]:
    """Expands "08-10,12" to ["08", "09", "10", "12"]."""
    bounds = [item.split("-") for item in ranges.split(",")]
    return [
        f"{number:0{len(first)}}"
        for first, *last in bounds
        for number in range(int(first), int(last[0] if last else first) + 1)
    ]

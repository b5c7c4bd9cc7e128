"""Which processes train together, as the environment tells it: before TensorFlow is there.

`TF_CONFIG` is TensorFlow's own way to say it; Slurm's variables, which `srun` sets for each task of
a step with several, are turned into one.
"""

import dataclasses
import json
import re
from collections.abc import Mapping

from conf.schema import Strategy
from errors import UserError

FIRST_PORT = 12_000  # of Slurm's tasks; jobs that share a node take others, by their number
PORTS = 20_000


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers' addresses, the chief's first, and which of them this process is."""

    addresses: tuple[str, ...]
    index: int

    @property
    def tf_config(self) -> str:
        """What `tf.distribute` reads from the environment."""
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})


def cluster_of(strategy: Strategy, environment: Mapping[str, str]) -> Cluster | None:
    """The cluster that this process is to train in; None for a process on its own.

    Args:
        strategy: `auto` takes the cluster that there is, `multi_worker` insists on one.
        environment: the process's variables.

    Raises:
        UserError: there is none, or what describes it cannot be read.
    """
    if strategy not in (Strategy.auto, Strategy.multi_worker):
        return None
    found = None
    if "TF_CONFIG" in environment:
        found = _from_tf_config(environment["TF_CONFIG"])
    elif int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        found = _from_slurm(environment)
    if found is None or len(found.addresses) == 1:
        if strategy is Strategy.multi_worker:
            raise UserError(
                "trainer.strategy=multi_worker: neither TF_CONFIG nor Slurm describes several "
                "workers; see docs/distributed.md, or set trainer.strategy=auto"
            )
        return None
    return found


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
            'TF_CONFIG: is no {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": '
            f'"worker", "index": NUMBER}}}} ({type(error).__name__}: {error})'
        ) from error
    return cluster


def _from_slurm(environment: Mapping[str, str]) -> Cluster:
    """Slurm numbers tasks node by node, unless it is told `--distribution=cyclic`."""
    hosts = expand_hosts(environment["SLURM_STEP_NODELIST"])
    tasks = [
        int(number)
        for number, times in re.findall(
            r"(\d+)(?:\(x(\d+)\))?", environment["SLURM_STEP_TASKS_PER_NODE"]
        )
        for _ in range(int(times or 1))
    ]
    port = FIRST_PORT + int(environment["SLURM_JOB_ID"]) % PORTS
    addresses = [
        f"{host}:{port + place}"
        for host, number in zip(hosts, tasks, strict=True)
        for place in range(number)
    ]
    return Cluster(tuple(addresses), int(environment["SLURM_PROCID"]))


def expand_hosts(text: str) -> list[str]:
    """Slurm's "gpu[08-10,12],login1" as a list of five hosts."""
    hosts = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        brackets = re.fullmatch(r"(.*?)\[([^\]]*)\](.*)", part)
        if brackets is None:
            hosts.append(part)
            continue
        before, ranges, after = brackets.groups()
        for piece in ranges.split(","):
            least, _, most = piece.partition("-")
            for number in range(int(least), int(most or least) + 1):
                hosts += expand_hosts(f"{before}{number:0{len(least)}}{after}")
    return hosts

"""The cluster that TF_CONFIG or the variables of Slurm describe."""

import json

import pytest

from conf.schema import Strategy
from errors import UserError
from training.distributed.cluster import Cluster, cluster_of, expand_hosts

TWO = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
SLURM = {
    "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_PROCID": "2",
    "SLURM_JOB_ID": "20007",
    "SLURM_STEP_NODELIST": "gpu[08-09]",
    "SLURM_STEP_TASKS_PER_NODE": "2,1",
}


def tf_config(content) -> dict[str, str]:
    return {"TF_CONFIG": content if isinstance(content, str) else json.dumps(content)}


def test_tf_config_names_the_workers_and_this_process():
    assert cluster_of(Strategy.auto, tf_config(TWO)) == Cluster(("a:1", "b:1"), 1)
    assert cluster_of(Strategy.multi_worker, tf_config(TWO)) == Cluster(("a:1", "b:1"), 1)


def test_a_separate_chief_is_the_first_worker():
    content = {"cluster": {"chief": ["a:1"], "worker": ["b:1"]}}
    for kind, index in (("chief", 0), ("worker", 1)):
        task = {"task": {"type": kind, "index": 0}}
        assert cluster_of(Strategy.auto, tf_config(content | task)) == Cluster(
            ("a:1", "b:1"), index
        )


def test_slurm_s_tasks_are_numbered_node_by_node():
    cluster = cluster_of(Strategy.auto, SLURM)
    assert cluster == Cluster(("gpu08:12007", "gpu08:12008", "gpu09:12007"), 2)
    assert json.loads(cluster.tf_config) == {
        "cluster": {"worker": list(cluster.addresses)},
        "task": {"type": "worker", "index": 2},
    }


def test_abbreviated_numbers_of_tasks_are_expanded():
    environment = SLURM | {
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_NODELIST": "a,b",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    }
    assert len(cluster_of(Strategy.auto, environment).addresses) == 4


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("login", ["login"]),
        ("a,b-2", ["a", "b-2"]),
        ("n[1-2,7],x", ["n1", "n2", "n7", "x"]),
        ("n[009-010].site", ["n009.site", "n010.site"]),
        ("r[1-2]n[3,5]", ["r1n3", "r1n5", "r2n3", "r2n5"]),
    ],
)
def test_slurm_s_lists_of_hosts_are_expanded(text, hosts):
    assert expand_hosts(text) == hosts


@pytest.mark.parametrize(
    "environment",
    [
        {},
        tf_config(TWO | {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}),
        SLURM | {"SLURM_STEP_NUM_TASKS": "1"},
        {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "1"},  # an allocation, outside of srun
    ],
    ids=["nothing", "one worker", "one task", "no step"],
)
def test_a_single_process_has_no_cluster(environment):
    assert cluster_of(Strategy.auto, environment) is None
    with pytest.raises(UserError, match="neither TF_CONFIG nor Slurm describes several"):
        cluster_of(Strategy.multi_worker, environment)


@pytest.mark.parametrize("strategy", [Strategy.none, Strategy.mirrored])
def test_a_cluster_can_be_ignored(strategy):
    assert cluster_of(strategy, tf_config(TWO)) is None


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", TWO | {"task": {"type": "worker", "index": 2}}]
)
def test_an_invalid_tf_config_is_refused(content):
    with pytest.raises(UserError, match="TF_CONFIG: must be "):
        cluster_of(Strategy.auto, tf_config(content))

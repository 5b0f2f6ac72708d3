"""What replicas learn of each other: ranks, addresses, and TF_CONFIG in both shapes."""

from __future__ import annotations

import json

from headway.domain.cluster import ClusterStyle, Member, cluster_environment, rank_order


def gang(*roles: tuple[str, int], hosts: tuple[str, ...] = ("127.0.0.1",)) -> list[Member]:
    return [
        Member(role=role, index=index, rank=rank, host=hosts[rank % len(hosts)], ports=(20000 + rank, 21000 + rank))
        for rank, (role, index) in enumerate(rank_order(roles))
    ]


def tf_config(members: list[Member], rank: int, style: ClusterStyle) -> dict[str, object]:
    found: dict[str, object] = json.loads(cluster_environment(members, style)[rank]["TF_CONFIG"])
    return found


def test_a_master_comes_first_then_workers_then_others_and_parameter_servers_last() -> None:
    order = rank_order([("ps", 1), ("evaluator", 1), ("worker", 2), ("master", 1)])
    assert order == [("master", 0), ("worker", 0), ("worker", 1), ("evaluator", 0), ("ps", 0)]


def test_native_jobs_use_the_shape_of_tensorflow_2() -> None:
    config = tf_config(gang(("worker", 2), ("ps", 1)), 2, "native")
    assert config == {
        "cluster": {"worker": ["127.0.0.1:20000", "127.0.0.1:20001"], "ps": ["127.0.0.1:20002"]},
        "task": {"type": "ps", "index": 0},
    }


def test_gradient_jobs_have_the_first_worker_as_master_too() -> None:
    members = gang(("worker", 2), ("ps", 1))
    first, second = tf_config(members, 0, "gradient"), tf_config(members, 1, "gradient")
    assert first["cluster"] == {
        "master": ["127.0.0.1:20000"],
        "worker": ["127.0.0.1:20000", "127.0.0.1:20001"],
        "ps": ["127.0.0.1:20002"],
    }
    assert first["task"] == {"type": "master", "index": 0}
    assert second["task"] == {"type": "worker", "index": 1}


def test_the_port_of_the_master_is_not_the_port_of_rank_zero() -> None:
    environment = cluster_environment(gang(("worker", 2)), "native")[1]
    assert (environment["MASTER_ADDR"], environment["MASTER_PORT"]) == ("127.0.0.1", "21000")
    assert environment["HEADWAY_PEERS"] == "127.0.0.1:20000,127.0.0.1:20001"


def test_local_ranks_count_within_a_machine() -> None:
    members = gang(("worker", 4), hosts=("10.0.0.1", "10.0.0.2"))
    found = cluster_environment(members, "native")
    names = ("NODE_RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NNODES", "WORLD_SIZE")
    assert [tuple(found[rank][name] for name in names) for rank in range(4)] == [
        ("0", "0", "2", "2", "4"),
        ("1", "0", "2", "2", "4"),
        ("0", "1", "2", "2", "4"),
        ("1", "1", "2", "2", "4"),
    ]

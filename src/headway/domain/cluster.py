"""What replicas of one attempt must know of each other, as environment variables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from headway.domain.base import Record

ClusterStyle = Literal["native", "gradient"]


class Member(Record):
    """One replica's place and address."""

    role: str
    index: int
    rank: int
    host: str
    ports: tuple[int, ...]

    @property
    def address(self) -> str:
        return f"{self.host}:{self.ports[0]}"


def rank_order(roles: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """``(role, index)`` by rank: a master or chief first, then workers, other roles, parameter servers last.

    >>> rank_order([("ps", 1), ("worker", 2)])
    [('worker', 0), ('worker', 1), ('ps', 0)]
    """
    weight = {"master": 0, "chief": 0, "worker": 1, "ps": 3}
    ordered = sorted(roles, key=lambda role: (weight.get(role[0], 2), role[0]))
    return [(name, index) for name, count in ordered for index in range(count)]


def cluster_environment(members: Sequence[Member], style: ClusterStyle) -> dict[int, dict[str, str]]:
    """Rank to the variables that name the gang: MASTER_ADDR, MASTER_PORT, TF_CONFIG and the peer list.

    MASTER_PORT is the second port of rank 0, so that it never collides with rank 0's own TF_CONFIG port.
    """
    first = min(members, key=lambda member: member.rank)
    hosts = list(dict.fromkeys(member.host for member in members))
    shared = {
        "MASTER_ADDR": first.host,
        "MASTER_PORT": str(first.ports[1] if len(first.ports) > 1 else first.ports[0]),
        "NNODES": str(len(hosts)),
        "HEADWAY_PEERS": ",".join(m.address for m in sorted(members, key=lambda m: m.rank)),
    }
    configuration = _gradient_config if style == "gradient" else _native_config
    found = {}
    for member in members:
        same_host = [other for other in members if other.host == member.host]
        found[member.rank] = {
            **shared,
            "RANK": str(member.rank),
            "WORLD_SIZE": str(len(members)),
            "NODE_RANK": str(hosts.index(member.host)),
            "LOCAL_RANK": str(sorted(other.rank for other in same_host).index(member.rank)),
            "LOCAL_WORLD_SIZE": str(len(same_host)),
            "TF_CONFIG": json.dumps(configuration(members, member)),
        }
    return found


def _addresses(members: Sequence[Member], role: str) -> list[str]:
    return [m.address for m in sorted(members, key=lambda m: m.index) if m.role == role]


def _native_config(members: Sequence[Member], member: Member) -> dict[str, object]:
    """TensorFlow 2: every role under its own name. Source: tf.distribute, TF_CONFIG."""
    roles = list(dict.fromkeys(m.role for m in sorted(members, key=lambda m: m.rank)))
    cluster = {role: _addresses(members, role) for role in roles}
    return {"cluster": cluster, "task": {"type": member.role, "index": member.index}}


def _gradient_config(members: Sequence[Member], member: Member) -> dict[str, object]:
    """Gradient (TensorFlow 1): the first worker is the master too, as the seed's log shows."""
    workers, servers = _addresses(members, "worker"), _addresses(members, "ps")
    masters = _addresses(members, "master") or workers[:1]
    cluster = {"master": masters, "worker": workers, "ps": servers}
    kind, index = member.role, member.index
    if member.role == "worker" and member.index == 0 and not _addresses(members, "master"):
        kind = "master"
    return {
        "cluster": {role: found for role, found in cluster.items() if found},
        "task": {"type": kind, "index": index},
        "environment": "cloud",
    }

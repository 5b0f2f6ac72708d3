"""Lineage: what came from what, across artifacts, runs, jobs, model versions and deployments."""

from __future__ import annotations

from enum import Enum

from headway.domain.base import Record, Timestamp


class NodeKind(str, Enum):
    ARTIFACT_VERSION = "artifact-version"
    RUN = "run"
    JOB = "job"
    MODEL_VERSION = "model-version"
    DEPLOYMENT = "deployment"
    EXTERNAL = "external"
    """Something of another system that a run named."""


class Relation(str, Enum):
    """What an edge says; it points the way data flows."""

    INPUT = "input"
    """artifact or model version → run"""
    OUTPUT = "output"
    """run → artifact or model version"""
    EXECUTES = "executes"
    """job → run"""
    SERVES = "serves"
    """model version → deployment"""
    COPIED = "copied"
    """artifact version, or something external → model version that was made of its files"""


class Direction(str, Enum):
    """Which way edges are followed."""

    UP = "up"
    """Against the flow of data: what it was made of."""
    DOWN = "down"
    """With it: what was made of it."""
    BOTH = "both"


class Node(Record):
    kind: NodeKind
    id: str
    label: str
    """What people call it."""


class Edge(Record):
    source: str
    """A node's id."""
    target: str
    relation: Relation


class Lineage(Record):
    """The graph around ``subject``, as far as it was followed. ``complete`` is False when a limit cut it."""

    subject: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    complete: bool = True


class Link(Record):
    """One stored edge between a run and what it used or made. ``kind`` and ``other_id`` say what the other end is. Where
    the relation is ``copied``, ``run_id`` is that of the model version.
    """

    project_id: str
    run_id: str
    kind: NodeKind
    other_id: str
    relation: Relation
    label: str = ""
    created_at: Timestamp

"""Lineage: what came from what, followed from one thing as far as asked and as far as the caller may see.

Stored edges are :class:`headway.domain.lineage.Link`; the others follow from records: a job executes its run, a run made the
model versions that name it, and a deployment serves its model versions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from headway.domain.lineage import Direction, Edge, Lineage, Link, Node, NodeKind, Relation
from headway.domain.users import Permission
from headway.errors import NotFoundError
from headway.server.actions import artifacts
from headway.server.actions.lookup import find_project, resolve_version
from headway.server.actions.paging import every
from headway.server.context import Caller, Platform
from headway.storage.base import Session

MAX_NODES = 1000
DEFAULT_DEPTH = 10


def trace(
    platform: Platform,
    caller: Caller,
    subject: str,
    *,
    project: str | None = None,
    direction: Direction = Direction.BOTH,
    depth: int = DEFAULT_DEPTH,
) -> Lineage:
    """The graph around ``subject``: an id, or in ``project`` a reference to an artifact or model version.

    Up and down are each followed on from the subject without turning round: with ``both``, what a sibling was made of does
    not belong to the lineage.
    """
    with platform.storage.read() as session:
        graph = _Graph(session, caller)
        start = graph.subject(subject, project)
        if direction in (Direction.UP, Direction.BOTH):
            graph.follow(start, depth, up=True)
        if direction in (Direction.DOWN, Direction.BOTH):
            graph.follow(start, depth, up=False)
        return graph.lineage(start)


@dataclass(frozen=True)
class _Found:
    """A node and its record (None for what is gone or of another system)."""

    node: Node
    record: Any = None


@dataclass
class _Graph:
    session: Session
    caller: Caller
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[Edge, None] = field(default_factory=dict)
    complete: bool = True

    def subject(self, reference: str, project: str | None) -> _Found:
        for kind in NodeKind:
            record = _lookup(self.session, kind, reference)
            if record is not None and self._visible(record):
                return self._start(_describe(kind, record), record)
        if project is None:
            raise NotFoundError(f"There is nothing with the id {reference!r}.", hint="Name the project too, for names.")
        found = find_project(self.session, self.caller, project)
        return self._resolved(reference, found.id)

    def _resolved(self, reference: str, project_id: str) -> _Found:
        deployment = self.session.deployments.by_name(project_id, reference)
        if deployment is not None:
            return self._start(_describe(NodeKind.DEPLOYMENT, deployment), deployment)
        try:
            version = artifacts.resolve_version(self.session, self.caller, reference, project_id)
            return self._start(_describe(NodeKind.ARTIFACT_VERSION, version), version)
        except NotFoundError as error:
            if reference.startswith("artifact:"):
                raise
            unknown = error
        try:
            model = resolve_version(self.session, self.caller, reference, project_id)
        except NotFoundError:
            raise NotFoundError(
                f"There is nothing called {reference!r} in this project.",
                hint=unknown.hint or "Use an id, artifact:NAME:v3, models:/NAME/3 or the name of a deployment.",
            ) from None
        return self._start(_describe(NodeKind.MODEL_VERSION, model), model)

    def _start(self, node: Node, record: Any) -> _Found:
        self.nodes[node.id] = node
        return _Found(node, record)

    def follow(self, start: _Found, depth: int, *, up: bool) -> None:
        """Breadth first; a node is entered once a direction."""
        entered, frontier = {start.node.id}, [start]
        for level in range(depth + 1):
            following: list[_Found] = []
            for found in frontier:
                for edge, other in self._neighbours(found, up=up):
                    known = other.node.id in self.nodes
                    if not known and (level == depth or len(self.nodes) >= MAX_NODES):
                        self.complete = False
                        continue
                    self.nodes.setdefault(other.node.id, other.node)
                    self.edges.setdefault(edge)
                    if other.node.id not in entered:
                        entered.add(other.node.id)
                        following.append(other)
            frontier = following

    def lineage(self, start: _Found) -> Lineage:
        return Lineage(
            subject=start.node.id,
            nodes=tuple(self.nodes.values()),
            edges=tuple(self.edges),
            complete=self.complete,
        )

    def _visible(self, record: Any) -> bool:
        return self.caller.may(Permission.READ, record.project_id)

    def _neighbours(self, found: _Found, *, up: bool) -> Iterator[tuple[Edge, _Found]]:
        steps = {
            NodeKind.RUN: self._above_run if up else self._below_run,
            NodeKind.JOB: self._nothing if up else self._below_job,
            NodeKind.MODEL_VERSION: self._above_model if up else self._below_model,
            NodeKind.DEPLOYMENT: self._above_deployment if up else self._nothing,
        }
        step = steps.get(found.node.kind, self._above_other if up else self._below_other)
        for kind, id, relation, label in step(found):
            other = self._load(kind, id, label)
            if other is not None:
                source, target = (id, found.node.id) if up else (found.node.id, id)
                yield Edge(source=source, target=target, relation=relation), other

    def _load(self, kind: NodeKind, id: str, label: str) -> _Found | None:
        """The other end of an edge; None when the caller may not see it. What was deleted keeps its label."""
        record = _lookup(self.session, kind, id)
        if record is None:
            return _Found(Node(kind=kind, id=id, label=label or id))
        return _Found(_describe(kind, record), record) if self._visible(record) else None

    def _nothing(self, _: _Found) -> Iterator[_Step]:
        yield from ()

    def _above_run(self, found: _Found) -> Iterator[_Step]:
        for link in self._links(found.node.id, Relation.INPUT):
            yield link.kind, link.other_id, Relation.INPUT, link.label
        if found.record is not None and found.record.job_id is not None:
            yield NodeKind.JOB, found.record.job_id, Relation.EXECUTES, ""

    def _below_run(self, found: _Found) -> Iterator[_Step]:
        for link in self._links(found.node.id, Relation.OUTPUT):
            yield link.kind, link.other_id, Relation.OUTPUT, link.label
        for made in every(self.session.artifact_versions.list, run_id=found.node.id):
            yield NodeKind.ARTIFACT_VERSION, made.id, Relation.OUTPUT, ""
        for model in every(self.session.model_versions.list, run_id=found.node.id):
            yield NodeKind.MODEL_VERSION, model.id, Relation.OUTPUT, ""
        for link in self._links_to(found.node.id, Relation.INPUT):
            yield NodeKind.RUN, link.run_id, Relation.INPUT, ""

    def _below_job(self, found: _Found) -> Iterator[_Step]:
        if found.record is not None:
            yield NodeKind.RUN, found.record.run_id, Relation.EXECUTES, ""

    def _above_model(self, found: _Found) -> Iterator[_Step]:
        yield from self._above_other(found)
        for link in self._links(found.node.id, Relation.COPIED):
            yield link.kind, link.other_id, Relation.COPIED, link.label

    def _below_model(self, found: _Found) -> Iterator[_Step]:
        yield from self._below_other(found)
        for deployment in every(self.session.deployments.list, model_version_id=found.node.id):
            yield NodeKind.DEPLOYMENT, deployment.id, Relation.SERVES, ""

    def _above_deployment(self, found: _Found) -> Iterator[_Step]:
        for version in found.record.versions if found.record is not None else ():
            label = f"{version.model}/{version.version}"
            yield NodeKind.MODEL_VERSION, version.model_version_id, Relation.SERVES, label

    def _above_other(self, found: _Found) -> Iterator[_Step]:
        for link in self._links_to(found.node.id, Relation.OUTPUT):
            yield NodeKind.RUN, link.run_id, Relation.OUTPUT, ""
        made_by = getattr(found.record, "run_id", None)
        if made_by is not None:
            yield NodeKind.RUN, made_by, Relation.OUTPUT, ""

    def _below_other(self, found: _Found) -> Iterator[_Step]:
        for link in self._links_to(found.node.id, Relation.COPIED):
            yield NodeKind.MODEL_VERSION, link.run_id, Relation.COPIED, ""
        for link in self._links_to(found.node.id, Relation.INPUT):
            yield NodeKind.RUN, link.run_id, Relation.INPUT, ""

    def _links(self, run_id: str, relation: Relation) -> list[Link]:
        return [link for link in self.session.links.of_run(run_id) if link.relation is relation]

    def _links_to(self, id: str, relation: Relation) -> list[Link]:
        found = self.session.links.of_other(id)
        return [
            link for link in found if link.relation is relation and self.caller.may(Permission.READ, link.project_id)
        ]


_Step = tuple[NodeKind, str, Relation, str]


def _lookup(session: Session, kind: NodeKind, id: str) -> Any:
    nouns: dict[NodeKind, Any] = {
        NodeKind.ARTIFACT_VERSION: session.artifact_versions,
        NodeKind.RUN: session.runs,
        NodeKind.JOB: session.jobs,
        NodeKind.MODEL_VERSION: session.model_versions,
        NodeKind.DEPLOYMENT: session.deployments,
    }
    noun = nouns.get(kind)
    return None if noun is None else noun.find(id)


def _describe(kind: NodeKind, record: Any) -> Node:
    if kind is NodeKind.ARTIFACT_VERSION:
        label = f"{record.name}:v{record.version}"
    elif kind is NodeKind.MODEL_VERSION:
        label = f"{record.name}/{record.version}"
    else:
        label = record.name
    return Node(kind=kind, id=record.id, label=label)

"""client.lineage: what came from what."""

from __future__ import annotations

from html import escape
from typing import Any

from headway.domain.lineage import Lineage, Node
from headway.errors import InvalidRequestError
from headway.sdk.resources.base import Resource

DIRECTIONS = ("up", "down", "both")


class LineageGraph(Lineage):
    """The graph around one thing; printed, the trees above and below it."""

    def node(self, id: str) -> Node:
        """KeyError when it is not in the graph."""
        for node in self.nodes:
            if node.id == id:
                return node
        raise KeyError(id)

    @property
    def upstream(self) -> tuple[Node, ...]:
        """What the subject was made of, nearest first."""
        return self._reached(up=True)

    @property
    def downstream(self) -> tuple[Node, ...]:
        """What was made of the subject, nearest first."""
        return self._reached(up=False)

    def _reached(self, *, up: bool) -> tuple[Node, ...]:
        seen, frontier = {self.subject: None}, [self.subject]
        while frontier:
            following = [other for id in frontier for other, _ in self._next(id, up=up) if other not in seen]
            seen.update(dict.fromkeys(following))
            frontier = following
        return tuple(self.node(id) for id in seen if id != self.subject)

    def _next(self, id: str, *, up: bool) -> list[tuple[str, str]]:
        """Neighbours and what the edge says."""
        pairs = (
            (e.source, e.target, e.relation.value) if up else (e.target, e.source, e.relation.value) for e in self.edges
        )
        return [(other, relation) for other, own, relation in pairs if own == id]

    def tree(self) -> str:
        """The trees above and below the subject as text."""
        lines = [_title(self.node(self.subject))]
        for word, up in (("made of", True), ("made into", False)):
            branches = self._branches(self.subject, "  ", {self.subject}, up=up)
            lines += [f"{word}:", *branches] if branches else []
        if not self.complete:
            lines.append("… (there is more: ask with a greater depth)")
        return "\n".join(lines)

    def _branches(self, id: str, indent: str, above: set[str], *, up: bool) -> list[str]:
        lines = []
        for other, relation in self._next(id, up=up):
            lines.append(f"{indent}{'←' if up else '→'} {_title(self.node(other))} ({relation})")
            if other not in above:
                lines += self._branches(other, indent + "  ", above | {other}, up=up)
        return lines

    def __repr__(self) -> str:
        return self.tree()

    def __str__(self) -> str:
        return self.tree()

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.tree())}</pre>"


def _title(node: Node) -> str:
    return f"{node.kind.value} {node.label}" + (f" [{node.id}]" if node.id != node.label else "")


class LineageResource(Resource):
    path = "/api/v1/lineage"
    noun = "lineage"

    def trace(
        self, subject: Any, *, direction: str = "both", depth: int | None = None, project: str | None = None
    ) -> LineageGraph:
        """The lineage of ``subject``; see :meth:`headway.sdk.client.Client.lineage`."""
        if direction not in DIRECTIONS:
            raise InvalidRequestError(f"direction must be one of {', '.join(DIRECTIONS)}, not {direction!r}.")
        if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= 100):
            raise InvalidRequestError(f"depth must be a whole number from 1 to 100, not {depth!r}.")
        query = {
            "subject": subject_id(subject),
            "direction": direction,
            "depth": depth,
            "project": self._scope(project),
        }
        return self._session.get(LineageGraph, self.path, query)


def subject_id(subject: Any) -> str:
    """The id of a record or handle, or a reference as it is.

    Raises:
        InvalidRequestError: It has no id.
    """
    found = subject if isinstance(subject, str) else getattr(subject, "id", None)
    if not isinstance(found, str) or not found:
        version = getattr(subject, "version", None)
        found = getattr(version, "id", None)
    if not isinstance(found, str) or not found:
        raise InvalidRequestError(
            f"{type(subject).__name__} has no id whose lineage could be asked for.",
            hint="Pass an id, a reference, or what the client gave you. An artifact has one once it was uploaded.",
        )
    return found

"""client.instance_types: named sizes of machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headway.domain.base import did_you_mean, parse_request
from headway.domain.instances import InstanceType, InstanceTypeSet
from headway.errors import NotFoundError
from headway.sdk.resources.base import Resource


class InstanceTypes(Resource):
    path = "/api/v1/instance-types"
    noun = "instance type"

    def list(self) -> Sequence[InstanceType]:
        """All instance types."""
        return self._session.items(InstanceType, self.path)

    def get(self, name: str) -> InstanceType:
        """One of them; NotFoundError with a suggestion when there is none of that name."""
        found = {each.name: each for each in self.list()}
        if name not in found:
            hint = did_you_mean(name, found) or f"Known: {', '.join(sorted(found))}."
            raise NotFoundError(f"There is no instance type {name!r}.", hint=hint)
        return found[name]

    def set(self, name: str, **fields: Any) -> InstanceType:
        """Create or replace one: ``cpu`` (cores), ``memory_mb`` (MiB), ``gpu``, ``alias_of``, ``labels``,
        ``description``.
        """
        request = parse_request(InstanceTypeSet, fields)
        return self._session.act(InstanceType, "PUT", self._address(name), body=request)

    def delete(self, name: str) -> None:
        """Remove one; what uses it keeps its size."""
        self._session.call("DELETE", self._address(name))

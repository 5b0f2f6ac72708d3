"""client.catalogue: what can be chosen by name or number when something is trained or deployed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headway.domain.base import did_you_mean, parse_request
from headway.domain.catalogue import CatalogueEntry, CatalogueEntrySet, CatalogueEntryUpdate, CatalogueKind
from headway.errors import InvalidRequestError
from headway.sdk.resources.base import Resource
from headway.sdk.session import segment


class Catalogue(Resource):
    path = "/api/v1/catalogue"
    noun = "catalogue entry"

    def list(self, kind: CatalogueKind | str | None = None, *, hidden: bool = False) -> Sequence[CatalogueEntry]:
        """All entries, or those of one catalogue, by number; hidden ones only for admins who ask."""
        query = {"kind": None if kind is None else kind_of(kind).value, "hidden": "true" if hidden else None}
        return self._session.items(CatalogueEntry, self.path, query)

    def get(self, kind: CatalogueKind | str, entry: int | str) -> CatalogueEntry:
        """One entry by its number or name; NotFoundError with a suggestion."""
        return self._session.get(CatalogueEntry, self._entry(kind, entry))

    def set(self, kind: CatalogueKind | str, id: int, name: str, **fields: Any) -> CatalogueEntry:
        """Add or replace an entry (server admins): ``description``, ``hidden``, ``instance_type`` of machines, ``image``,
        ``command`` and ``runtime`` of frameworks, ``algorithm`` of presets.
        """
        request = parse_request(CatalogueEntrySet, {"name": name, **fields}, what="The catalogue entry")
        return self._session.act(CatalogueEntry, "PUT", self._entry(kind, id), body=request)

    def hide(self, kind: CatalogueKind | str, entry: int | str, *, hidden: bool = True) -> CatalogueEntry:
        """Show an entry to admins only, or with ``hidden=False`` to everybody again (server admins)."""
        request = CatalogueEntryUpdate(hidden=hidden)
        return self._session.act(CatalogueEntry, "PATCH", self._entry(kind, entry), body=request)

    def delete(self, kind: CatalogueKind | str, entry: int | str) -> None:
        """Remove an entry (server admins); what was made with it goes on."""
        self._session.call("DELETE", self._entry(kind, entry))

    def _entry(self, kind: CatalogueKind | str, entry: int | str) -> str:
        return self._address(kind_of(kind).value, segment(str(entry), "a catalogue entry"))


def kind_of(kind: CatalogueKind | str) -> CatalogueKind:
    """The catalogue of that name.

    >>> kind_of("preset-model")
    <CatalogueKind.PRESET_MODEL: 'preset-model'>

    Raises:
        InvalidRequestError: There is none, with the closest name.
    """
    try:
        return CatalogueKind(kind)
    except ValueError:
        known = [each.value for each in CatalogueKind]
        hint = did_you_mean(str(kind), known) or f"There are {', '.join(known)}."
        raise InvalidRequestError(f"There is no catalogue {kind!r}.", hint=hint) from None

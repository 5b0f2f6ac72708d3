"""Media of a run: images, audio, tables and the like, each at its step."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import quote

from pydantic import PrivateAttr

from headway.domain.files import FileEntry
from headway.domain.metrics import Entry, EntryType
from headway.errors import CorruptDataError, HeadwayError, InvalidRequestError, PayloadTooLargeError
from headway.sdk.downloads import download_files
from headway.sdk.resources.base import Resource
from headway.sdk.resources.metrics import run_address
from headway.sdk.session import Session
from headway.sdk.transport import Response

MAX_READ = 256 << 20
SHOWN_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
SHOWN_BYTES = 2 << 20


class RunEntry(Entry):
    """An :class:`headway.domain.metrics.Entry` whose bytes can be had."""

    _session: Session | None = PrivateAttr(None)
    _project: str = PrivateAttr("")

    def read(self, *, limit: int = MAX_READ) -> bytes:
        """The bytes, checked against the digest.

        Raises:
            PayloadTooLargeError: They are more than ``limit``.
            CorruptDataError: They are not what the digest says.
        """
        if self.size > limit:
            raise PayloadTooLargeError(f"The entry {self.name!r} has {self.size} bytes, and {limit} is the limit.")
        with self._open() as response:
            data = response.read(limit)
        if hashlib.sha256(data).hexdigest() != self.digest:
            raise CorruptDataError(f"The content of the entry {self.name!r} is not what its digest says.")
        return data

    def save(self, path: str | Path) -> Path:
        """Write the bytes to the file ``path``, checked and whole, or not at all; answers where they lie."""
        target = Path(path)
        file = FileEntry(path=target.name, digest=self.digest, size=self.size)
        return download_files([file], target.parent, lambda _: self._open())[0]

    def _open(self) -> Response:
        if self._session is None:
            raise InvalidRequestError(f"The entry {self.name!r} belongs to no connection; its bytes cannot be read.")
        path = f"/api/v1/projects/{quote(self._project, safe='')}/blobs/{quote(self.digest, safe='')}"
        return self._session.open("GET", path, headers={"Accept": "*/*"})

    def _repr_html_(self) -> str:
        """What it is, and the picture itself when it is a small one. Nothing of it is taken for markup."""
        return f"{self._picture()}{super()._repr_html_()}"

    def _picture(self) -> str:
        if self.type is not EntryType.IMAGE or self.media_type not in SHOWN_IMAGES or self.size > SHOWN_BYTES:
            return ""
        try:
            data = base64.b64encode(self.read(limit=SHOWN_BYTES)).decode()
        except HeadwayError:
            return ""  # a repr must not fail because a server is away
        return f'<img alt="{escape(self.name)}" style="max-width:360px" src="data:{self.media_type};base64,{data}"><br>'


def list_entries(
    session: Session,
    run: str,
    project: str,
    *,
    name: str | None = None,
    stage: str | None = None,
    type: EntryType | str | None = None,
    limit: int | None = None,
) -> Iterator[RunEntry]:
    """Entries of a run of the project with the id ``project``."""
    query = {"name": name, "stage": stage, "type": _checked_type(type)}
    pages = session.pages(RunEntry, run_address(run, "entries"), query, limit)
    return _bound(pages, session, project)


def _bound(entries: Iterator[RunEntry], session: Session, project: str) -> Iterator[RunEntry]:
    for entry in entries:
        entry._session, entry._project = session, project
        yield entry


def _checked_type(type: EntryType | str | None) -> str | None:
    if type is None:
        return None
    try:
        return EntryType(type).value
    except ValueError:
        known = ", ".join(each.value for each in EntryType)
        raise InvalidRequestError(f"There is no type of entry {type!r}.", hint=f"Types: {known}.") from None


class RunEntries(Resource):
    """What ``client.runs`` says of media."""

    def entries(
        self,
        run: str,
        *,
        name: str | None = None,
        stage: str | None = None,
        type: EntryType | str | None = None,
        limit: int | None = None,
    ) -> Iterator[RunEntry]:
        """Media that the run logged; each can be read and saved."""
        from headway.domain.runs import Run

        wanted = _checked_type(type)
        project = self._session.get(Run, run_address(run)).project_id
        return list_entries(self._session, run, project, name=name, stage=stage, type=wanted, limit=limit)

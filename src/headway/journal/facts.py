"""Writing and reading facts: what a run says of itself besides metrics (:mod:`headway.domain.facts`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from time import time_ns
from typing import Any

from headway.domain.facts import PlacedFact
from headway.errors import CorruptDataError, InvalidRequestError
from headway.journal.codec import JournalHeader
from headway.journal.documents import plain_json
from headway.journal.frames import KIND_FACT, PAYLOAD_LIMIT, Frame
from headway.journal.reader import read_frames, read_header
from headway.journal.writer import JournalWriter

KEPT_FACTS = 10_000
"""Facts that stay in memory while the disk is full."""


class FactsWriter(JournalWriter):
    """Writes the facts of one ``facts`` stream. Arguments as for :class:`JournalWriter`.

    While the disk is full facts stay in memory, and are written when space returns.
    """

    keeps = KEPT_FACTS

    def write(self, fact: Mapping[str, Any]) -> bool:
        """Write one fact; whether it is as safe as :class:`headway.journal.writer.Durability` says.

        Args:
            fact: JSON values, with ``type``; ``time`` (milliseconds since 1970) is now when it is not given. Floats
                that JSON does not have become strings, see :func:`headway.journal.documents.plain_json`.

        Raises:
            InvalidRequestError: It is not JSON, has no type, or is larger than a frame.
        """
        return self.append(KIND_FACT, encode_fact(fact))


def encode_fact(fact: Mapping[str, Any]) -> bytes:
    """The payload of a :data:`KIND_FACT` frame; raises as :meth:`FactsWriter.write`."""
    kind = fact.get("type")
    if not isinstance(kind, str) or not kind:
        raise InvalidRequestError(f"A fact has a type, and this one has {kind!r}.")
    payload = plain_json({"time": time_ns() // 1_000_000, **fact}, kind)
    if len(payload) > PAYLOAD_LIMIT:
        raise InvalidRequestError(
            f"The {kind} has {len(payload)} bytes of JSON, and {PAYLOAD_LIMIT} is the most.",
            hint="Put what is large into an artifact.",
        )
    return payload


def decode_fact(payload: bytes) -> dict[str, Any]:
    """The fact in a :data:`KIND_FACT` frame; CorruptDataError when it is none."""
    try:
        fact = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise CorruptDataError(f"The fact is not readable: {error}.") from error
    if not isinstance(fact, dict):
        raise CorruptDataError("The fact is not a JSON object.")
    return fact


def place_facts(header: JournalHeader, frames: Iterable[Frame]) -> Iterator[PlacedFact]:
    """The facts among ``frames`` of the stream that ``header`` names; unreadable ones are passed over."""
    for frame in frames:
        if frame.kind != KIND_FACT:
            continue
        try:
            fact = decode_fact(frame.payload)
        except CorruptDataError:
            continue
        yield PlacedFact(header.attempt, header.stream, frame.offset, fact)


def read_facts(path: Path) -> list[PlacedFact]:
    """Every readable fact of a journal.

    Raises:
        NotFoundError: There is no such file.
        CorruptDataError: Its header is not readable.
    """
    return list(place_facts(read_header(path), read_frames(path)))

"""Calls of ``run.log`` that hold more than numbers: numbers as one row, each piece of media as an entry beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headway.errors import InvalidRequestError, StorageFullError
from headway.journal.values import plain_epoch, plain_name, plain_stage, plain_step, plain_values
from headway.tracking.media import as_media, entries_of
from headway.tracking.share import Share


def log_mixed(
    share: Share, metrics: Mapping[str, Any], step: int | None, stage: str | None, epoch: float | None
) -> None:
    """Log numbers and media of one moment. A disk that takes no media is said once, and counted.

    Raises:
        InvalidRequestError: A name or value is neither; nothing was logged then.
    """
    media = {plain_name(name): found for name, value in metrics.items() if (found := _as_media(value)) is not None}
    numbers = plain_values({name: value for name, value in metrics.items() if name not in media})
    moment = {"step": plain_step(step), "stage": plain_stage(stage), "epoch": plain_epoch(epoch)}
    documents = [
        {"name": name, **entry, **moment} for name, value in media.items() for entry in _kept(share, name, value)
    ]
    if numbers:
        share.recorder.write(numbers, step, stage=stage, epoch=epoch)
    for document in documents:
        share.recorder.entry(document)


def _as_media(value: Any) -> Any:
    """What :func:`headway.tracking.media.entries_of` may take; None for what can only be a number."""
    return value if isinstance(value, (list, tuple)) else as_media(value)


def _kept(share: Share, name: str, value: Any) -> list[dict[str, Any]]:
    try:
        found = entries_of(value, share.keep_blob)
    except (StorageFullError, OSError) as error:
        share.recorder.count_dropped()
        share.warn(f"the media of {name!r} could not be kept ({error})")
        return []
    if found is None:
        plain_values({name: value})  # says what is wrong with it
        raise InvalidRequestError(f"The metric {name!r} is neither a number nor media.")
    return found

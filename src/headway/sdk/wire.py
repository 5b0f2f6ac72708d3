"""Records and requests as the bytes that travel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from headway.domain.base import format_time
from headway.errors import PlatformError

M = TypeVar("M", bound=BaseModel)

DISCRIMINATORS = frozenset({"kind"})


def to_wire(value: Any) -> Any:
    """``value`` as JSON values, with the secrets in it: the one place where a request shows them, on its way to
    the server.

    Of a model only the fields that the caller set are sent, so that the server's defaults hold for the others.
    """
    if isinstance(value, BaseModel):
        names = [name for name in type(value).model_fields if name in value.model_fields_set or name in DISCRIMINATORS]
        return {name: to_wire(getattr(value, name)) for name in names}
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, Mapping):
        return {str(key): to_wire(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_wire(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy, PyTorch and their like, without importing them
        return value.tolist()
    return value


def encode(value: Any, *, allow_nan: bool = False) -> bytes:
    """``value`` as a JSON body; NaN and infinities, which JSON lacks, are refused with ValueError, or are written as the
    words ``NaN``, ``Infinity`` and ``-Infinity`` with ``allow_nan``.
    """
    text = json.dumps(to_wire(value), ensure_ascii=False, allow_nan=allow_nan, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def decode(data: bytes, what: str) -> Any:
    """A JSON body; anything else is PlatformError naming ``what``."""
    try:
        return json.loads(data) if data else None
    except (ValueError, RecursionError) as error:
        raise PlatformError(
            f"{what} answered with something that is not JSON.", hint="Is the URL that of a Headway server?"
        ) from error


def parse_record(model: type[M], values: Any, what: str) -> M:
    """What a server sent as a ``model``; PlatformError when it does not fit (a broken peer, or one of another kind)."""
    try:
        return model.model_validate(values)
    except (ValidationError, RecursionError) as error:
        raise PlatformError(
            f"{what} answered with something that is not a {model.__name__}: {_first_problem(error)}.",
            hint="Are client and server of fitting versions? `headway version` shows both.",
        ) from None


def _first_problem(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "it is nested too deeply"
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]

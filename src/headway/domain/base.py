"""What every record and request is built on: ids, times, pages, strict parsing."""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from enum import Enum
from html import escape
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError
from typing_extensions import Self

from headway.errors import InvalidRequestError

ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_LENGTH = 13


def new_id(prefix: str) -> str:
    """A random id: a short lower-case prefix that says the noun, and 65 random bits.

    >>> new_id("job").startswith("job"), len(new_id("job"))
    (True, 16)
    """
    return prefix + "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))


def is_id(value: str, prefix: str) -> bool:
    """Whether it has the form of an id with this prefix; whether anything has this id, only the server knows.

    >>> is_id(new_id("job"), "job"), is_id("job-of-mine", "job")
    (True, False)
    """
    rest = value.removeprefix(prefix)
    return len(rest) == ID_LENGTH and value == prefix + rest and all(letter in ID_ALPHABET for letter in rest)


def now() -> datetime:
    """The present moment in UTC, cut to milliseconds, which is what every record keeps."""
    moment = datetime.now(timezone.utc)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def format_time(moment: datetime) -> str:
    """ISO 8601, UTC, milliseconds, ``Z``.

    >>> format_time(datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=timezone.utc))
    '2026-01-02T03:04:05.678Z'
    """
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _in_utc(moment: datetime) -> datetime:
    """A moment without a zone is taken as UTC: mixed with others it could not be compared."""
    try:
        return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError("the time lies outside the years 1 to 9999") from None


Timestamp = Annotated[
    datetime, AfterValidator(_in_utc), PlainSerializer(format_time, return_type=str, when_used="json")
]
"""A UTC moment; JSON carries :func:`format_time`."""


def environment_text(value: object) -> str:
    """An environment value as text: booleans as ``true``/``false``, None as an empty string, the rest by ``str``.

    >>> [environment_text(v) for v in (True, None, 5, 0.1, "x")]
    ['true', '', '5', '0.1', 'x']
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ValueError(f"an environment value is text, a number, a boolean or None, not {type(value).__name__}")


MAX_VARIABLE, MAX_ENVIRONMENT = 120 << 10, 1 << 20
"""Bytes of one variable with its name, and of all together. Linux starts no program with more than 128 KiB in one."""


def check_variables(texts: Mapping[str, str]) -> None:
    """ValueError unless a program can be started with these variables. No value is quoted: it may be a secret."""
    sizes = []
    for key, text in texts.items():
        if not key or "=" in key or "\0" in key:
            raise ValueError(f"{key!r} cannot name an environment variable")
        if "\0" in text:
            raise ValueError(f"the value of {key} holds a NUL character")
        sizes.append(len(f"{key}={text}".encode("utf-8", "surrogatepass")))
        if sizes[-1] > MAX_VARIABLE:
            raise ValueError(f"the value of {key[:100]} is larger than {MAX_VARIABLE} bytes")
    if sum(sizes) > MAX_ENVIRONMENT:
        raise ValueError(f"the variables are larger than {MAX_ENVIRONMENT} bytes together")


def _environment(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    for key in value:
        if not isinstance(key, str):
            raise ValueError(f"{key!r} cannot name an environment variable")
    texts = {key: environment_text(item) for key, item in value.items()}
    check_variables(texts)
    return texts


Environment = Annotated[dict[str, str], BeforeValidator(_environment)]
"""Variable names to text; numbers, booleans and None are accepted and turned into text."""

_PRINTABLE, _SLUG = r"^[^\x00-\x1f\x7f]+$", r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$"

Name = Annotated[str, Field(min_length=1, max_length=256, pattern=_PRINTABLE)]
"""A name people give: any printable text of 1 to 256 characters."""

Slug = Annotated[str, Field(min_length=1, max_length=64, pattern=_SLUG)]
"""A name that appears in variables, URLs and directories: letters, digits, ``_ . -``."""


LabelName = Annotated[str, Field(min_length=1, max_length=256)]
LabelText = Annotated[str, Field(max_length=65_536)]
Labels = Annotated[dict[LabelName, LabelText], Field(max_length=256)]
"""Words of the user's own, kept as they are: at most 256."""

Description = Annotated[str, Field(max_length=65_536)]

REPR_ITEMS = 10


class _Count(int):
    """How a long list is shown."""

    def __repr__(self) -> str:
        return f"<{int(self)} items>"


class _Readable(BaseModel):
    """A model whose repr people can read."""

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Only what differs from the defaults, and of long lists only the length: records are read by people."""
        for name, value in super().__repr_args__():
            field = type(self).model_fields.get(name or "")
            if field is not None and not field.is_required() and value == field.default:
                continue
            yield name, _Count(len(value)) if isinstance(value, tuple) and len(value) > REPR_ITEMS else value

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks. Every text is escaped: it may be anybody's."""
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(str(name))}</th><td style='text-align:left'>{_cell(value)}</td></tr>"
            for name, value in self.__repr_args__()
        )
        return f"<table><caption>{escape(type(self).__name__)}</caption>{rows}</table>"


def _cell(value: object) -> str:
    if isinstance(value, Enum):
        value = value.value
    elif isinstance(value, datetime):
        value = format_time(value)
    return escape(value if isinstance(value, str) else repr(value))


class Record(_Readable):
    """Something the platform keeps. Frozen; unknown fields from a newer peer are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def evolve(self, **changes: Any) -> Self:
        """A copy with some fields changed (the changes are trusted, not validated)."""
        return self.model_copy(update=changes)


class Request(_Readable):
    """Something a caller sends. Unknown fields are refused with a suggestion."""

    model_config = ConfigDict(frozen=True, extra="forbid")


T = TypeVar("T")
R = TypeVar("R", bound=BaseModel)


class Page(BaseModel, Generic[T]):
    """One page of a list; ``next_cursor`` is None on the last one."""

    model_config = ConfigDict(frozen=True)
    items: tuple[T, ...] = ()
    next_cursor: str | None = None


class PageRequest(Request):
    """Which page: at most ``limit`` items (1 to 1000) after ``cursor``."""

    limit: int = Field(default=100, ge=1, le=1000)
    cursor: str | None = Field(default=None, max_length=2048)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A sentence that names the closest known word, or None when nothing is close.

    >>> did_you_mean("comand", ["command", "count"])
    "Did you mean 'command'?"
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else None


def parse_request(model: type[R], values: object, *, what: str | None = None) -> R:
    """``values`` as a ``model``; anything wrong is one :class:`InvalidRequestError` that names each field.

    Args:
        model: The request or record type.
        values: A mapping, as a keyword dict or parsed JSON.
        what: How to call the thing in the message; the model's name without it.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise invalid([dict(item) for item in found], model, what or model.__name__) from None


def invalid(problems: Iterable[Mapping[str, Any]], model: type[BaseModel] | None, what: str) -> InvalidRequestError:
    """Pydantic's list of problems as one error of ours: a line a field, with a did-you-mean for unknown ones."""
    places, lines, hint = [], [], None
    for item in problems:
        location = ".".join(str(part) for part in item["loc"])
        message = _in_words(item)
        if item["type"] == "extra_forbidden":
            hint = hint or _suggest(str(item["loc"][-1]), item["loc"], model)
        places.append({"field": location or what, "message": message})
        lines.append(f"{location}: {message}" if location else message)
    return InvalidRequestError(f"{what} is not valid: {'; '.join(lines)}.", hint=hint, details={"errors": places})


_WORDS = {
    "extra_forbidden": "unknown field",
    "missing": "is required",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "dict_type": "must be a mapping of names to values",
    "mapping_type": "must be a mapping of names to values",
    "model_type": "must be a mapping of names to values",
    "model_attributes_type": "must be a mapping of names to values",
    "string_type": "must be text",
    "string_unicode": "must be text that UTF-8 can hold",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}
"""Pydantic's types of problems in our words."""
_PATTERNS = {
    _PRINTABLE: "must not hold control characters, as NUL, tabs and line breaks are",
    _SLUG: "must be letters, digits and any of '_.-', with a letter or digit at both ends",
}
_BEGINNINGS = ("Input should be ", "must be "), ("String should have ", "must have "), ("Value error, ", "")


def _in_words(problem: Mapping[str, Any]) -> str:
    """What is wrong with a field, without the words of Python's types or of regular expressions where we know better."""
    message = str(problem["msg"])
    if problem["type"] == "string_pattern_mismatch":
        return next((words for pattern, words in _PATTERNS.items() if f"'{pattern}'" in message), message)
    if problem["type"] in _WORDS:
        return _WORDS[problem["type"]]
    for beginning, ours in _BEGINNINGS:
        if message.startswith(beginning):
            return ours + message.removeprefix(beginning)
    return message


def _suggest(word: str, location: tuple[int | str, ...], model: type[BaseModel] | None) -> str | None:
    fields: set[str] = set()
    if model is not None:
        fields = set(model.model_fields) if len(location) == 1 else _nested_fields(model)
        fields |= set(getattr(model, "input_shortcuts", ()))
    return did_you_mean(word, sorted(fields))


def _nested_fields(model: type[BaseModel], depth: int = 3) -> set[str]:
    found: set[str] = set()
    for field in model.model_fields.values():
        for part in _model_types(field.annotation):
            found |= set(part.model_fields)
            if depth:
                found |= _nested_fields(part, depth - 1)
    return found


def _model_types(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in getattr(annotation, "__args__", ()) for found in _model_types(argument)]

"""What to send under load: given, or made up to fit the model's metadata.

Format of the metadata: Open Inference Protocol v2, ``GET …/v2/models/<model>``.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from headway.errors import InvalidRequestError
from headway.sdk.endpoints import encode_input

MAX_BODY = 64 * 1024 * 1024
MAX_NUMBERS = 4_000_000
DATA_HINT = """Pass what to send: {"inputs": …} or {"instances": […]}."""
_WHOLE = {f"{kind}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)}
_REAL = {"FP16", "FP32", "FP64", "BF16"}


def read_bodies(data: Any) -> list[bytes]:
    """Bodies of requests, sent in turn.

    Args:
        data: The JSON value of one, its text, or a file with it; a file that ends with ``.jsonl`` or ``.ndjson`` has one on
            each line.

    Raises:
        InvalidRequestError: It is no JSON, or there is no such file.
    """
    if not isinstance(data, (str, Path)):
        return [encode_input(data)]
    text = str(data)
    if isinstance(data, str) and text.lstrip()[:1] in ("{", "["):
        return [_checked(text, "The data")]
    from headway.documents import read_text

    content = read_text(Path(text), limit=MAX_BODY)
    if text.endswith((".jsonl", ".ndjson")):
        lines = [(number, line) for number, line in enumerate(content.splitlines(), 1) if line.strip()]
        if not lines:
            raise InvalidRequestError(f"{text} is empty.", hint=DATA_HINT)
        return [_checked(line, f"{text}, line {number}") for number, line in lines]
    return [_checked(content, text)]


def _checked(text: str, what: str) -> bytes:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{what} is not JSON: {error}.", hint=DATA_HINT) from None
    return text.encode("utf-8", "surrogatepass")


def made_up(metadata: Any, *, rows: int = 1, seed: int = 0) -> bytes:
    """A body with random numbers that fit what the model says of its inputs.

    Raises:
        InvalidRequestError: It says too little, or takes something that cannot be made up.
    """
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
        raise InvalidRequestError(f"rows must be a number from 1, not {rows!r}.")
    inputs = metadata.get("inputs") if isinstance(metadata, dict) else None
    if not isinstance(inputs, list) or not inputs or not all(isinstance(each, dict) for each in inputs):
        raise InvalidRequestError("The model does not say what it takes.", hint=DATA_HINT)
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    values = {str(each.get("name")): _value(each, rows, chance) for each in inputs}
    return encode_input({"inputs": values if len(values) > 1 else next(iter(values.values()))})


def _value(tensor: dict[str, Any], rows: int, chance: random.Random) -> Any:
    kind, name = str(tensor.get("datatype")), tensor.get("name")
    number = _numbers(kind, chance)
    if number is None:
        raise InvalidRequestError(f"The input {name!r} is of type {kind}, which cannot be made up.", hint=DATA_HINT)
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(isinstance(size, int) for size in shape):
        raise InvalidRequestError(f"The model does not say the shape of its input {name!r}.", hint=DATA_HINT)
    sizes = [rows if place == 0 and size < 0 else size for place, size in enumerate(shape)]
    if any(size < 0 for size in sizes):
        raise InvalidRequestError(f"The input {name!r} has the shape {shape}, which may be anything.", hint=DATA_HINT)
    if math.prod(sizes) > MAX_NUMBERS:
        raise InvalidRequestError(f"The input {name!r} has more than {MAX_NUMBERS} numbers.", hint="Take fewer rows.")
    return _filled(sizes, number)


def _numbers(kind: str, chance: random.Random) -> Callable[[], Any] | None:
    if kind in _REAL:
        return lambda: round(chance.random(), 4)
    if kind in _WHOLE:
        return lambda: chance.randrange(8)
    return (lambda: chance.random() < 0.5) if kind == "BOOL" else None


def _filled(sizes: Sequence[int], number: Callable[[], Any]) -> Any:
    return number() if not sizes else [_filled(sizes[1:], number) for _ in range(sizes[0])]

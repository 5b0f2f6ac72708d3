"""The protocol of MLflow's scoring server: ``/invocations``.

Source: MLflow's documentation "Deploy MLflow Model as a Local Inference Server". JSON has exactly one of
``dataframe_split``, ``dataframe_records``, ``instances`` and ``inputs``; CSV has a line of names first. The answer is
``{"predictions": …}``; errors are ``{"error_code": code, "message": text}``.
"""

from __future__ import annotations

import csv
import io
import math
from typing import Any

from headway.serving.encoding import dumps
from headway.serving.http.messages import Headers, Request, Response, json_response
from headway.serving.protocols.base import BadRequestError, Call, ModelState, Served, Target
from headway.serving.protocols.bodies import document_of
from headway.serving.protocols.results import as_columns, as_rows
from headway.serving.protocols.values import Reader, call_without_signature, reader_of, transposed
from headway.serving.release import release
from headway.serving.runtimes.base import LoadedModel

SPLIT, RECORDS = "dataframe_split", "dataframe_records"
FRAMES = frozenset({SPLIT, RECORDS})
FORMS = (SPLIT, RECORDS, "instances", "inputs")
CSV = b"text/csv"

Frame = tuple[list[str], list[list[Any]]]
"""Names of columns, all different, and rows with a value for each."""

ERROR_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}
_MISSING = frozenset({"", "NaN", "nan", "NA", "null"})


class InvocationsWire:
    """Reads and writes the bodies of MLflow's scoring server."""

    def __init__(self, served: Served) -> None:
        self.served = served

    def read(self, model: LoadedModel, request: Request, target: Target) -> Call:
        media = (request.header(b"content-type") or b"").partition(b";")[0].strip().lower()
        if media == CSV:
            return self._frame_call(model, *_frame_in_csv(model, request.body))
        return self.read_document(model, document_of(request.body), target)

    def read_document(self, model: LoadedModel, document: Any, target: Target) -> Call:  # noqa: ARG002
        """The call in a body that was parsed."""
        if not isinstance(document, dict):
            raise BadRequestError(f"The body must be an object with one of the fields {_listed(FORMS)}.")
        if document.get("params"):
            raise BadRequestError("The model takes no 'params'.")
        forms = [form for form in FORMS if form in document]
        if len(forms) != 1:
            found = _listed(forms or list(document)[:10]) or "none"
            raise BadRequestError(f"The body must have exactly one of the fields {_listed(FORMS)}; it has {found}.")
        form, value = forms[0], document[forms[0]]
        if form in FRAMES:
            return self._frame_call(model, *(_split_in(value) if form == SPLIT else _records_in(value)))
        return self._tensor_call(model, form, value)

    def _frame_call(self, model: LoadedModel, names: list[str], rows: list[list[Any]]) -> Call:
        """The call for a data frame; a model without signature gets its rows as objects."""
        if model.signature is None:
            call = call_without_signature(model, [dict(zip(names, row, strict=True)) for row in rows])
        else:
            call = reader_of(model.signature).of_frame(names, rows)
        call.note, call.wire = as_rows, self
        return call

    def _tensor_call(self, model: LoadedModel, form: str, value: Any) -> Call:
        if form == "instances" and not (isinstance(value, list) and value):
            raise BadRequestError("'instances' must be a list of rows, and not empty")
        if model.signature is None:
            call = call_without_signature(model, value)
        else:
            reader: Reader = reader_of(model.signature)
            by_row = isinstance(value, list) and bool(value) and isinstance(value[0], dict)
            call = reader.of_rows(value) if by_row or form == "instances" else reader.of_value(value)
        call.note, call.wire = as_rows if form == "instances" else as_columns, self
        return call

    def write(self, model: LoadedModel, call: Call, result: Any) -> Response:
        shaped = call.note(result, bare=model.signature is not None)
        return Response(200, dumps({"predictions": shaped}))

    def fail(self, status: int, text: str, *, headers: Headers = ()) -> Response:
        code = ERROR_CODES.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR")
        text = text.encode("utf-8", "replace").decode()
        return json_response(status, {"error_code": code, "message": text}, headers=headers)

    def describe(self, target: Target, model: LoadedModel | None, state: ModelState) -> Response:  # noqa: ARG002
        if target.verb == "server":
            return Response(200, release().encode("ascii"), content_type="text/plain; charset=utf-8")
        ready = state is ModelState.AVAILABLE
        return Response(200 if ready else 503, b"\n", content_type="application/json")


def _split_in(value: Any) -> Frame:
    """``{"columns": [name, …], "data": [[value, …], …]}``; an ``index`` is ignored, as MLflow does."""
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise BadRequestError(f"'{SPLIT}' must be an object with 'columns' and 'data'")
    rows = value["data"]
    if not rows:
        raise BadRequestError("there are no rows")
    names = value.get("columns")
    if names is None and isinstance(rows[0], list):
        names = list(range(len(rows[0])))
    if not isinstance(names, list) or not all(isinstance(name, (str, int)) for name in names):
        raise BadRequestError(f"'columns' of '{SPLIT}' must be a list of names")
    names = [str(name) for name in names]
    if len(set(names)) != len(names):
        raise BadRequestError("a column is there twice")
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            found = len(row) if isinstance(row, list) else "none"
            raise BadRequestError(f"row {number} must have {len(names)} values, it has {found}")
    return names, rows


def _records_in(value: Any) -> Frame:
    """``[{name: value, …}, …]``."""
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        raise BadRequestError(f"'{RECORDS}' must be a list of objects, and not empty")
    columns = transposed(value)
    return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]


def _frame_in_csv(model: LoadedModel, body: bytes) -> Frame:
    """The rows of a CSV text, whose first line has names. Cells become numbers unless their input holds texts."""
    try:
        lines = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadRequestError(f"The body is no CSV: {error}") from None
    lines = [line for line in lines if line]
    if len(lines) < 2:
        raise BadRequestError("The CSV must have a line of names and at least one row.")
    names, rows = _split_in({"columns": lines[0], "data": lines[1:]})
    as_text = [_is_text(model, name) for name in names]
    return names, [[cell if text else _cell(cell) for cell, text in zip(row, as_text, strict=True)] for row in rows]


def _is_text(model: LoadedModel, column: str) -> bool:
    """Whether a column's cells are for an input of texts: the one of its name, or the model's only one."""
    specs = () if model.signature is None else model.signature.inputs
    named = [spec for spec in specs if spec.name == column] or (specs if len(specs) == 1 else ())
    return any(spec.dtype == "object" and not spec.mixed for spec in named)


def _cell(text: str) -> Any:
    """A number where it is one, as data frames read it: digits without a point stay whole and exact."""
    if text in _MISSING:
        return math.nan
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return {"true": True, "false": False}.get(text.lower(), text)


def _listed(names: Any) -> str:
    return ", ".join(repr(str(name)[:50]) for name in names)

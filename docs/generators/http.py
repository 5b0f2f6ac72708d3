"""docs/reference/http.md: every route of the assembled server with the right that it asks for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute

from generators.markdown import code, prose, table
from headway.server.api.rights import right_of
from headway.server.app import api_routers, create_app
from headway.server.settings import ServerSettings

INTRODUCTION = """# The HTTP API

Every request carries `Authorization: Bearer <token>` except `GET /health` and `GET /ready`. Bodies are JSON unless the
route says otherwise; unknown fields are refused. What a token may not see is 404; what it may see and not do is 403.
Lists take `limit` and `cursor` and answer `{"items": [...], "next_cursor": ...}`. Creates take `Idempotency-Key`: the
same key and body give the same answer for a day. Every answer has `X-Request-Id`. Errors: [errors.md](errors.md).
Records: [records.md](records.md). The same as OpenAPI: `GET /openapi.json`.

Rights are on the project of the thing that is asked for: a viewer has `read`, a member also `write`, an admin also
`manage`; `server_admin` is a right on the server. Unless a kind of token is named, the route takes users' tokens only.
`.../stream` routes, and `/api/v1/events` with `Accept: text/event-stream`, answer server-sent events
([internals/contracts.md](../internals/contracts.md), section 3).
"""


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document of a server that is assembled and not started."""
    with tempfile.TemporaryDirectory(prefix="headway-docs-") as directory:
        server = create_app(ServerSettings(data=Path(directory)), "http://127.0.0.1:8473")
        try:
            return server.api.openapi()
        finally:
            server.close()


def routes() -> Iterator[tuple[str, str, APIRoute]]:
    """``(verb, path, route)`` of everything that the server answers, in the order of the code."""
    for prefix, router in api_routers():
        for route in router.routes:
            assert isinstance(route, APIRoute)
            for verb in sorted(route.methods - {"HEAD"} or route.methods):
                yield verb, prefix + route.path, route


def page() -> str:
    parts, tag = [INTRODUCTION], ""
    for verb, path, route in routes():
        here = str((route.tags or ["system"])[0])
        if here != tag:
            tag = here
            parts.append(f"## {tag.capitalize()}\n")
        parts.append(_route(verb, path, route))
    return "\n".join(parts)


def _route(verb: str, path: str, route: APIRoute) -> str:
    operation = document()["paths"].get(path, {}).get(verb.lower(), {})
    parts = [f"### {verb} {path}\n"]
    if route.description:
        parts.append(prose(route.description) + "\n")
    parts.append(f"Right: {_right(route)}. {_body(operation)}Answer: {_answer(route, operation)}.\n")
    rows = [(code(p["name"]), p["in"], _type(p["schema"]), _default(p)) for p in operation.get("parameters", ())]
    if rows:
        parts.append(table(("parameter", "in", "type", "default"), rows))
    return "\n".join(parts)


def _right(route: APIRoute) -> str:
    found = right_of(route)
    if found is None:
        return "none, it is open"
    kinds = sorted(kind.value for kind in found.kinds)
    told = "" if kinds == ["user"] else f" (tokens: {', '.join(kinds)})"
    return (code(found.permission.value) if found.permission else "checked by the action") + told


def _body(operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    names = [_type(media.get("schema", {})) for media in content.values()]
    return f"Body: {', '.join(names)}. " if names else ""


def _answer(route: APIRoute, operation: dict[str, Any]) -> str:
    status = route.status_code or 200
    content = operation.get("responses", {}).get(str(status), {}).get("content", {})
    shown = _type(content.get("application/json", {}).get("schema", {}))
    return f"{status} {shown}".strip()


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2].removesuffix("-Input").removesuffix("-Output")
        return _page_of(name) if name.startswith("Page_") else f"[`{name}`](records.md#{name.lower()})"
    if "anyOf" in schema:
        kinds = [_type(part) for part in schema["anyOf"] if part.get("type") != "null"]
        return " or ".join(kinds)
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", ""))


def _page_of(name: str) -> str:
    inner = name.removeprefix("Page_").removesuffix("_")
    return f"page of [`{inner}`](records.md#{inner.lower()})"


def _default(parameter: dict[str, Any]) -> str:
    if parameter.get("required"):
        return "required"
    default = parameter["schema"].get("default")
    return "" if default is None else code(str(default).lower() if isinstance(default, bool) else str(default))

"""docs/reference/errors.md: every class with its code, HTTP status and exit code."""

from __future__ import annotations

import textwrap

from generators.markdown import code, first_sentence, prose, table
from headway import errors
from headway.cli.errors import exit_code


def page() -> str:
    tree = textwrap.dedent((errors.__doc__ or "").partition("::\n\n")[2].partition("\n\nEach class")[0])
    return "\n".join(
        [
            "# Errors\n",
            "The server answers errors as problem JSON (RFC 9457, `application/problem+json`) with `code`, `status`,",
            "`title`, `detail`, often `hint` and `details`, and `request_id`. The SDK raises the class of that code; the",
            "command `headway` prints one line and ends with the exit code. Compare codes, not texts.\n",
            f"```text\n{tree.replace('``', '').strip()}\n```\n",
            table(("class", "code", "HTTP", "exit code", "meaning"), _rows()),
            "## What every error carries\n",
            prose(errors.HeadwayError.__doc__).partition(">>>")[0].strip() + "\n",
        ]
    )


def _rows() -> list[tuple[str, ...]]:
    return [
        (code(kind.__name__), code(name), str(kind.status), str(_exit(kind)), first_sentence(kind.__doc__))
        for name, kind in errors.ERRORS_BY_CODE.items()
    ]


def _exit(kind: type[errors.HeadwayError]) -> int:
    return exit_code(kind.__new__(kind))

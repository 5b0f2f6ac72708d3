"""The command ``headway``: every noun in its own file, one boundary for errors."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from headway.cli import (
    account,
    artifact,
    catalogue,
    deploy,
    errors,
    event,
    importing,
    instance_type,
    job,
    lineage,
    model,
    monitor,
    object,
    overview,
    predict,
    processes,
    project,
    sweep,
    sync,
    token,
    up,
    user,
)
from headway.cli import run as tracked

app = typer.Typer(
    name="headway",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

for single in (up, account, overview, sync, predict, processes):
    single.register(app)
app.add_typer(project.app, name="project")
app.add_typer(tracked.app, name="run")
app.add_typer(importing.app, name="import")
app.add_typer(job.app, name="job")
app.command("logs")(job.logs)
app.add_typer(model.app, name="model")
app.add_typer(monitor.app, name="monitor")
app.add_typer(artifact.app, name="artifact")
app.add_typer(object.app, name="object")
lineage.register(app)
app.add_typer(deploy.app, name="deploy")
app.add_typer(instance_type.app, name="instance-type")
app.add_typer(catalogue.app, name="catalogue")
app.add_typer(sweep.app, name="sweep")
app.add_typer(event.app, name="event")
app.add_typer(user.app, name="user")
app.add_typer(token.app, name="token")


def _print_version(asked: bool) -> None:
    if asked:
        from headway import __version__

        typer.echo(f"headway {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train, track and serve models."""


def main() -> NoReturn:
    """Run one command and exit with the code that errors.py lists; no traceback reaches the user."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = errors.READER_GONE
    if code == errors.READER_GONE:
        _silence_stdout()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command; answers its exit code."""
    from headway.errors import HeadwayError

    try:
        return int(app(arguments, prog_name="headway", standalone_mode=False) or 0)
    except HeadwayError as error:
        return errors.report(error)
    except KeyboardInterrupt:
        return errors.INTERRUPTED
    except BrokenPipeError:
        return errors.READER_GONE
    except typer.Abort as abort:
        return errors.INTERRUPTED if isinstance(abort.__cause__, KeyboardInterrupt) else errors.FAILED
    except Exception as error:  # noqa: BLE001 - the boundary: a fault becomes one line
        return _usage_error(error) if hasattr(error, "exit_code") else errors.report_fault(error)


def _usage_error(error: Exception) -> int:
    """An option or argument that the parser refused, on one line."""
    context = getattr(error, "ctx", None)
    format_message = getattr(error, "format_message", None)
    message = str(format_message() if format_message else error).rstrip(".")
    if not message:  # no arguments: the help was asked for by saying nothing
        show = getattr(error, "show", None)
        if show is not None:
            show()
        return errors.WRONG_REQUEST
    hint = f" See `{context.command_path} --help`." if context is not None else ""
    stop = "" if message.endswith(("?", ")", "!")) else "."
    errors.write_error(f"error: {message}{stop}{hint}")
    return errors.WRONG_REQUEST


def _silence_stdout() -> None:
    """Point stdout to nowhere, so that the interpreter's last flush has nothing to complain about."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

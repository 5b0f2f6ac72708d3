"""Every command block of the README and the guide is run, as a new user would run it, and prints what it shows.

Blocks of the languages ``bash``, ``console`` (lines after ``$`` are commands, the others are what they print) and
``python`` are run, in order, in one shell. An HTML comment on the line before a block says what is special about it:

=================================  =====================================================================================
``<!-- test: server -->``          the block starts the server; the test's own server stands for it
``<!-- test: stdin token -->``     the commands read the admin token from standard input
``<!-- test: file NAME -->``       the block, of any language, is what a file holds
``<!-- test: exits CODE -->``      the block ends with this exit code
``<!-- test: skip, REASON -->``    not run
=================================  =====================================================================================

In a block ``http://127.0.0.1:8473`` stands for the server's address and ``hw_…`` for the admin token. In what is printed
``…`` stands for any text, and a line of its own for any lines.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from headway.testing.server import ServerProcess

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "examples" / "digits" / "README.md",
    *sorted((ROOT / "docs" / "guide").glob("*.md")),
]
SECONDS = 240


SERVER_URL, TOKEN = "http://127.0.0.1:8473", "hw_…"
RUN = ("bash", "console", "python")
BLOCK = re.compile(
    r"^(?:<!-- test: (?P<note>[^\n]*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    line: int
    language: str
    text: str
    note: str = ""

    @property
    def skipped(self) -> bool:
        return self.note.startswith("skip,") or (self.language not in RUN and not self.note.startswith("file "))

    @property
    def starts_server(self) -> bool:
        return self.note == "server"


@dataclass(frozen=True)
class Step:
    """One command or block to run, and what it prints if the document says so."""

    block: Block
    script: str
    printed: str | None = None


def read_blocks(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    return [
        Block(text.count("\n", 0, match.start()) + 1, match["language"], match["text"], match["note"] or "")
        for match in BLOCK.finditer(text)
    ]


def steps_of(block: Block) -> list[Step]:
    """What running the block means."""
    if block.note.startswith("file "):
        name = block.note.removeprefix("file ").strip()
        return [Step(block, f"cat > {shlex.quote(name)} <<'END-OF-BLOCK'\n{block.text}END-OF-BLOCK\n")]
    if block.language == "python":
        return [Step(block, f"python - <<'END-OF-BLOCK'\n{block.text}END-OF-BLOCK\n")]
    if block.language == "bash":
        return [Step(block, block.text)]
    return _commands(block)


def _commands(block: Block) -> list[Step]:
    """Each ``$`` line, with the lines that it continues on, and the lines it is to print."""
    found: list[tuple[list[str], list[str]]] = []
    continued = False
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(([line[2:]], []))
        elif continued:
            found[-1][0].append(line)
        else:
            found[-1][1].append(line)
        continued = line.endswith("\\") and (line.startswith("$ ") or continued)
    return [Step(block, "\n".join(command) + "\n", "\n".join(printed)) for command, printed in found]


def matches(expected: str, printed: str) -> bool:
    """Whether a document's idea of the output fits what was printed, trailing space aside."""
    lines = [r"(?:.*\n)*?" if line.strip() == "…" else _line(line) + r"\n" for line in expected.splitlines()]
    actual = "".join(line.rstrip() + "\n" for line in printed.splitlines())
    return re.fullmatch("".join(lines), actual) is not None


def _line(line: str) -> str:
    """Columns move with what is in them, so any run of spaces stands for any other."""
    parts = [re.sub(r"(?:\\ )+", r"[ ]+", re.escape(part)) for part in line.rstrip().split("…")]
    return ".*".join(parts)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An account that has never seen Headway."""
    found = tmp_path / "home"
    found.mkdir()
    return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data") as started:
        yield started


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_can_be_followed_literally(document: Path, home: Path, server: ServerProcess) -> None:
    blocks = [block for block in read_blocks(document) if not block.skipped and not block.starts_server]
    steps = [step for block in blocks for step in steps_of(block)]
    Shell(document, home, server).run(steps)


def test_output_is_compared_with_room_for_what_differs() -> None:
    assert matches("job… queued", "job7f3a queued\n")
    assert matches("first\n…\nlast", "first\na\nb\nlast\n")
    assert matches("NAME  STATE\na     running", "NAME STATE\na    running\n")
    assert not matches("job… queued", "job7f3a failed\n")
    assert not matches("first\nlast", "first\na\nlast\n")


def test_every_block_says_what_it_is() -> None:
    """A typing error in a note must not leave a block unrun."""
    known = ("server", "stdin token", "file ", "exits ", "skip, ")
    for document in DOCUMENTS:
        for block in read_blocks(document):
            where = f"{document.relative_to(ROOT)}:{block.line}"
            assert block.language, f"{where}: the block names no language"
            assert not block.note or block.note.startswith(known), f"{where}: unknown note {block.note!r}"
            assert block.language not in ("sh", "shell"), f"{where}: write bash, so that it is run"


class Shell:
    """One bash that runs the steps of a document, each with its output in a file."""

    def __init__(self, document: Path, home: Path, server: ServerProcess) -> None:
        self.document, self.home, self.server = document, home, server

    def run(self, steps: list[Step]) -> None:
        scripts = self.home.parent / "steps"
        scripts.mkdir()
        (scripts / "token").write_text(self.server.token + "\n")
        lines = ["set -eo pipefail"]
        for number, step in enumerate(steps):
            (scripts / f"{number}.sh").write_text(self._filled(step.script))
            lines += [f"echo {number} > {scripts}/present", *self._call(step, scripts, number)]
        shell = subprocess.run(
            ["bash", "-c", "\n".join(lines)],
            cwd=self.document.parent if self.document.name == "README.md" else self.home,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )
        self._compare(steps, scripts, failed=shell.returncode != 0)

    def _call(self, step: Step, scripts: Path, number: int) -> list[str]:
        source = f"source {scripts}/{number}.sh > {scripts}/{number}.out 2>&1"
        if step.block.note == "stdin token":
            return [f"{source} < {scripts}/token"]
        if step.block.note.startswith("exits "):
            code = int(step.block.note.removeprefix("exits "))
            return ["set +e", f"(set -e; {source})", f"test $? = {code} || exit 1", "set -e"]
        return [source]

    def _filled(self, script: str) -> str:
        return script.replace(SERVER_URL, self.server.url).replace(TOKEN, self.server.token)

    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        kept = {name: os.environ[name] for name in ("TMPDIR", "SSL_CERT_FILE") if name in os.environ}
        return {**kept, "PATH": path, "HOME": str(self.home), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}

    def _compare(self, steps: list[Step], scripts: Path, *, failed: bool) -> None:
        last = int((scripts / "present").read_text()) if steps else -1
        for number, step in enumerate(steps[: last + 1]):
            printed = (scripts / f"{number}.out").read_text()
            where = f"{self.document.relative_to(ROOT)}:{step.block.line}"
            if failed and number == last:
                pytest.fail(f"{where}: this failed:\n{step.script}\nIt printed:\n{printed}")
            if step.printed and not matches(self._filled(step.printed), printed):
                pytest.fail(f"{where}: {step.script.strip()}\nshows:\n{step.printed}\n\nbut printed:\n{printed}")

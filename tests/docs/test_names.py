"""What the documents name exists: paths, Python names, links, and the anchors that links point to."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "headway"
NAMED = [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs" / "internals").glob("*.md")]
NAMED += (ROOT / "docs" / "decisions").glob("*.md")
WRITTEN = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
FENCE = re.compile(r"^(?:<!--[^\n]*-->\n)?```.*?^```$", re.MULTILINE | re.DOTALL)
PARTS = sorted(path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists())
PATH = re.compile(r"[\w.-]+(?:/[\w.-]*)*(?:/|\.(?:py|md|toml|txt|yaml|json|log|db|key))")
NAME = re.compile(rf"(?:headway\.)?(?:{'|'.join(PARTS)})(?:\.\w+)+")
RUN_TIME = (
    "../",
    "build/",
    "blobs/",
    "segments/",
    "gateway/",
    "engine/",
    "journal/",
    "model/",
    "workspace/",
    "git/",
    "log/",
    "worker-0/",
)
"""Directories that exist only where something runs or was built."""


def code_spans(document: Path) -> Iterator[str]:
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    for span in re.findall(r"`([^`\n]+)`", text):
        yield span.removesuffix("()")


@pytest.mark.parametrize("document", NAMED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_in_a_document_exists(document: Path) -> None:
    paths = [s for s in code_spans(document) if PATH.fullmatch(s) and "/" in s and not s.startswith(RUN_TIME)]
    missing = [path for path in paths if not any((base / path).exists() for base in (ROOT, PACKAGE))]
    assert not missing


@pytest.mark.parametrize("document", NAMED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_python_name_in_a_document_exists(document: Path) -> None:
    names = [span for span in code_spans(document) if NAME.fullmatch(span) and not PATH.fullmatch(span)]
    assert [name for name in names if not resolves(name.removeprefix("headway."))] == []


def test_the_checks_find_what_is_wrong(tmp_path: Path) -> None:
    assert not resolves("server.actions.jobs.no_such_verb")
    assert not resolves("server.no_such_module.create")
    assert resolves("server.actions.jobs.create")
    assert resolves("agent.capture.Capture")
    assert len([span for span in code_spans(ROOT / "ARCHITECTURE.md") if NAME.fullmatch(span)]) > 40


def resolves(name: str) -> bool:
    """Whether a dotted name below ``headway`` is a module, or an attribute of one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = "headway." + ".".join(parts[:length])
        try:
            found: object = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            fields = getattr(found, "model_fields", {})
            if not hasattr(found, attribute) and attribute not in fields:
                return False
            found = getattr(found, attribute, fields.get(attribute))
        return True
    return False


@pytest.mark.parametrize("document", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(document: Path) -> None:
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = document.parent / path if path else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def anchors(document: Path) -> set[str]:
    """The anchors that a Markdown viewer gives to headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_architecture_page_has_a_line_for_every_part_of_the_package() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert [part for part in PARTS if not part.startswith("__") and f"`{part}" not in text] == []


def test_every_make_target_that_is_named_exists_and_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())  # type: ignore[index]
    documents = "\n".join(path.read_text(encoding="utf-8") for path in WRITTEN)
    named = set(re.findall(r"`?make ([a-z][a-z-]*)`", documents))
    assert named <= targets
    assert {target for target in targets if f"make {target}" not in makefile} == set()

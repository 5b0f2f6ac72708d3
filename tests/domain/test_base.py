"""Strict requests, generous records, and how both look."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.domain.base import now, parse_request
from headway.domain.files import FileEntry, check_manifest, check_path, manifest_digest
from headway.domain.jobs import FINISHED_STATES, JOB_MOVES, JobCreate, JobState
from headway.domain.projects import Project
from headway.domain.runs import RunCreate
from headway.errors import InvalidRequestError


def project(name: str) -> Project:
    return Project(id="prj1", name=name, created_at=now(), created_by="usr1")


def test_an_unknown_field_is_refused_with_a_suggestion_and_its_place() -> None:
    values = {"name": "j", "project": "p", "roles": {"worker": {"command": "x", "cout": 2}}}
    with pytest.raises(InvalidRequestError, match="Did you mean 'count'") as caught:
        parse_request(JobCreate, values)
    assert caught.value.details["errors"] == [{"field": "roles.worker.cout", "message": "unknown field"}]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"labels": "abc"}, "labels: must be a list."),
        ({"name": "a\0b"}, "name: must not hold control characters, as NUL, tabs and line breaks are."),
        ({"config": 3}, "config: must be a mapping of names to values."),
        ({"name": 3}, "name: must be text."),
    ],
)
def test_what_is_wrong_is_said_in_words(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_request(RunCreate, {"project": "p", **fields}, what="The run")
    assert caught.value.message == f"The run is not valid: {words}"


def test_a_record_of_a_newer_server_is_read_all_the_same() -> None:
    known = project("p")
    text = known.model_dump_json().replace("{", '{"invented_later": 1, ', 1)
    assert Project.model_validate_json(text) == known


def test_shortcuts_are_defaults_for_roles_that_lack_them() -> None:
    values = {"name": "j", "project": "p", "command": "a", "count": 2, "roles": {"worker": {}, "ps": {"command": "b"}}}
    roles = parse_request(JobCreate, values).roles
    assert {name: (role.count, role.command[-1]) for name, role in roles.items()} == {
        "worker": (2, "a"),
        "ps": (2, "b"),
    }


def test_a_secret_is_in_no_repr_and_in_no_json() -> None:
    values = {"name": "j", "project": "p", "command": "x", "secrets": {"KEY": "canary"}}
    request = parse_request(JobCreate, values)
    assert "canary" not in repr(request) + request.model_dump_json() + repr(request.to_spec()) + request._repr_html_()


def test_a_record_in_a_notebook_is_a_table_and_its_text_is_never_html() -> None:
    html = project("<script>alert(1)</script>")._repr_html_()
    assert html.startswith("<table>")
    assert "&lt;script&gt;" in html
    assert "<script>" not in html


def test_every_state_can_be_left_or_is_an_end_and_every_end_is_reached() -> None:
    assert set(JOB_MOVES) == set(JobState)
    reached = {target for targets in JOB_MOVES.values() for target in targets}
    assert reached >= FINISHED_STATES
    assert all(JOB_MOVES[state] for state in JobState if not state.finished)


@given(st.text(max_size=30))
def test_a_path_that_is_accepted_stays_below_its_root(path: str) -> None:
    try:
        check_path(path)
    except ValueError:
        return
    assert not path.startswith("/")
    assert not {"", ".", ".."} & set(path.split("/"))
    assert "\0" not in path


def entry(path: str, digest: str = "a" * 64) -> FileEntry:
    return FileEntry(path=path, digest=digest, size=1)


def test_a_manifest_names_each_path_once_and_no_file_is_a_directory() -> None:
    assert [e.path for e in check_manifest([entry("b"), entry("a/c")])] == ["a/c", "b"]
    for paths in (["a", "a"], ["a", "a/b"], ["a/b/c", "a"]):
        with pytest.raises(InvalidRequestError):
            check_manifest([entry(path) for path in paths])


def test_the_digest_of_a_manifest_depends_on_names_and_contents_and_not_on_order() -> None:
    one, two = entry("a"), entry("b", "b" * 64)
    assert manifest_digest([one, two]) == manifest_digest([two, one])
    assert len({manifest_digest(found) for found in ([one], [two], [one, two], [entry("a", "b" * 64)])}) == 4

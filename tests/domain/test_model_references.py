"""What a reference to a model version means, and what cannot be one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from headway.domain.model_references import VersionReference, is_number, parse_reference
from headway.domain.models import GitInfo, VersionName
from headway.errors import InvalidRequestError

PLAIN = st.text("abcXYZ019_.-", min_size=1, max_size=20)
VERSION_NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._+-]{0,63}\Z").filter(lambda name: not is_number(name))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("digits", ("digits",)),
        ("models:/digits", ("digits",)),
        ("digits:latest", ("digits",)),
        ("digits@latest", ("digits",)),
        ("models:/digits/latest", ("digits",)),
        ("digits:v3", ("digits", 3)),
        ("digits:3", ("digits", 3)),
        ("models:/digits/3", ("digits", 3)),
        ("models:/digits/v3", ("digits", 3)),
        ("models:/a/b/3", ("a/b", 3)),
        ("models:/digits/1.0.3", ("digits", None, "1.0.3")),
        ("digits:1.0.3", ("digits", None, "1.0.3")),
        ("digits:2026-11-beta+1", ("digits", None, "2026-11-beta+1")),
        ("models:/digits@champion", ("digits", None, None, "champion")),
        ("digits@champion", ("digits", None, None, "champion")),
        ("me@home@champion", ("me@home", None, None, "champion")),
    ],
)
def test_every_form_of_a_reference(text: str, meaning: tuple[object, ...]) -> None:
    assert parse_reference(text) == VersionReference(*meaning)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "models:/",
        "@champion",
        "digits@",
        "models:/@",
        ":3",
        "models://3",
        "digits:0",
        "digits:v0",
        "a:b c",
        "digits:1234567890",
    ],
)
def test_what_names_no_version_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_reference(text)
    assert "models:/name/3" in str(caught.value.hint)


@given(PLAIN, st.integers(1, 999_999_999))
def test_a_number_is_found_whatever_the_form(model: str, number: int) -> None:
    forms = [f"models:/{model}/{number}", f"models:/{model}/v{number}", f"{model}:{number}", f"{model}:v{number}"]
    assert {parse_reference(form) for form in forms} == {VersionReference(model, number)}


@given(PLAIN, VERSION_NAMES)
def test_a_version_name_is_found_whatever_the_form(model: str, name: str) -> None:
    expected = VersionReference(model, version_name=name)
    try:
        TypeAdapter(VersionName).validate_python(name)
    except ValueError:
        with pytest.raises(InvalidRequestError):
            parse_reference(f"{model}:{name}")
        return
    assert parse_reference(f"models:/{model}/{name}") == parse_reference(f"{model}:{name}") == expected


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_refused_and_tells_versions_apart_in_one_way(text: str) -> None:
    try:
        found = parse_reference(text)
    except InvalidRequestError:
        return
    assert found.model
    assert sum(part is not None for part in found[1:]) <= 1
    assert found.number is None or found.number >= 1


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://me:hunter2@example.org/code.git", "https://example.org/code.git"),
        ("https://token@example.org/code.git", "https://example.org/code.git"),
        ("https://example.org/code.git?access_token=hunter2", "https://example.org/code.git?access_token=[redacted]"),
        ("ssh://git@example.org/code.git", "ssh://git@example.org/code.git"),
        ("ssh://git:hunter2@example.org/code.git", "ssh://git@example.org/code.git"),
        ("git@example.org:code.git", "git@example.org:code.git"),
    ],
)
def test_the_url_of_code_keeps_no_credentials(given: str, kept: str) -> None:
    assert GitInfo(url=given).url == kept
    assert "hunter2" not in repr(GitInfo(url=given)) + GitInfo(url=given).model_dump_json()

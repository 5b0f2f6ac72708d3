"""Models and versions by what their makers say of them: names, aliases, labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.domain.base import PageRequest, new_id
from headway.domain.models import ModelVersion
from headway.errors import ConflictError
from headway.storage.base import Storage
from headway.testing import factories as make
from headway.testing.storage.fixtures import StorageFixtures, on_one_storage

ALL = PageRequest(limit=1000)


def add_versions(
    storage: Storage, name: str, described: Sequence[dict[str, Any]], **aliases: int
) -> list[ModelVersion]:
    """A model with a version for each of ``described``, numbered from 1."""
    model = make.make_model(project_id="p", name=name, latest_version=len(described), aliases=aliases)
    versions = [
        make.make_model_version(project_id="p", model_id=model.id, name=name, version=number, **fields)
        for number, fields in enumerate(described, 1)
    ]
    with storage.write() as session:
        session.models.add(model)
        for version in versions:
            session.model_versions.add(version)
    return versions


def found(storage: Storage, **filters: Any) -> set[str]:
    with storage.read() as session:
        return {version.id for version in session.model_versions.list(ALL, **filters).items}


class RegistryContract(StorageFixtures):
    def test_a_version_is_found_by_its_name_in_its_model(self, storage: Storage) -> None:
        one, two = add_versions(storage, "digits", [{"version_name": "1.0"}, {}])
        (other,) = add_versions(storage, "letters", [{"version_name": "1.0"}])
        for opened in (storage.read(), storage.write()):
            with opened as session:
                assert session.model_versions.by_version_name(one.model_id, "1.0") == one
                assert session.model_versions.by_version_name(other.model_id, "1.0") == other
                assert session.model_versions.by_version_name(one.model_id, "1.1") is None
        assert found(storage, version_name="1.0") == {one.id, other.id}
        assert found(storage, version_name="1.0", model_id=one.model_id) == {one.id}
        assert two.id not in found(storage, version_name="1.0")

    def test_two_versions_of_a_model_have_different_names_or_none(self, storage: Storage) -> None:
        one, _, _ = add_versions(storage, "digits", [{"version_name": "1.0"}, {}, {}])
        again = make.make_model_version(model_id=one.model_id, version=4, version_name="1.0", labels={"a": "b"})
        with storage.write() as session:
            with pytest.raises(ConflictError, match=r"1\.0"):
                session.model_versions.add(again)
            session.model_versions.add(again.evolve(version_name="1.1"))
            with pytest.raises(ConflictError, match=r"1\.0"):
                session.model_versions.put(again)
        assert found(storage, version_name="1.1") == {again.id}

    def test_versions_are_found_by_their_labels(self, storage: Storage) -> None:
        described = [{"stage": "production", "team": "a"}, {"stage": "staging"}, {"stage": "production"}, {}]
        one, two, three, _ = add_versions(storage, "digits", [{"labels": labels} for labels in described])
        assert found(storage, labels={"stage": "production"}) == {one.id, three.id}
        assert found(storage, labels={"stage": "production", "team": "a"}) == {one.id}
        assert found(storage, labels={"stage": "nothing"}) == found(storage, labels={"Stage": "staging"}) == set()
        with storage.write() as session:
            session.model_versions.put(two.evolve(labels={"stage": "production"}))
            session.model_versions.put(one.evolve(labels={"team": "a"}))
            session.model_versions.delete(three.id)
        assert found(storage, labels={"stage": "production"}) == {two.id}
        assert found(storage, labels={"stage": "staging"}) == set()
        assert found(storage, labels={"team": "a"}) == {one.id}

    def test_versions_are_found_by_an_alias_of_their_model(self, storage: Storage) -> None:
        one, two = add_versions(storage, "digits", [{}, {}], champion=1, canary=2)
        (other,) = add_versions(storage, "letters", [{}], champion=1)
        assert found(storage, alias="champion") == {one.id, other.id}
        assert found(storage, alias="canary") == {two.id}
        with storage.write() as session:
            model = session.models.get(one.model_id)
            session.models.put(model.evolve(aliases={"champion": 2}))
        assert found(storage, alias="champion") == {two.id, other.id}
        assert found(storage, alias="canary") == set()
        with storage.write() as session:
            session.models.delete(other.model_id)
        assert found(storage, alias="champion") == {two.id}

    def test_models_and_versions_are_found_by_a_part_of_the_name(self, storage: Storage) -> None:
        (one,) = add_versions(storage, "big-digits", [{}])
        (two,) = add_versions(storage, "digits", [{"labels": {"stage": "x"}}])
        add_versions(storage, "Digits", [{}])
        add_versions(storage, "100%_sure", [{}])
        with storage.read() as session:
            names = [model.name for model in session.models.list(ALL, contains="digit").items]
            assert {model.name for model in session.models.list(ALL, contains="%_").items} == {"100%_sure"}
        assert set(names) == {"big-digits", "digits"}
        assert found(storage, contains="digit") == {one.id, two.id}
        assert found(storage, contains="digit", labels={"stage": "x"}) == {two.id}
        assert found(storage, contains="*") == found(storage, contains="digit", project_ids=["q"]) == set()

    def test_pages_of_a_filtered_list_neither_repeat_nor_skip(self, storage: Storage) -> None:
        described = [{"labels": {"even": str(number % 2 == 0)}} for number in range(25)]
        versions = add_versions(storage, "digits", described)
        seen: list[str] = []
        cursor = None
        while True:
            with storage.read() as session:
                page = session.model_versions.list(PageRequest(limit=4, cursor=cursor), labels={"even": "True"})
            seen += [version.id for version in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert len(seen) == len(set(seen))
        assert set(seen) == {version.id for version in versions[::2]}

    @on_one_storage
    @given(
        labels=st.lists(
            st.dictionaries(st.sampled_from(["a", "b", "ä"]), st.text(st.characters(exclude_categories=["Cs", "Cc"]))),
            max_size=6,
        ),
        wanted=st.data(),
    )
    def test_a_label_finds_exactly_what_has_it(
        self, storage: Storage, labels: list[dict[str, str]], wanted: st.DataObject
    ) -> None:
        versions = add_versions(storage, new_id("model-"), [{"labels": each} for each in labels])
        pairs = sorted({pair for each in labels for pair in each.items()}) or [("a", "")]
        key, value = wanted.draw(st.sampled_from(pairs))
        expected = {version.id for version in versions if version.labels.get(key) == value}
        model_id = versions[0].model_id if versions else "absent"
        assert found(storage, model_id=model_id, labels={key: value}) == expected

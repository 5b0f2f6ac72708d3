"""Catalogues: what a fresh server offers, what admins change, and what nobody else may."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from headway.domain.base import new_id
from headway.domain.catalogue import CatalogueEntrySet, CatalogueEntryUpdate, CatalogueKind, default_entries
from headway.domain.users import Role
from headway.errors import ConflictError, InvalidRequestError, NotFoundError
from headway.server.actions import catalogue
from headway.server.app import PREFIX, create_app
from headway.server.settings import ServerSettings

# The numbers that the examples of the ModelMaker SDK use.
EXAMPLES = [
    (CatalogueKind.TRAIN_MACHINE, 500050),
    (CatalogueKind.TRAIN_MACHINE, 500550),
    (CatalogueKind.PREDICT_MACHINE, 500151),
    (CatalogueKind.TRAIN_FRAMEWORK, 500100),
    (CatalogueKind.PREDICT_FRAMEWORK, 500150),
    (CatalogueKind.PRESET_ALGORITHM, 500000),
    (CatalogueKind.PRESET_MODEL, 500000),
]


@pytest.mark.parametrize(("kind", "number"), EXAMPLES)
def test_a_fresh_server_knows_the_numbers_of_the_examples(world: Any, kind: CatalogueKind, number: int) -> None:
    found = catalogue.get(world.platform, kind, str(number))
    assert (found.kind, found.id, found.hidden) == (kind, number, False)
    if kind.is_machine:
        with world.platform.storage.read() as session:
            assert session.instance_types.find(found.instance_type) is not None
    assert catalogue.get(world.platform, kind, found.name) == found


@pytest.mark.parametrize("types", [["only"], ["a", "b"], ["a", "b", "c", "d", "e", "f", "g"]])
def test_the_first_entries_have_names_and_numbers_of_their_own_on_any_machine(types: list[str]) -> None:
    entries = default_entries(types)
    for kind in CatalogueKind:
        of_kind = [entry for entry in entries if entry.kind is kind]
        assert len({entry.id for entry in of_kind}) == len({entry.name for entry in of_kind}) == len(of_kind) > 0
    assert {(entry.kind, entry.id) for entry in entries} >= set(EXAMPLES)


def test_a_preset_algorithm_and_the_model_it_trains_share_a_name(world: Any) -> None:
    kinds = (CatalogueKind.PRESET_ALGORITHM, CatalogueKind.PRESET_MODEL)
    names = [
        [(entry.id, entry.name) for entry in catalogue.list_entries(world.platform, world.admin, kind, hidden=False)]
        for kind in kinds
    ]
    assert names[0] == names[1]


def test_an_admin_adds_hides_shows_and_deletes(world: Any) -> None:
    kind, name, number = CatalogueKind.TRAIN_FRAMEWORK, new_id("fw"), 700_000
    request = CatalogueEntrySet(name=name, command=("python", "-u"), image="registry/fw:1")
    made = catalogue.set_entry(world.platform, world.admin, kind, number, request)
    assert catalogue.get(world.platform, kind, name) == made
    catalogue.update_entry(world.platform, world.admin, kind, name, CatalogueEntryUpdate(hidden=True))
    shown = catalogue.list_entries(world.platform, world.admin, kind, hidden=False)
    everything = catalogue.list_entries(world.platform, world.admin, kind, hidden=True)
    assert number not in {entry.id for entry in shown}
    assert number in {entry.id for entry in everything}
    assert catalogue.get(world.platform, kind, str(number)).hidden, "what was made with it is still understood"
    catalogue.update_entry(world.platform, world.admin, kind, name, CatalogueEntryUpdate(hidden=False))
    assert made in catalogue.list_entries(world.platform, world.admin, kind, hidden=False)
    catalogue.delete_entry(world.platform, world.admin, kind, name)
    with pytest.raises(NotFoundError):
        catalogue.get(world.platform, kind, name)


def test_others_may_look_and_change_nothing(world: Any) -> None:
    user = world.user(new_id("u"))
    world.member(world.project(), user, Role.ADMIN)
    headers = world.headers(world.token(user))
    found = world.client.get(f"{PREFIX}/catalogue?kind=train-machine", headers=headers)
    assert {entry["id"] for entry in found.json()["items"]} >= {500050, 500550}
    assert world.client.get(f"{PREFIX}/catalogue?hidden=true", headers=headers).status_code == 403
    body = {"name": "mine", "instance_type": "cpu.small"}
    answer = world.client.request("PUT", f"{PREFIX}/catalogue/train-machine/1", headers=headers, json=body)
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("kind", "fields", "error", "words"),
    [
        (CatalogueKind.TRAIN_MACHINE, {}, InvalidRequestError, "instance type"),
        (CatalogueKind.TRAIN_MACHINE, {"instance_type": "cpu.smal"}, NotFoundError, "cpu.smal"),
        (CatalogueKind.PRESET_ALGORITHM, {}, InvalidRequestError, "algorithm"),
    ],
)
def test_an_entry_that_means_nothing_is_refused(
    world: Any, kind: CatalogueKind, fields: dict[str, Any], error: type[Exception], words: str
) -> None:
    request = CatalogueEntrySet(name=new_id("e"), **fields)
    with pytest.raises(error, match=words):
        catalogue.set_entry(world.platform, world.admin, kind, 800_000, request)


def test_unknown_runtimes_and_algorithms_are_refused_with_what_there_is() -> None:
    with pytest.raises(ValueError, match="there are"):
        CatalogueEntrySet(name="x", runtime="sklaern")
    with pytest.raises(ValueError, match="no preset algorithm 'k-mean'"):
        CatalogueEntrySet(name="x", algorithm="k-mean")


def test_an_unknown_entry_is_told_the_closest_name(world: Any) -> None:
    with pytest.raises(NotFoundError) as caught:
        catalogue.get(world.platform, CatalogueKind.PRESET_ALGORITHM, "logistic-regresion")
    assert "logistic-regression" in str(caught.value.hint)


def test_two_numbers_of_one_name_are_refused(world: Any) -> None:
    name = new_id("twice")
    for number, refused in ((900_001, False), (900_002, True), (900_001, False)):
        request = CatalogueEntrySet(name=name)
        if refused:
            with pytest.raises(ConflictError, match=name):
                catalogue.set_entry(world.platform, world.admin, CatalogueKind.TRAIN_FRAMEWORK, number, request)
        else:
            catalogue.set_entry(world.platform, world.admin, CatalogueKind.TRAIN_FRAMEWORK, number, request)


def test_fifty_admins_at_once_leave_one_entry_a_name(world: Any) -> None:
    name, outcomes = new_id("contended"), []
    barrier = threading.Barrier(50)

    def add(number: int) -> None:
        barrier.wait()
        try:
            request = CatalogueEntrySet(name=name)
            catalogue.set_entry(world.platform, world.admin, CatalogueKind.TRAIN_FRAMEWORK, number, request)
            outcomes.append(number)
        except ConflictError:
            outcomes.append(None)

    threads = [threading.Thread(target=add, args=(910_000 + n,)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [number for number in outcomes if number is not None]
    assert len(outcomes) == 50
    entries = catalogue.list_entries(world.platform, world.admin, CatalogueKind.TRAIN_FRAMEWORK, hidden=True)
    assert [entry.id for entry in entries if entry.name == name] == [winner]


def test_what_an_admin_changed_stays_at_the_next_start(tmp_path: Any) -> None:
    settings = ServerSettings(data=tmp_path, port=0)
    first = create_app(settings, "http://127.0.0.1:1")
    with first.platform.storage.write() as session:
        (entry, *_) = session.catalogue.list(CatalogueKind.TRAIN_MACHINE)
        session.catalogue.delete(entry.kind, entry.id)
    first.close()
    second = create_app(settings, "http://127.0.0.1:1")
    with second.platform.storage.read() as session:
        assert session.catalogue.find(entry.kind, entry.id) is None
    second.close()

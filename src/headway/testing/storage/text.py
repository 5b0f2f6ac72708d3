"""Text of any kind goes in and comes out the same, or is refused in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.domain.base import PageRequest, new_id
from headway.errors import InvalidRequestError
from headway.storage.base import Storage
from headway.testing import factories as make
from headway.testing.storage.fixtures import StorageFixtures, on_one_storage

NASTY = [
    "'; DROP TABLE projects; --",
    '" OR 1=1 --',
    "%",
    "_",
    "\\",
    "%s %(name)s :name ? $1 {x}",
    "a'b\"c`d",
    "../../etc/passwd",
    "\x01\x1f\x7f",
    "\u202e\u200b\ufeff",
    "e\u0301",
    "\u00e9",
    "\U0001f4a9" * 50,
    " ",
    "null",
    "x" * 256,
]

any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=100)


class TextContract(StorageFixtures):
    @pytest.mark.parametrize("text", NASTY)
    def test_names_and_ids_are_data_never_sql(self, storage: Storage, text: str) -> None:
        other = make.make_project()
        project = make.make_project(id=text, name=text, description=text)
        with storage.write() as session:
            session.projects.add(other)
            session.projects.add(project)
        with storage.read() as session:
            assert session.projects.get(text) == project
            assert session.projects.by_name(text) == project
            assert session.projects.list(PageRequest(), ids=[text]).items == (project,)
            assert session.jobs.list(PageRequest(), name=text, project_ids=[text]).items == ()
            assert list(session.events.after(0, subject_id=text, types=[text])) == []
        with storage.write() as session:
            session.projects.delete(text)
        with storage.read() as session:
            assert session.projects.list(PageRequest()).items == (other,)

    @pytest.mark.parametrize("text", NASTY)
    def test_pages_go_on_after_any_id(self, storage: Storage, text: str) -> None:
        when = make.moment()
        projects = [make.make_project(id=id, created_at=when) for id in (text, text + "a", "0")]
        with storage.write() as session:
            for project in projects:
                session.projects.add(project)
        seen, cursor = [], None
        with storage.read() as session:
            for _ in projects:
                page = session.projects.list(PageRequest(limit=1, cursor=cursor))
                seen += [item.id for item in page.items]
                cursor = page.next_cursor
        assert cursor is None
        assert seen == sorted([project.id for project in projects], key=str.encode, reverse=True)

    @on_one_storage
    @given(text=any_text)
    def test_any_text_round_trips(self, storage: Storage, text: str) -> None:
        job = make.make_job(name=text, reason=text, project_id=new_id("prj"))
        with storage.write() as session:
            session.jobs.add(job)
            session.settings.put(job.id, text)
            session.secrets.put(job.id, {text: text})
            session.events.append(make.make_event(subject_id=job.id, message=text, data={text: text}))
        with storage.read() as session:
            assert session.jobs.get(job.id) == job
            assert session.jobs.list(PageRequest(), name=text, project_ids=[job.project_id]).items == (job,)
            assert session.settings.find(job.id) == text
            assert session.secrets.get(job.id) == {text: text}
            [event] = session.events.after(0, subject_id=job.id)
            assert (event.message, event.data) == (text, {text: text})

    def test_nul_inside_a_document_is_kept(self, storage: Storage) -> None:
        job = make.make_job(reason="a\0b")
        with storage.write() as session:
            session.jobs.add(job)
        with storage.read() as session:
            assert session.jobs.get(job.id) == job

    @pytest.mark.parametrize(("text", "why"), [("a\0b", "NUL"), ("a\ud800b", "Unicode")])
    def test_names_and_ids_that_no_database_keeps_are_refused(self, storage: Storage, text: str, why: str) -> None:
        kept = make.make_project()
        with storage.write() as session:
            with pytest.raises(InvalidRequestError, match=why):
                session.projects.add(kept.evolve(id="other", name=text))
            with pytest.raises(InvalidRequestError, match=why):
                session.projects.find(text)
            with pytest.raises(InvalidRequestError, match=why):
                session.projects.by_name(text)
            with pytest.raises(InvalidRequestError, match=why):
                session.settings.put("key", text)
            session.projects.add(kept)
        with storage.read() as session:
            assert session.projects.list(PageRequest()).items == (kept,)

    def test_a_lone_surrogate_anywhere_in_a_record_is_refused(self, storage: Storage) -> None:
        with storage.write() as session, pytest.raises(InvalidRequestError, match="Unicode"):
            session.jobs.add(make.make_job(reason="\udfff"))

"""Folders of projects."""

from __future__ import annotations

import pytest

from headway.domain.folders import Folder
from headway.domain.runs import RunDetails
from headway.errors import ConflictError
from headway.storage.base import Storage
from headway.testing import factories as make
from headway.testing.storage.fixtures import StorageFixtures


class FolderContract(StorageFixtures):
    def test_a_folder_is_made_found_listed_and_removed(self, storage: Storage) -> None:
        folders = [Folder(project_id="p", path=path, created_at=make.moment()) for path in ("b", "a/ü", "a")]
        with storage.write() as session:
            for folder in folders:
                session.folders.add(folder)
            with pytest.raises(ConflictError, match="a/ü"):
                session.folders.add(folders[1])
            session.folders.add(folders[0].evolve(project_id="q"))
        with storage.read() as session:
            assert session.folders.find("p", "a/ü") == folders[1]
            assert session.folders.find("q", "a") is None
            assert [folder.path for folder in session.folders.of_project("p")] == ["a", "a/ü", "b"]
        with storage.write() as session:
            session.folders.delete("p", "a")
            session.folders.delete("p", "a")
        with storage.read() as session:
            assert [folder.path for folder in session.folders.of_project("p")] == ["a/ü", "b"]
            assert len(session.folders.of_project("q")) == 1

    def test_details_of_a_run_are_put_and_replaced(self, storage: Storage) -> None:
        run = make.make_run()
        details = RunDetails(run_id=run.id, environment={"python": "3.12", "nul": "\0"}, edited={"name": 5})
        with storage.write() as session:
            session.runs.add(run)
            assert session.run_details.find(run.id) is None
            session.run_details.put(details.evolve(damaged=3))
            session.run_details.put(details)
        with storage.read() as session:
            assert session.run_details.find(run.id) == details
        with storage.write() as session:
            session.runs.delete(run.id)
        with storage.read() as session:
            assert session.run_details.find(run.id) is None

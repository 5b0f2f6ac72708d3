"""Garbage collection: what nothing refers to goes and gives back its space; what anybody needs stays."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headway.domain.artifacts import ArtifactCommit, ArtifactEntry
from headway.domain.base import new_id, now
from headway.domain.collection import CollectionRequest
from headway.domain.files import FileEntry
from headway.domain.jobs import JobState
from headway.domain.runs import RunDetails
from headway.errors import ConflictError, InvalidRequestError
from headway.server.actions import artifacts, blobs, collection, commits
from headway.server.actions.leases import leased
from headway.server.actions.registration import VersionDraft, add_version
from headway.storage.blobs.filesystem import FileBlobs
from headway.testing.factories import digest_of

DAY = 24.0


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The margin for transactions of other servers; here everything is over when the next step begins."""
    monkeypatch.setattr(collection, "SETTLING", timedelta(0))


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A world on either database, with nothing old in it."""
    yield request.getfixturevalue("world" if request.param == "sqlite" else "postgres_world")


def collect(world: Any, *, dry_run: bool = False, grace_hours: float = 0.0) -> Any:
    """What was made before is older than the collection, which counts in milliseconds; what comes meanwhile is not."""
    begun = now()
    while now() <= begun:
        pass
    request = CollectionRequest(dry_run=dry_run, grace_hours=grace_hours)
    return collection.collect(world.platform, world.admin, request)


def content(world: Any, project: Any, data: bytes | None = None) -> FileEntry:
    """A blob that nothing else has."""
    return world.blob(project, data or new_id("content").encode() * 1000)  # type: ignore[no-any-return]


def commit(world: Any, project: Any, *files: FileEntry, name: str = "data") -> Any:
    entries = [ArtifactEntry(path=f"f{n}", digest=f.digest, size=f.size) for n, f in enumerate(files)]
    request = ArtifactCommit(project=project.id, name=name, manifest=world.manifest(project, entries))
    return commits.commit(world.platform, world.admin, request)


def stored(world: Any, file: FileEntry) -> bool:
    return world.platform.blobs.size(file.digest) is not None


def test_what_nothing_refers_to_goes_from_index_and_disk_and_the_report_is_true(place: Any) -> None:
    project = place.project()
    collect(place)
    garbage = content(place, project)
    kept = content(place, project)
    version = commit(place, project, kept)
    path = Path(place.platform.data, "blobs", "sha256", garbage.digest[:2], garbage.digest)
    assert path.exists()
    promised = collect(place, dry_run=True)
    assert path.exists()
    report = collect(place)
    assert (promised.blobs, promised.bytes) == (report.blobs, report.bytes) == (1, garbage.size)
    assert (promised.dry_run, report.dry_run) == (True, False)
    assert promised.kept == report.kept >= 2, "at least a file and its manifest"
    assert not path.exists()
    assert blobs.missing(place.platform, place.admin, project.id, [garbage.digest]) == [garbage.digest]
    assert stored(place, kept)
    assert artifacts.list_entries(place.platform, place.admin, version.id, None, 10).items[0].digest == kept.digest
    assert collect(place).blobs == 0


def test_what_is_younger_than_the_grace_stays(world: Any) -> None:
    project = world.project()
    garbage = content(world, project)
    report = collect(world, grace_hours=DAY, dry_run=True)
    assert (report.blobs, report.kept > 0) == (0, True), "what is young is kept, too"
    assert collect(world, grace_hours=DAY).blobs == 0
    assert stored(world, garbage)


def test_everything_that_records_name_stays(place: Any) -> None:
    project = place.project()
    files = {word: content(place, project) for word in ("workspace", "output", "model", "artifact", "capture")}
    workspace = {"kind": "files", "files": [files["workspace"].model_dump()]}
    place.job(project, workspace=workspace)
    finished = place.job(project)
    with place.platform.storage.write() as session:
        ended = finished.evolve(state=JobState.FAILED, outputs=(files["output"],))
        session.jobs.put(ended)
        add_version(session, project.id, "m", VersionDraft(files=(files["model"],)), actor=place.admin.user.id)
        environment = {"code": {"diff": {"digest": files["capture"].digest}}}
        session.run_details.put(RunDetails(run_id=finished.run_id, environment=environment))
    version = commit(place, project, files["artifact"])
    collect(place)
    assert all(stored(place, file) for file in files.values())
    assert place.platform.blobs.size(version.manifest) is not None


def test_a_deleted_version_gives_back_what_only_it_had(world: Any) -> None:
    project = world.project()
    shared, own = content(world, project), content(world, project)
    commit(world, project, shared, name="one")
    version = commit(world, project, shared, own, name="two")
    artifacts.delete_version(world.platform, world.admin, version.id)
    collect(world)
    assert stored(world, shared)
    assert not stored(world, own)
    assert world.platform.blobs.size(version.manifest) is None


def test_a_blob_that_two_projects_hold_goes_when_neither_needs_it(world: Any) -> None:
    one, two = world.project(), world.project()
    file = content(world, one)
    content(world, two, b"".join(world.platform.blobs.read(file.digest)))
    version = commit(world, two, file)
    collect(world)
    assert stored(world, file)
    artifacts.delete(world.platform, world.admin, version.artifact_id, None)
    collect(world)
    assert not stored(world, file)


def test_bytes_that_no_project_holds_are_found_on_the_disk(world: Any) -> None:
    collect(world)
    data = b"a crash came before the index knew"
    world.platform.blobs.put(digest_of(data), [data])
    assert collect(world, grace_hours=DAY).blobs == 0
    assert collect(world, dry_run=True).bytes == len(data)
    report = collect(world)
    assert (report.blobs, report.bytes) == (1, len(data))


def test_only_one_collection_runs_at_a_time(world: Any) -> None:
    with leased(world.platform, collection.SUBJECT) as lease:
        assert lease is not None
        with pytest.raises(ConflictError, match="already"):
            collect(world)
    collect(world)


class Between:
    """Does something at the moment between marking and sweeping."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, action: Any) -> None:
        real = collection._Collection._sweep

        def sweep(self: Any, garbage: dict[str, int]) -> None:
            thread = threading.Thread(target=action)  # sessions are never nested within a thread
            thread.start()
            thread.join()
            real(self, garbage)

        monkeypatch.setattr(collection._Collection, "_sweep", sweep)


def test_a_commit_that_comes_after_the_marking_keeps_its_files(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project = place.project()
    file = content(place, project)
    found: list[Any] = []
    Between(monkeypatch, lambda: found.append(commit(place, project, file)))
    collect(place)
    assert stored(place, file)
    assert artifacts.find_file(place.platform, place.admin, found[0].id, "f0").digest == file.digest


def test_a_blob_that_a_client_was_told_is_there_is_there_at_its_commit(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = world.project()
    file = content(world, project)
    Between(monkeypatch, lambda: blobs.missing(world.platform, world.admin, project.id, [file.digest]))
    collect(world)
    monkeypatch.undo()
    assert commit(world, project, file).version == 1


def await_file_clock(place: Path, moment: datetime) -> None:
    """Until a file written now counts as written after ``moment``; the clock of files ticks coarsely."""
    probe = place / "probe"
    probe.touch()
    while probe.stat().st_mtime < moment.timestamp():
        probe.touch()


def test_a_blob_that_is_sent_again_while_it_is_forgotten_is_there(
    world: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project = world.project()
    data = new_id("again").encode()
    file = content(world, project, data)
    real = FileBlobs.delete_older

    def delete_older(self: FileBlobs, digest: str, before: Any) -> Any:
        if digest == file.digest:
            await_file_clock(tmp_path, before)
            thread = threading.Thread(target=content, args=(world, project, data))
            thread.start()
            thread.join()
        return real(self, digest, before)

    monkeypatch.setattr(FileBlobs, "delete_older", delete_older)
    collect(world)
    assert stored(world, file)
    assert commit(world, project, file).version == 1


def test_a_commit_after_its_files_were_collected_says_which_to_send_again(world: Any) -> None:
    project = world.project()
    file = content(world, project)
    entries = [ArtifactEntry(path="f", digest=file.digest, size=file.size)]
    collect(world)
    manifest = world.manifest(project, entries)
    request = ArtifactCommit(project=project.id, name="late", manifest=manifest)
    with pytest.raises(InvalidRequestError) as caught:
        commits.commit(world.platform, world.admin, request)
    assert caught.value.details["missing"] == [file.digest]


def test_commits_and_collections_at_once_leave_no_version_without_its_files(place: Any) -> None:
    project = place.project()
    ends = threading.Event()
    failures: list[Exception] = []

    def collecting() -> None:
        while not ends.is_set():
            try:
                collect(place)
            except Exception as error:  # noqa: BLE001 - told to the test
                failures.append(error)
                return

    collector = threading.Thread(target=collecting)
    collector.start()
    made = []
    try:
        for number in range(25):
            data = b"contended %d" % (number % 3)
            for _ in range(50):
                try:
                    made.append(commit(place, project, content(place, project, data), name=f"n{number}"))
                    break
                except InvalidRequestError as error:
                    assert "missing" in error.details
            if number % 2:
                artifacts.delete(place.platform, place.admin, made.pop().artifact_id, None)
    finally:
        ends.set()
        collector.join()
    assert failures == []
    assert len(made) == 13
    for version in made:
        for entry in artifacts.list_entries(place.platform, place.admin, version.id, None, 10).items:
            assert place.platform.blobs.size(entry.digest) == entry.size


@pytest.mark.parametrize("body", [{"grace_hours": -1}, {"grace_hours": "x"}, {"grace_hours": 1e9}, {"dryrun": True}])
def test_a_request_that_is_wrong_is_refused(world: Any, body: dict[str, Any]) -> None:
    answer = world.client.post("/api/v1/gc", json=body, headers=world.headers(world.admin_token))
    assert answer.status_code == 422


def test_over_http_a_collection_answers_what_it_did(world: Any) -> None:
    headers = world.headers(world.admin_token)
    answer = world.client.post("/api/v1/gc", json={"dry_run": True, "grace_hours": 1.5}, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["grace_hours"] == 1.5


def test_environments_that_no_replica_uses_go_after_the_grace(world: Any) -> None:
    kept = world.platform.environments
    old, young, used = (kept / (digit * 32) for digit in "abc")
    for place in (old, young, used):
        place.mkdir(parents=True)
        (place / "package.py").write_bytes(b"x" * 1000)
        place.with_suffix(".used").touch()
    long_ago = time.time() - 48 * 3600
    for place in (old, used):
        os.utime(place.with_suffix(".used"), (long_ago, long_ago))
    with used.with_suffix(".used").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        headers = world.headers(world.admin_token)
        for dry_run in (True, False):
            answer = world.client.post("/api/v1/gc", json={"dry_run": dry_run}, headers=headers).json()
            assert (answer["environments"], answer["environment_bytes"]) == (1, 1000)
            assert old.exists() is dry_run
    assert sorted(path.name for path in kept.iterdir() if path.is_dir()) == [young.name, used.name]

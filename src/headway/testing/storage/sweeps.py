"""What storage promises of sweeps and trials."""

from __future__ import annotations

import pytest

from headway.domain.base import PageRequest
from headway.domain.sweeps import SweepState, TrialState
from headway.errors import ConflictError
from headway.storage.base import Storage
from headway.testing import factories as make
from headway.testing.factories import digest_of, moment
from headway.testing.storage.fixtures import StorageFixtures


class SweepContract(StorageFixtures):
    def test_sweeps_are_found_by_name_and_unfinished_ones_oldest_first(self, storage: Storage) -> None:
        states = (SweepState.RUNNING, SweepState.SUCCEEDED, SweepState.STOPPING, SweepState.FAILED)
        sweeps = [make.make_sweep(state=state, created_at=moment(-n)) for n, state in enumerate(states)]
        with storage.write() as session:
            for sweep in sweeps:
                session.sweeps.add(sweep)
        with storage.read() as session:
            assert session.sweeps.by_name("prj1", sweeps[1].name) == sweeps[1]
            assert session.sweeps.by_name("prj2", sweeps[1].name) is None
            assert session.sweeps.active() == [sweeps[2], sweeps[0]]
            found = session.sweeps.list(PageRequest(), states=[SweepState.FAILED, SweepState.RUNNING])
            assert list(found.items) == [sweeps[0], sweeps[3]]

    def test_a_sweep_s_name_is_taken_once_in_a_project(self, storage: Storage) -> None:
        sweep = make.make_sweep(name="x")
        other = make.make_sweep(name="x", project_id="prj2")
        with storage.write() as session:
            session.sweeps.add(sweep)
            with pytest.raises(ConflictError, match="'x'"):
                session.sweeps.add(make.make_sweep(name="x"))
            session.sweeps.add(other)
        with storage.read() as session:
            assert session.sweeps.get(other.id) == other

    def test_what_a_sweep_s_job_is_made_of_is_not_collected(self, storage: Storage) -> None:
        digest = digest_of(b"code")
        workspace = {"kind": "files", "files": [{"path": "train.py", "digest": digest, "size": 4}]}
        sweep = make.make_sweep(job=make.make_job_spec(workspace=workspace))
        with storage.write() as session:
            session.sweeps.add(sweep)
        with storage.read() as session:
            assert digest in {found for noun in session.holders_of_blobs() for found in noun.referenced_digests()}

    def test_trials_are_kept_by_number(self, storage: Storage) -> None:
        trials = [make.make_trial(sweep_id="s1", number=number) for number in (2, 10, 1)]
        other = make.make_trial(sweep_id="s2", number=1)
        with storage.write() as session:
            for trial in (*trials, other):
                session.trials.add(trial)
            with pytest.raises(ConflictError, match="trial 2"):
                session.trials.add(make.make_trial(sweep_id="s1", number=2))
            ended = trials[0].evolve(state=TrialState.SUCCEEDED, value=0.25)
            session.trials.put(ended)
        with storage.read() as session:
            assert session.trials.of_sweep("s1") == [trials[2], ended, trials[1]]
            assert session.trials.list("s1", after=1, limit=1) == [ended]
            assert session.trials.list("s1", states=[TrialState.RUNNING]) == [trials[2], trials[1]]
            assert session.trials.of_sweep("s3") == []

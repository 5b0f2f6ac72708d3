"""What agents found at the addresses of inputs: recorded once, and the same for everybody."""

from __future__ import annotations

import pytest

from headway.domain.jobs import Job, JobInput
from headway.domain.replicas import INIT_MODEL
from headway.server.workers.brought import disagreement, note_brought
from headway.testing.factories import make_job, make_job_spec, make_replica


class TestBrought:
    """What agents report of addresses."""

    A, B = "a" * 64, "b" * 64

    def job(self, digest: str | None = None) -> Job:
        spec = make_job_spec(
            inputs={"web": JobInput(source="https://x/y", digest=digest)}, init_model=JobInput(source="https://x/m")
        )
        return make_job(spec=spec)

    def test_the_first_digest_is_recorded_and_stays(self) -> None:
        replicas = [make_replica(brought={"web": self.A, INIT_MODEL: self.B}) for _ in range(2)]
        noted = note_brought(self.job(), replicas)
        assert noted.spec.inputs["web"].digest == self.A
        assert noted.spec.init_model is not None and noted.spec.init_model.digest == self.B
        assert note_brought(noted, replicas) is noted

    @pytest.mark.parametrize(
        ("known", "first", "second", "differs"),
        [
            (None, "A", "A", False),
            (None, "A", "B", True),
            ("A", "A", "A", False),
            ("B", "A", "A", True),
            (None, None, "A", False),
        ],
    )
    def test_replicas_must_agree_with_each_other_and_with_what_was(
        self, known: str | None, first: str | None, second: str, differs: bool
    ) -> None:
        digests = {"A": self.A, "B": self.B}
        replicas = [make_replica(brought={"web": digests[name]} if name else {}) for name in (first, second)]
        problem = disagreement(self.job(None if known is None else digests[known]), replicas)
        assert bool(problem) is differs and (not differs or "the input 'web' (https://x/y)" in problem)

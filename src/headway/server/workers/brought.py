"""What agents found at the addresses of inputs: one content for all replicas, and the same at every later attempt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headway.domain.jobs import Job, JobInput
from headway.domain.replicas import INIT_MODEL, Replica


def note_brought(job: Job, replicas: Sequence[Replica]) -> Job:
    """``job`` with the digest of each address that was brought for the first time; ``job`` itself when there is none."""
    found = {name: digest for replica in replicas for name, digest in replica.brought.items()}
    new = {
        name: given.model_copy(update={"digest": found[name]})
        for name, given in _inputs(job)
        if given.digest is None and name in found
    }
    if not new:
        return job
    init_model = new.pop(INIT_MODEL, job.spec.init_model)
    changes = {"inputs": {**job.spec.inputs, **new}, "init_model": init_model}
    return job.evolve(spec=job.spec.model_copy(update=changes))


def disagreement(job: Job, replicas: Sequence[Replica]) -> str:
    """Why the replicas cannot start together: an address gave them different files. Empty when there is no reason."""
    for name, given in _inputs(job):
        digests = {replica.brought[name] for replica in replicas if name in replica.brought}
        if given.digest is not None:
            digests.add(given.digest)
        if len(digests) > 1:
            what = "init_model" if name == INIT_MODEL else f"the input {name!r}"
            return f"{what} ({given.source}) changed while the replicas brought it"
    return ""


def _inputs(job: Job) -> Iterator[tuple[str, JobInput]]:
    yield from job.spec.inputs.items()
    if job.spec.init_model is not None:
        yield INIT_MODEL, job.spec.init_model

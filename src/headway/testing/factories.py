"""Valid records with made-up ids and names; every field can be given instead.

>>> make_job(name="digits", state=JobState.RUNNING).name
'digits'
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from headway.domain.artifacts import Artifact, ArtifactVersion
from headway.domain.base import new_id, now
from headway.domain.deployments import DeployedVersion, Deployment
from headway.domain.events import Event
from headway.domain.files import FileEntry
from headway.domain.instances import InstanceType
from headway.domain.jobs import Job, JobSpec, JobState, RoleSpec
from headway.domain.lineage import Link, NodeKind, Relation
from headway.domain.models import Model, ModelVersion
from headway.domain.objects import Bucket, StoredObject
from headway.domain.projects import Project
from headway.domain.replicas import Attempt, Directive, OwnerKind, Replica
from headway.domain.runs import Run, Stream
from headway.domain.sweeps import NumberRange, Objective, Sweep, Trial
from headway.domain.uploads import Upload, part_size
from headway.domain.users import Member, Role, Token, TokenKind, User

__all__ = [
    "JobState",
    "digest_of",
    "make_artifact",
    "make_artifact_version",
    "make_attempt",
    "make_bucket",
    "make_deployment",
    "make_event",
    "make_file",
    "make_instance_type",
    "make_job",
    "make_job_spec",
    "make_link",
    "make_member",
    "make_model",
    "make_model_version",
    "make_object",
    "make_project",
    "make_replica",
    "make_run",
    "make_stream",
    "make_sweep",
    "make_token",
    "make_trial",
    "make_upload",
    "make_user",
    "moment",
]


def moment(seconds: float = 0.0) -> datetime:
    """A time ``seconds`` from now."""
    return now() + timedelta(seconds=seconds)


def digest_of(data: bytes) -> str:
    """SHA-256 in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def make_project(**fields: Any) -> Project:
    return Project(
        **{"id": new_id("prj"), "name": new_id("project-"), "created_at": now(), "created_by": "usr1", **fields}
    )


def make_user(**fields: Any) -> User:
    return User(**{"id": new_id("usr"), "name": new_id("user-"), "created_at": now(), **fields})


def make_member(**fields: Any) -> Member:
    defaults = {"project_id": new_id("prj"), "user_id": new_id("usr"), "user_name": "somebody", "role": Role.MEMBER}
    return Member(**{**defaults, **fields})


def make_sweep(**fields: Any) -> Sweep:
    defaults = {
        "id": new_id("swp"),
        "project_id": "prj1",
        "name": new_id("sweep-"),
        "job": make_job_spec(),
        "space": {"x": NumberRange(low=0.0, high=1.0)},
        "objective": Objective(metric="loss", goal="minimize"),
        "sampler": "tpe",
        "pruner": "none",
        "trials": 10,
        "parallel": 2,
        "created_at": now(),
        "created_by": "usr1",
    }
    return Sweep(**{**defaults, **fields})


def make_trial(**fields: Any) -> Trial:
    defaults = {
        "id": new_id("trl"),
        "sweep_id": new_id("swp"),
        "project_id": "prj1",
        "number": 1,
        "parameters": {"x": 0.5},
        "job_id": new_id("job"),
        "run_id": new_id("run"),
        "created_at": now(),
    }
    return Trial(**{**defaults, **fields})


def make_token(**fields: Any) -> Token:
    defaults = {
        "id": new_id("tok"),
        "kind": TokenKind.USER,
        "name": "token",
        "user_id": "usr1",
        "prefix": "hw_abcde",
        "created_at": now(),
    }
    return Token(**{**defaults, **fields})


def make_instance_type(**fields: Any) -> InstanceType:
    return InstanceType(**{"name": new_id("size-"), "cpu": 1.0, **fields})


def make_run(**fields: Any) -> Run:
    defaults = {
        "id": new_id("run"),
        "project_id": "prj1",
        "name": "a run",
        "created_at": now(),
        "created_by": "usr1",
    }
    return Run(**{**defaults, **fields})


def make_stream(**fields: Any) -> Stream:
    defaults = {
        "run_id": new_id("run"),
        "name": new_id("logs/worker-0-"),
        "writer_id": new_id("w"),
        "created_at": now(),
        "updated_at": now(),
    }
    return Stream(**{**defaults, **fields})


def make_job_spec(**fields: Any) -> JobSpec:
    return JobSpec(**{"roles": {"worker": RoleSpec(command=("true",))}, **fields})


def make_job(**fields: Any) -> Job:
    defaults = {
        "id": new_id("job"),
        "project_id": "prj1",
        "name": "a job",
        "run_id": new_id("run"),
        "spec": make_job_spec(),
        "created_at": now(),
        "created_by": "usr1",
        "state_changed_at": now(),
    }
    return Job(**{**defaults, **fields})


def make_attempt(**fields: Any) -> Attempt:
    defaults = {
        "id": new_id("att"),
        "owner_kind": OwnerKind.JOB,
        "owner_id": new_id("job"),
        "project_id": "prj1",
        "run_id": new_id("run"),
        "number": 1,
        "token": new_id("t"),
        "engine": "local",
        "created_at": now(),
    }
    return Attempt(**{**defaults, **fields})


def make_replica(**fields: Any) -> Replica:
    defaults = {
        "id": new_id("rep"),
        "attempt_id": new_id("att"),
        "owner_kind": OwnerKind.JOB,
        "owner_id": new_id("job"),
        "project_id": "prj1",
        "run_id": new_id("run"),
        "role": "worker",
        "index": 0,
        "rank": 0,
        "directive": Directive(),
    }
    return Replica(**{**defaults, **fields})


def make_file(path: str = "model.bin", data: bytes = b"bytes", **fields: Any) -> FileEntry:
    return FileEntry(**{"path": path, "digest": digest_of(data), "size": len(data), **fields})


def make_model(**fields: Any) -> Model:
    return Model(**{"id": new_id("mdl"), "project_id": "prj1", "name": new_id("model-"), "created_at": now(), **fields})


def make_model_version(**fields: Any) -> ModelVersion:
    defaults = {
        "id": new_id("mv"),
        "model_id": new_id("mdl"),
        "project_id": "prj1",
        "name": "a model",
        "version": 1,
        "model_type": "custom",
        "size": 5,
        "digest": digest_of(b"manifest"),
        "files": (make_file(),),
        "created_at": now(),
        "created_by": "usr1",
    }
    return ModelVersion(**{**defaults, **fields})


def make_bucket(**fields: Any) -> Bucket:
    defaults = {
        "id": new_id("bkt"),
        "project_id": "prj1",
        "name": new_id("bucket-"),
        "created_at": now(),
        "created_by": "usr1",
    }
    return Bucket(**{**defaults, **fields})


def make_object(**fields: Any) -> StoredObject:
    defaults = {
        "bucket": "a-bucket",
        "key": new_id("data/"),
        "digest": digest_of(b"bytes"),
        "size": 5,
        "updated_at": now(),
        "updated_by": "usr1",
    }
    return StoredObject(**{**defaults, **fields})


def make_deployment(**fields: Any) -> Deployment:
    defaults = {
        "id": new_id("dep"),
        "project_id": "prj1",
        "name": new_id("deployment-"),
        "run_id": new_id("run"),
        "versions": (DeployedVersion(model_version_id=new_id("mv"), model="a model", version=1),),
        "endpoint": "http://127.0.0.1:9/model-serving/x:predict",
        "created_at": now(),
        "created_by": "usr1",
        "state_changed_at": now(),
    }
    return Deployment(**{**defaults, **fields})


def make_event(**fields: Any) -> Event:
    return Event(**{"time": now(), "type": "job.state_changed", "subject_id": new_id("job"), **fields})


def make_artifact(**fields: Any) -> Artifact:
    defaults = {"id": new_id("art"), "project_id": "prj1", "name": new_id("data"), "created_at": now()}
    return Artifact(**{**defaults, **fields})


def make_artifact_version(**fields: Any) -> ArtifactVersion:
    defaults = {
        "id": new_id("av"),
        "artifact_id": new_id("art"),
        "project_id": "prj1",
        "name": "data",
        "version": 1,
        "digest": digest_of(new_id("content").encode()),
        "manifest": digest_of(new_id("manifest").encode()),
        "entries": 1,
        "size": 1,
        "created_at": now(),
        "created_by": "usr1",
    }
    return ArtifactVersion(**{**defaults, **fields})


def make_link(**fields: Any) -> Link:
    defaults = {
        "project_id": "prj1",
        "run_id": new_id("run"),
        "kind": NodeKind.ARTIFACT_VERSION,
        "other_id": new_id("av"),
        "relation": Relation.INPUT,
        "created_at": now(),
    }
    return Link(**{**defaults, **fields})


def make_upload(**fields: Any) -> Upload:
    defaults = {
        "id": new_id("up"),
        "project_id": "prj1",
        "digest": digest_of(new_id("content").encode()),
        "size": 1 << 25,
        "part_size": part_size(1 << 25),
        "place": "up-" + "0" * 32,
        "created_at": now(),
        "created_by": "usr1",
    }
    return Upload(**{**defaults, **fields})

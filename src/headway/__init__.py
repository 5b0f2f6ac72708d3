"""Headway trains, tracks and serves models.

    >>> import headway
    >>> client = headway.Client("http://127.0.0.1:8000", token="hw_…", project="digits")  # sends nothing yet

Everything here is imported when it is first used, so that ``import headway`` stays quick in every training script.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headway.config import Connection
    from headway.domain.artifacts import ArtifactVersion
    from headway.domain.deployments import Deployment, DeploymentState
    from headway.domain.events import Event
    from headway.domain.files import FileEntry
    from headway.domain.instances import InstanceType
    from headway.domain.jobs import Container, Job, JobSpec, JobState, RoleSpec
    from headway.domain.logs import LogRow
    from headway.domain.models import Model, ModelVersion
    from headway.domain.projects import Project
    from headway.domain.runs import Run
    from headway.domain.users import Role, Token, User
    from headway.domain.workspaces import Credentials, FilesWorkspace, GitWorkspace
    from headway.errors import (
        AuthenticationError,
        ConfigurationError,
        ConflictError,
        ConnectionFailedError,
        CorruptDataError,
        HeadwayError,
        InvalidRequestError,
        JobFailedError,
        MissingExtraError,
        NotFoundError,
        PermissionDeniedError,
        PlatformError,
        RateLimitedError,
        RequestError,
        UnavailableError,
        WaitTimeoutError,
        WorkspaceError,
    )
    from headway.estimator.estimator import Estimator
    from headway.sdk.client import Client
    from headway.sdk.endpoints import Prediction
    from headway.sdk.predictor import Predictor
    from headway.sdk.signatures import infer_signature
    from headway.tracking.artifact import Artifact
    from headway.tracking.artifact_loading import load_artifact
    from headway.tracking.audio import Audio
    from headway.tracking.compare import diff
    from headway.tracking.curves import confusion_matrix, pr_curve, roc_curve
    from headway.tracking.figures import Figure
    from headway.tracking.histograms import Histogram
    from headway.tracking.images import Image
    from headway.tracking.loading import load_run, upload
    from headway.tracking.local import LocalRun, local_runs
    from headway.tracking.media import File, Text
    from headway.tracking.opening import current_run, init
    from headway.tracking.run import TrackedRun
    from headway.tracking.sync import SyncReport, sync
    from headway.tracking.tables import Table

    __version__: str

__all__ = [
    "Artifact",
    "ArtifactVersion",
    "Audio",
    "AuthenticationError",
    "Client",
    "ConfigurationError",
    "ConflictError",
    "Connection",
    "ConnectionFailedError",
    "Container",
    "CorruptDataError",
    "Credentials",
    "Deployment",
    "DeploymentState",
    "Estimator",
    "Event",
    "Figure",
    "File",
    "FileEntry",
    "FilesWorkspace",
    "GitWorkspace",
    "HeadwayError",
    "Histogram",
    "Image",
    "InstanceType",
    "InvalidRequestError",
    "Job",
    "JobFailedError",
    "JobSpec",
    "JobState",
    "LocalRun",
    "LogRow",
    "MissingExtraError",
    "Model",
    "ModelVersion",
    "NotFoundError",
    "PermissionDeniedError",
    "PlatformError",
    "Prediction",
    "Predictor",
    "Project",
    "RateLimitedError",
    "RequestError",
    "Role",
    "RoleSpec",
    "Run",
    "SyncReport",
    "Table",
    "Text",
    "Token",
    "TrackedRun",
    "UnavailableError",
    "User",
    "WaitTimeoutError",
    "WorkspaceError",
    "__version__",
    "confusion_matrix",
    "current_run",
    "diff",
    "infer_signature",
    "init",
    "load_artifact",
    "load_run",
    "local_runs",
    "pr_curve",
    "roc_curve",
    "sync",
    "upload",
]

_HOMES = {
    "headway.config": ("Connection",),
    "headway.domain.artifacts": ("ArtifactVersion",),
    "headway.domain.deployments": ("Deployment", "DeploymentState"),
    "headway.domain.events": ("Event",),
    "headway.domain.files": ("FileEntry",),
    "headway.domain.instances": ("InstanceType",),
    "headway.domain.jobs": ("Container", "Job", "JobSpec", "JobState", "RoleSpec"),
    "headway.domain.logs": ("LogRow",),
    "headway.domain.models": ("Model", "ModelVersion"),
    "headway.domain.projects": ("Project",),
    "headway.domain.runs": ("Run",),
    "headway.domain.users": ("Role", "Token", "User"),
    "headway.domain.workspaces": ("Credentials", "FilesWorkspace", "GitWorkspace"),
    "headway.estimator.estimator": ("Estimator",),
    "headway.sdk.client": ("Client",),
    "headway.sdk.endpoints": ("Prediction",),
    "headway.sdk.predictor": ("Predictor",),
    "headway.sdk.signatures": ("infer_signature",),
    "headway.tracking.artifact": ("Artifact",),
    "headway.tracking.artifact_loading": ("load_artifact",),
    "headway.tracking.audio": ("Audio",),
    "headway.tracking.compare": ("diff",),
    "headway.tracking.curves": ("confusion_matrix", "pr_curve", "roc_curve"),
    "headway.tracking.figures": ("Figure",),
    "headway.tracking.histograms": ("Histogram",),
    "headway.tracking.images": ("Image",),
    "headway.tracking.loading": ("load_run", "upload"),
    "headway.tracking.local": ("LocalRun", "local_runs"),
    "headway.tracking.media": ("File", "Text"),
    "headway.tracking.opening": ("current_run", "init"),
    "headway.tracking.run": ("TrackedRun",),
    "headway.tracking.sync": ("SyncReport", "sync"),
    "headway.tracking.tables": ("Table",),
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'headway' has no attribute {name!r}")
    import importlib

    found: object
    if name == "__version__":
        import importlib.metadata

        found = importlib.metadata.version("headway")
    else:
        home = next((home for home, names in _HOMES.items() if name in names), "headway.errors")
        found = getattr(importlib.import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

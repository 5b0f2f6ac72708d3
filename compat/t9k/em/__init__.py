"""Recording experiments: runs with hyperparameters and metrics, artifacts, and their upload."""

from t9k.em.artifact import Artifact, create_artifact, load_artifact
from t9k.em.params import Params
from t9k.em.run import Run, create_run, load_run
from t9k.em.session import login, logout
from t9k.em.uploading import upload

__all__ = [
    "Artifact",
    "Params",
    "Run",
    "create_artifact",
    "create_run",
    "load_artifact",
    "load_run",
    "login",
    "logout",
    "upload",
]

"""The module that the documents import: ``from gradient import sdk_client``."""

from __future__ import annotations

from gradient.clients.deployments import DeploymentsClient
from gradient.clients.experiments import ExperimentsClient
from gradient.clients.hyperparameters import HyperparameterJobsClient
from gradient.clients.jobs import JobsClient
from gradient.clients.machines import MachinesClient
from gradient.clients.models import ModelsClient
from gradient.clients.notebooks import NotebooksClient
from gradient.clients.projects import ProjectsClient
from gradient.connection import Connection
from gradient.logger import Logger, MuteLogger

__all__ = [
    "DeploymentsClient",
    "ExperimentsClient",
    "HyperparameterJobsClient",
    "JobsClient",
    "MachinesClient",
    "ModelsClient",
    "NotebooksClient",
    "ProjectsClient",
    "SdkClient",
]


class SdkClient:
    """All clients behind one connection. ``api_key`` is a Headway token; making one uses no network."""

    def __init__(self, api_key: str | None, logger: Logger = MuteLogger()) -> None:
        self.experiments = ExperimentsClient(api_key, logger)
        self.deployments = DeploymentsClient(api_key, logger)
        self.hyperparameters = HyperparameterJobsClient(api_key, logger)
        self.models = ModelsClient(api_key, logger)
        self.jobs = JobsClient(api_key, logger)
        self.projects = ProjectsClient(api_key, logger)
        self.machines = MachinesClient(api_key, logger)
        self.notebooks = NotebooksClient(api_key, logger)
        connection = Connection(api_key)
        for client in vars(self).values():
            client.share(connection)

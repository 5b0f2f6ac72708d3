"""The Gradient SDK's spelling of Headway: scripts written for ``gradient`` 0.3 run on a Headway server.

The key is a Headway token (the argument, or PS_API_KEY, or PAPERSPACE_API_KEY); the server is named by HEADWAY_URL,
or by PAPERSPACE_CONFIG_HOST and its siblings.
"""

from gradient import constants, sdk_client
from gradient.exceptions import (
    GradientConnectionError,
    GradientSdkError,
    ResourceCreatingDataError,
    ResourceCreatingError,
    ResourceFetchingError,
)
from gradient.logger import Logger, MuteLogger
from gradient.records import (
    BaseExperiment,
    Deployment,
    Hyperparameter,
    Job,
    LogRow,
    Model,
    MultiNodeExperiment,
    Project,
    SingleNodeExperiment,
)
from gradient.sdk_client import (
    DeploymentsClient,
    ExperimentsClient,
    HyperparameterJobsClient,
    JobsClient,
    MachinesClient,
    ModelsClient,
    NotebooksClient,
    ProjectsClient,
    SdkClient,
)

__all__ = [
    "BaseExperiment",
    "Deployment",
    "DeploymentsClient",
    "ExperimentsClient",
    "GradientConnectionError",
    "GradientSdkError",
    "Hyperparameter",
    "HyperparameterJobsClient",
    "Job",
    "JobsClient",
    "LogRow",
    "Logger",
    "MachinesClient",
    "Model",
    "ModelsClient",
    "MultiNodeExperiment",
    "MuteLogger",
    "NotebooksClient",
    "Project",
    "ProjectsClient",
    "ResourceCreatingDataError",
    "ResourceCreatingError",
    "ResourceFetchingError",
    "SdkClient",
    "SingleNodeExperiment",
    "constants",
    "sdk_client",
]

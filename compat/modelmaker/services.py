"""Services: Headway's deployments in ModelMaker's words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headway.domain.base import format_time
from headway.domain.catalogue import CatalogueKind
from headway.domain.deployments import Deployment, DeploymentState
from headway.errors import NotFoundError
from modelmaker import catalogues, models
from modelmaker.exceptions import reported_as
from modelmaker.ids import DEPLOYMENT, to_native, to_number
from modelmaker.model_checks import ONLINE, check_service
from modelmaker.session import Session

REQUEST_LABEL = "modelmaker.request"
STATUSES = {
    DeploymentState.STARTING: "DEPLOYING",
    DeploymentState.RUNNING: "RUNNING",
    DeploymentState.STOPPING: "STOPPING",
    DeploymentState.STOPPED: "STOPPED",
    DeploymentState.ERROR: "DEPLOYING_FAIL",
}


def create(session: Session, words: Mapping[str, Any], default_version: int | None) -> int:
    """A service over one or several versions, started at once; its number."""
    check_service(session, words, default_version)
    entries = [dict(entry) for entry in words["service_models"]]
    for entry in entries:
        entry["modelVersionId"] = entry.get("modelVersionId") or default_version
    versions = [models.find_version(session, entry["modelVersionId"]) for entry in entries]
    with reported_as("create service error!"):
        deployments = session.client.deployments
        made = deployments.create(
            words["service_name"],
            versions[0].id,
            project=session.project,
            replicas=int(entries[0]["instanceCount"]),
            instance_type=_machine(session, entries[0]),
            environment=_environment(entries),
            labels={REQUEST_LABEL: json.dumps(entries, default=str)},
        )
        if len(entries) > 1:
            traffic = {version.id: int(entry["weight"]) for version, entry in zip(versions, entries, strict=True)}
            deployments.update(made.id, traffic=traffic)
        return to_number(made.id)


def _machine(session: Session, entry: Mapping[str, Any]) -> str | None:
    message = "resourceId is not exist, please check it!"
    return catalogues.find(session, CatalogueKind.PREDICT_MACHINE, entry["resourceId"], message).instance_type


def _environment(entries: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in entries:
        given = entry.pop("envs", None) or ()
        pairs = given.items() if isinstance(given, Mapping) else ((item["name"], item["value"]) for item in given)
        found.update(pairs)
    return found


def find(session: Session, service_id: int) -> Deployment:
    """By its number; ApiException when there is none."""
    with reported_as():
        return session.client.deployments.get(_native(service_id))


def _native(number: int) -> str:
    try:
        return to_native(DEPLOYMENT, number)
    except ValueError as error:
        raise NotFoundError(str(error)) from None


def listed(session: Session) -> dict[str, Any]:
    """All services of the project."""
    with reported_as():
        return {"services": [shown(each) for each in session.client.deployments.list(project=session.project)]}


def shown(deployment: Deployment) -> dict[str, Any]:
    """A service in ModelMaker's words; ``endpoint`` is where predictions are posted, with a token."""
    return {
        "id": to_number(deployment.id),
        "name": deployment.name,
        "type": ONLINE,
        "status": STATUSES[deployment.state],
        "message": deployment.reason,
        "endpoint": deployment.endpoint,
        "serviceModels": [
            {
                "modelVersionId": to_number(version.model_version_id),
                "model": version.model,
                "weight": version.weight,
                "instanceCount": version.replicas,
                "instanceType": version.instance_type,
            }
            for version in deployment.versions
        ],
        "createTime": format_time(deployment.created_at),
    }


def start(session: Session, service_id: int) -> dict[str, Any]:
    found = find(session, service_id)
    with reported_as("start service error!"):
        return shown(session.client.deployments.start(found.id))


def stop(session: Session, service_id: int) -> dict[str, Any]:
    found = find(session, service_id)
    with reported_as("stop service error!"):
        return shown(session.client.deployments.stop(found.id))


def delete(session: Session, service_id: int) -> dict[str, Any]:
    found = find(session, service_id)
    with reported_as("delete service error!"):
        session.client.deployments.delete(found.id)
    return {"id": service_id}

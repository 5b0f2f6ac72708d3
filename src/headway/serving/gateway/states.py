"""How a deployment is, as the protocols' own words say it; asking wakes no replica."""

from __future__ import annotations

from headway.domain.deployments import DeploymentState
from headway.serving.gateway.routes import Entry, Group
from headway.serving.gateway.targets import Destination
from headway.serving.http.messages import Response, error_response, json_response
from headway.serving.release import release


def state_response(entry: Entry, destination: Destination) -> Response:
    """The answer to a path whose verb is in :data:`headway.serving.gateway.targets.HERE`."""
    if destination.verb == "live":
        return json_response(200, {"live": True})
    groups = [group for group in entry.groups if _is_meant(group, destination)]
    if not groups:
        return error_response(404, "No such version of this deployment.")
    if destination.verb == "ready":
        ready = not entry.stopped and any(group.available for group in groups)
        return json_response(200 if ready else 503, {"ready": ready})
    return json_response(200, {"model_version_status": [_status(entry, group) for group in groups]})


def server_response(path: str) -> Response | None:
    """What the gateway says of itself to Open Inference clients, or None for another path."""
    if path == "/v2":
        return json_response(200, {"name": "headway", "version": release(), "extensions": ["binary_tensor_data"]})
    if path in ("/v2/health/live", "/v2/health/ready"):
        word = path.rpartition("/")[2]
        return json_response(200, {word: True})
    return None


def _is_meant(group: Group, destination: Destination) -> bool:
    if destination.version is None and destination.label is None:
        return True
    return group.version == destination.version or destination.label in group.labels


def _status(entry: Entry, group: Group) -> dict[str, object]:
    """As TensorFlow Serving's ``GetModelStatus`` writes it."""
    if group.available and not entry.stopped:
        state = "AVAILABLE"
    else:
        state = "END" if entry.route.desired is DeploymentState.STOPPED else "LOADING"
    return {"version": str(group.version), "state": state, "status": {"error_code": "OK", "error_message": ""}}

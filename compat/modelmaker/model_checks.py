"""What a model or a service is refused for before anything is sent, in ModelMaker's order and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headway.domain.catalogue import CatalogueKind
from modelmaker import catalogues
from modelmaker.session import S3, Session
from modelmaker.training_checks import BASIC, CUSTOM, DOCKER, MOST, POOLS

PRESET_MODEL, ONLINE = "PRESET_MODEL", "ONLINE_SERVICE"
MODEL_TYPES = (BASIC, PRESET_MODEL, CUSTOM)
MODEL_WORDS = (
    "model_name",
    "model_version",
    "model_path",
    "model_framework",
    "model_framework_type",
    "model_code_dir",
    "model_boot_file",
    "model_call_specs",
    "model_description",
    "model_mirrorUrl",
    "model_id",
    "model_git_info",
)
NEEDED = {
    BASIC: ("model_version", "model_framework", "model_boot_file"),
    PRESET_MODEL: ("model_version", "model_framework", "model_path"),
    CUSTOM: ("model_version", "model_mirrorUrl"),
}
TEXTS = (
    "model_name",
    "model_version",
    "model_path",
    "model_code_dir",
    "model_boot_file",
    "model_mirrorUrl",
    "model_description",
)
SERVICE_WORDS = {"service_name", "service_type", "service_models"}
ENTRY_NEEDED = ("weight", "resourceId", "instanceCount")
ENTRY_WORDS = {*ENTRY_NEEDED, "modelVersionId", "envs", "resourcePoolType"}
NO_VERSION = "Please use create_model first, or input parameter service_models=[{modelVersionId:]}"


def model_type(words: Mapping[str, Any]) -> str:
    """The type given, else the one that the other words mean."""
    given = words.get("model_framework_type")
    if given is not None:
        return str(given)
    if words.get("model_mirrorUrl"):
        return CUSTOM
    code = ("model_code_dir", "model_boot_file", "model_git_info")
    return BASIC if any(words.get(name) for name in code) else PRESET_MODEL


def check_words(words: Mapping[str, Any]) -> None:
    """ValueError for a keyword that ``create_model`` does not take."""
    surplus = sorted(set(words) - set(MODEL_WORDS))
    if surplus:
        raise ValueError(f"{', '.join(surplus)} is surplus")


def check_model(session: Session, words: Mapping[str, Any]) -> None:
    """ValueError for the first rule that is broken; catalogues are asked last."""
    check_words(words)
    form = model_type(words)
    if form not in MODEL_TYPES:
        raise ValueError(f"model_framework_type must be one of {', '.join(MODEL_TYPES)}, not {form!r}!")
    if words.get("model_id") is None and not words.get("model_name"):
        raise ValueError("model_name must set!")
    for name in NEEDED[form]:
        if words.get(name) is None or words[name] == "":
            raise ValueError(f"{name} must set when model_framework_type is {form}!")
    if form == BASIC and not words.get("model_code_dir") and not words.get("model_git_info"):
        raise ValueError("model_code_dir or model_git_info must set!")
    _check_values(words)
    if form == CUSTOM:
        return
    kind = CatalogueKind.PREDICT_FRAMEWORK if form == BASIC else CatalogueKind.PRESET_MODEL
    catalogues.find(session, kind, words["model_framework"], "model_framework is not exist, please check it!")


def _check_values(words: Mapping[str, Any]) -> None:
    for name in TEXTS:
        if words.get(name) is not None and not isinstance(words[name], str):
            raise ValueError(f"{name} must type of str!")
    for name in ("model_path", "model_code_dir"):
        if words.get(name) and not words[name].startswith((S3, DOCKER)):
            raise ValueError(f'{name} must conform to "s3://XXX"')
    git = words.get("model_git_info")
    if git is not None and not (isinstance(git, Mapping) or _mappings(git)):
        raise ValueError("model_git_info must be a dict, or a list of dict!")


def check_service(session: Session, words: Mapping[str, Any], default_version: int | None) -> None:
    """ValueError for the first rule of ``deploy_predictor`` that is broken; the catalogue is asked last."""
    if set(words) != SERVICE_WORDS:
        wrong = sorted(set(words) ^ SERVICE_WORDS)
        raise ValueError(
            f"service_name, service_type and service_models must set and no other: see {', '.join(wrong)}!"
        )
    if not isinstance(words["service_name"], str) or not words["service_name"]:
        raise ValueError("service_name must type of str!")
    if words["service_type"] != ONLINE:
        raise ValueError(f"service_type must be {ONLINE}, not {words['service_type']!r}!")
    entries = words["service_models"]
    if not _mappings(entries) or not entries:
        raise ValueError("service_models must be a list of dict!")
    for entry in entries:
        _check_entry(entry, default_version)
    for entry in entries:
        message = "resourceId is not exist, please check it!"
        catalogues.find(session, CatalogueKind.PREDICT_MACHINE, entry["resourceId"], message)


def _check_entry(entry: Mapping[str, Any], default_version: int | None) -> None:
    for name in ENTRY_NEEDED:
        if entry.get(name) is None:
            raise ValueError(f"service_models: {name} must set!")
    surplus = sorted(set(entry) - ENTRY_WORDS)
    if surplus:
        raise ValueError(f"service_models: {', '.join(surplus)} is surplus")
    for name in ("instanceCount", "weight"):
        if not isinstance(entry[name], int):
            raise ValueError(f"{name} must type of int!")
    if entry["instanceCount"] > MOST:
        raise ValueError(f"instanceCount must < {MOST}!")
    if entry.get("modelVersionId") is None and default_version is None:
        raise ValueError(NO_VERSION)
    envs = entry.get("envs") or {}
    if not isinstance(envs, Mapping) and not (_mappings(envs) and all(set(e) == {"name", "value"} for e in envs)):
        raise ValueError("envs must be a list of {name, value}!")
    if entry.get("resourcePoolType") not in (None, *POOLS):
        raise ValueError(f"resourcePoolType must be one of {', '.join(POOLS)}!")


def _mappings(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(e, Mapping) for e in value)

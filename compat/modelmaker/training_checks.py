"""What an Estimator is refused for before anything is sent, in ModelMaker's order and words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Protocol

from headway.domain.catalogue import CatalogueKind
from modelmaker import catalogues
from modelmaker.exceptions import ModelMakerError
from modelmaker.session import S3, Session

BASIC, PRESET, CUSTOM = "BASIC_FRAMEWORK", "PRESET_ALGORITHM", "CUSTOM"
FRAMEWORK_TYPES = (BASIC, PRESET, CUSTOM)
POOLS = ("PUBLIC_POOL", "PERSONAL_POOL")
RESOURCE_KEYS = {"cpu", "memory", "gpuModel", "gpuCount"}
MOST = 10
"""Machines, and volume in GiB; the original let 10 itself pass, and said < 10."""
NEEDED = {
    BASIC: ("boot_file", "framework", "output_path", "inputs"),
    PRESET: ("algorithm", "output_path", "inputs"),
    CUSTOM: ("user_image_url", "output_path"),
}
TYPES: dict[str, type] = {
    "max_runtime": int,
    "boot_file": str,
    "user_image_url": str,
    "user_command": str,
    "user_command_args": str,
    "init_model": str,
    "git_info": dict,
    "hyperparameters": list,
    "input_files": list,
    "env": list,
    "monitors": list,
}
"""The tables' column of types, where it is not said by another rule."""
DOCKER = "docker://"


class Given(Protocol):
    """An Estimator's keywords, as its attributes."""

    code_dir: Any
    modelmaker_session: Session | None

    def __getattribute__(self, name: str) -> Any: ...


def check(given: Given, inputs: Any) -> None:
    """ValueError (or TypeError, ModelMakerError of ``code_dir``) for the first rule that is broken.

    What needs the catalogues is asked where the original asked it; nothing is made or uploaded.
    """
    _check_number("train_instance_count", given.train_instance_count)
    _check_number("volume_size", given.volume_size)
    if given.train_instance_type is None:
        raise ValueError("train_instance_type must set!")
    _check_pool(given)
    if given.framework_type not in FRAMEWORK_TYPES:
        raise ValueError(f"framework_type must be one of {', '.join(FRAMEWORK_TYPES)}, not {given.framework_type!r}!")
    _check_types(given)
    _check_form(given, inputs)
    for name, value in (("inputs", inputs), ("output_path", given.output_path)):
        if value is not None and not (isinstance(value, str) and value.startswith(S3)):
            raise ValueError(f'{name} must conform to "s3://XXX"')
    _check_code(given)
    message = "train_instance_type is not exist, please check it!"
    catalogues.find(session_of(given), CatalogueKind.TRAIN_MACHINE, given.train_instance_type, message)


def session_of(given: Given) -> Session:
    """ValueError when there is none."""
    if given.modelmaker_session is None:
        raise ValueError("modelmaker_session must set!")
    return given.modelmaker_session


def _check_number(name: str, value: object) -> None:
    if value is None:
        raise ValueError(f"{name} must set!")
    if not isinstance(value, int):
        raise ValueError(f"{name} must type of int!")
    if value > MOST:
        raise ValueError(f"{name} < {MOST}!")


def _check_pool(given: Given) -> None:
    if given.resource_pool_type not in (None, *POOLS):
        raise ValueError(f"resource_pool_type must be one of {', '.join(POOLS)}, not {given.resource_pool_type!r}!")
    if given.resource_pool_type == "PERSONAL_POOL":
        resource = given.custom_resource
        if not isinstance(resource, dict) or set(resource) != RESOURCE_KEYS:
            raise ValueError(f"custom_resource must be a dict of {', '.join(sorted(RESOURCE_KEYS))}!")


def _check_form(given: Given, inputs: Any) -> None:
    form = given.framework_type
    for name in NEEDED[form]:
        value = inputs if name == "inputs" else getattr(given, name)
        if value is None or value == "":
            raise ValueError(f"{name} must set when framework_type is {form}!")
    if form == BASIC:
        if not given.code_dir and not given.git_info:
            raise ValueError("code_dir or git_info must set!")
        message = "framework is not exist, please check it!"
        catalogues.find(session_of(given), CatalogueKind.TRAIN_FRAMEWORK, given.framework, message)
    elif form == PRESET:
        message = "algorithmId is not exist, please check it!"
        catalogues.find(session_of(given), CatalogueKind.PRESET_ALGORITHM, given.algorithm, message)


def _check_types(given: Given) -> None:
    for name, kind in TYPES.items():
        value = getattr(given, name)
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise ValueError(f"{name} must type of {kind.__name__}!")
    try:
        shlex.split(given.user_command_args or "")
    except ValueError as error:
        raise ValueError(f"user_command_args: {error}!") from None
    for item in given.hyperparameters or ():
        _check_keys("hyperparameters", item, {"name", "value"})
    for item in given.input_files or ():
        _check_keys("input_files", item, {"name", "path"})
        if item["name"] == "train":
            raise ValueError("input_files: the name 'train' is that of inputs!")
    for item in given.monitors or ():
        if isinstance(item, Mapping) and "regular" in item:
            _check_keys("monitors", item, {"name", "regular"}, {"sample"})
        elif not isinstance(item, Mapping) or not all(isinstance(regular, str) for regular in item.values()):
            raise ValueError(f"monitors must be a list of {{name, regular, sample}}, not {item!r}!")
    for item in given.env or ():
        if not isinstance(item, Mapping) or "name" not in item or len(item) != 2:
            raise ValueError("env must be a list of {name, value}!")


def _check_keys(name: str, item: Any, needed: set[str], optional: AbstractSet[str] = frozenset()) -> None:
    if not isinstance(item, Mapping) or not needed <= set(item) <= needed | optional:
        raise ValueError(f"{name} must be a list of {{{', '.join(sorted(needed | optional))}}}!")


def is_local(path: str) -> bool:
    """Whether a code directory is to be uploaded."""
    return not path.startswith((S3, DOCKER))


def _check_code(given: Given) -> None:
    code = given.code_dir
    if code is None or given.framework_type == PRESET:
        return
    if not isinstance(code, str):
        raise TypeError("code_dir must type of str!")
    if is_local(code):
        if session_of(given).bucket is None:
            raise ModelMakerError("Session(...,bucket=xxx) must be set!")
        if not Path(code).exists():
            raise ModelMakerError(f"code_dir {code!r} is not exist!")

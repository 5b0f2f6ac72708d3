"""Parameters and inputs of a job: how they reach its program.

Always as the JSON file HEADWAY_PARAMS_FILE and as HEADWAY_PARAM_<NAME>; as ``--name value`` arguments or as plain variables
where the job says so.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue

from headway.domain.base import check_variables

MAX_PARAMETERS = 1000
_UNFIT = re.compile(r"[^A-Za-z0-9_]")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,255}")


def _checked(parameters: dict[str, JsonValue]) -> dict[str, JsonValue]:
    taken: dict[str, str] = {}
    for name in parameters:
        if not _PLAIN_NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} is no parameter name: letters, digits, '_', '.' and '-', not beginning with a digit"
            )
        other = taken.setdefault(variable_of(name), name)
        if other != name:
            raise ValueError(f"the parameters {other!r} and {name!r} would be the same variable {variable_of(name)}")
        if not _is_finite(parameters[name]):
            raise ValueError(f"the parameter {name!r} holds a number that JSON has not: write it as a text")
    check_variables(parameter_variables(parameters))
    return parameters


def _is_finite(value: JsonValue) -> bool:
    if isinstance(value, (dict, list)):
        return all(map(_is_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


Parameters = Annotated[dict[str, JsonValue], Field(max_length=MAX_PARAMETERS), AfterValidator(_checked)]


def text_of(value: JsonValue) -> str:
    """A value as the text that arguments and variables carry: texts as they are, all else as JSON.

    >>> text_of("adam"), text_of(True), text_of(None), text_of(0.1), text_of([1, 2])
    ('adam', 'true', '', '0.1', '[1, 2]')
    """
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def variable_of(name: str) -> str:
    """The name of a parameter's plain variable.

    >>> variable_of("optimizer.lr")
    'OPTIMIZER_LR'
    """
    return _UNFIT.sub("_", name).upper()


INPUT_DIRECTORY = "HEADWAY_INPUT_DIR"
"""The directory of the input ``train``, or of the first one."""


def input_variable(name: str) -> str:
    """The variable with the directory of an input.

    >>> input_variable("val.extra")
    'HEADWAY_INPUT_VAL_EXTRA'
    """
    return f"HEADWAY_INPUT_{variable_of(name)}"


def parameter_variables(parameters: Mapping[str, JsonValue], *, plain: bool = False) -> dict[str, str]:
    """The variables of a program's environment; ``plain`` adds those without the prefix.

    >>> parameter_variables({"lr": 0.1}, plain=True)
    {'HEADWAY_PARAM_LR': '0.1', 'LR': '0.1'}
    """
    found: dict[str, str] = {}
    for name, value in parameters.items():
        variable, text = variable_of(name), text_of(value)
        found[f"HEADWAY_PARAM_{variable}"] = text
        if plain:
            found[variable] = text
    return found


def with_arguments(command: Sequence[str], parameters: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """The command with ``--name value`` for each parameter. A shell's command gets them behind its last word.

    >>> with_arguments(["python", "train.py"], {"lr": 0.1})
    ('python', 'train.py', '--lr', '0.1')
    >>> with_arguments(["/bin/sh", "-c", "python train.py"], {"lr": 0.1})
    ('/bin/sh', '-c', 'python train.py "$@"', 'sh', '--lr', '0.1')
    """
    if not parameters:
        return tuple(command)
    arguments = [part for name, value in parameters.items() for part in (f"--{name}", text_of(value))]
    if len(command) == 3 and tuple(command[:2]) == ("/bin/sh", "-c"):
        return (*command[:2], f'{command[2]} "$@"', "sh", *arguments)
    return (*command, *arguments)

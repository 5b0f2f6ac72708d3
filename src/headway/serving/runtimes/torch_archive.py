"""Looking through a ``torch.export`` archive before PyTorch reads it.

``torch.export.load`` trusts its file: it unpickles weights and constants that say so, falls back to unpickling the sample
inputs, evaluates sizes as expressions, resolves the functions that a graph calls by attribute of the module ``torch``, runs
guards that are Python source, and loads compiled libraries. Here each of these is refused where it is more than the plain
thing that exporting a network writes.

Source: torch/export/pt2_archive/_package.py and torch/_export/serde/serialize.py of PyTorch 2.8 to 2.13.
"""

from __future__ import annotations

import ast
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headway.errors import ModelLoadError
from headway.serving.runtimes.zips import check_archive

OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|prim|quantized|quantized_decomposed|higher_order|_c10d_functional)\.\w+(\.\w+)?"
)
PLAIN_FUNCTION = re.compile(
    r"_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|lshift|rshift)"
    r"|math\.(ceil|floor|trunc|sqrt|log|log2|exp|pow)|torch\._?sym_\w+"
)
UNSAFE_OPERATORS = frozenset({"from_file", "print_backtrace"})
SIZE_FUNCTIONS = re.compile(
    r"Symbol|Integer|Float|Rational|Add|Mul|Pow|Max|Min|Abs|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not|Equality|Unequality"
    r"|(Strict)?(Less|Greater)Than|floor|ceiling|(Floor|Clean|Ceil)Div|ModularIndexing|Where|(Python)?Mod|[LR]Shift"
    r"|PowByNatural|FloatPow|(Float|Int)TrueDiv|IsNonOverlappingAndDenseIndicator|(Ceil|Floor|Trunc|Round)ToInt"
    r"|TruncToFloat|RoundDecimal|ToFloat|Identity"
)
PAYLOADS = ("data/weights/", "data/constants/")
STORED = re.compile(r"(weight|tensor)_[0-9]+")
SIZE_NODES = (
    ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant, ast.BinOp, ast.UnaryOp, ast.Compare,
    ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip
LIMIT_BYTES = 256 * 1024 * 1024
"""Largest JSON part that is looked through; graphs are far smaller."""


def check_exported(path: Path) -> None:
    """Refuse an archive that would run code, or that is none.

    Raises:
        ModelLoadError: With what was found.
    """
    names = check_archive(path)
    inner = [name.partition("/")[2] for name in names]
    if not any(name.startswith("models/") and name.endswith(".json") for name in inner):
        raise ModelLoadError(
            f"{path.name} holds no exported program.", hint="Save it by `torch.export.save(program, 'model.pt2')`."
        )
    for name in inner:
        if name.startswith("data/aotinductor/"):
            raise _refused(path, "compiled libraries (AOTInductor)")
        if name.startswith(PAYLOADS) and not name.endswith("_config.json") and not _is_stored(name):
            raise _refused(path, f"a weight or constant that is no plain tensor ({name})")
    if any(name == "version" or name.startswith("serialized_") for name in names):
        raise _refused(path, "a program in the form of PyTorch 2.7")
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith(".json") or "/models/" in member.filename:
                _check_json(path, _document(path, archive, member))


def _is_stored(name: str) -> bool:
    return STORED.fullmatch(name.removeprefix(PAYLOADS[0]).removeprefix(PAYLOADS[1])) is not None


def sample_inputs(path: Path) -> Iterator[bytes]:
    """The pickled sample inputs of the archive, which may only hold tensors and plain values."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.partition("/")[2].startswith("data/sample_inputs/") and member.file_size:
                yield archive.read(member)


def _document(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    if member.file_size > LIMIT_BYTES:
        raise ModelLoadError(
            f"{path.name} has a description of {member.file_size} bytes; at most {LIMIT_BYTES} are read."
        )
    try:
        return json.loads(archive.read(member))
    except (ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise ModelLoadError(f"{path.name} is damaged: {member.filename}: {error}.") from error


def _check_json(path: Path, document: Any) -> None:
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            for key, item in value.items():
                problem = _problem(key, item)
                if problem:
                    raise _refused(path, problem)


def _problem(key: str, item: Any) -> str:
    """What is wrong with one entry of a description; empty when nothing is."""
    if key == "target" and isinstance(item, str) and not _is_plain_function(item):
        return f"a call of {item[:100]!r}"
    if key == "expr_str" and not _is_size(item):
        return f"a size that is no plain expression ({str(item)[:100]!r})"
    if key == "path_name" and not STORED.fullmatch(str(item)):
        return f"a weight or constant that is no plain tensor ({str(item)[:100]!r})"
    if key == "use_pickle" and item:
        return "weights or constants that are unpickled"
    if key in ("as_custom_obj", "as_opaque_obj", "custom_obj_values") and item:
        return "objects that are no tensors"
    if key in ("in_spec", "out_spec") and isinstance(item, str) and "__enum__" in item:
        return "inputs or outputs of a class of its own"
    return ""


def _is_plain_function(target: str) -> bool:
    if PLAIN_FUNCTION.fullmatch(target):
        return True
    return bool(OPERATOR.fullmatch(target)) and target.split(".")[3] not in UNSAFE_OPERATORS


def _is_size(text: Any) -> bool:
    if not isinstance(text, str) or len(text) > 10_000:
        return False
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(_is_part_of_size(node) for node in ast.walk(tree))


def _is_part_of_size(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        texts = [argument for argument in node.args if isinstance(getattr(argument, "value", None), str)]
        named = isinstance(node.func, ast.Name) and SIZE_FUNCTIONS.fullmatch(node.func.id) is not None
        return named and (not texts or (node.func.id == "Symbol" and all(t.value.isidentifier() for t in texts)))  # type: ignore[attr-defined]
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (int, float, str))
    return isinstance(node, SIZE_NODES)


def _refused(path: Path, what: str) -> ModelLoadError:
    return ModelLoadError(
        f"{path.name} holds {what}, which could run code and is not loaded.",
        hint="Export the network alone, or serve it through a predict.py.",
    )

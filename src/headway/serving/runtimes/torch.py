"""PyTorch: programs of ``torch.export`` (``*.pt2``) and TorchScript (``*.pt``, ``*.pth``). Nothing is unpickled freely."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # read at each torch.load, wherever in PyTorch it is called

import torch

from headway.errors import ModelLoadError
from headway.serving.runtimes.base import Arrays, Signature, TensorSpec
from headway.serving.runtimes.files import the_model_file
from headway.serving.runtimes.probing import made_up, rows_stand_alone, seen
from headway.serving.runtimes.reading import reading, refuse_pickle, threads
from headway.serving.runtimes.torch_archive import check_exported, sample_inputs
from headway.serving.runtimes.zips import check_archive

PATTERNS = ("*.pt2", "*.pt", "*.pth")
OUTPUT = "output"
NO_NUMPY = {torch.bfloat16: torch.float32}
WEIGHTS_ONLY = "{name} holds weights alone (a state_dict), and no network that they belong to."
HINT = "Save it by `torch.export.save(torch.export.export(network, example), 'model.pt2')`, or add a predict.py."


class TorchRuntime:
    """Loads the one model file (``model.pt2`` if there are several)."""

    def load(self, model_dir: Path) -> TorchModel:
        exported = any(model_dir.rglob("*.pt2"))
        path = the_model_file(model_dir, ("*.pt2",) if exported else PATTERNS, "model.pt2" if exported else "model.pt")
        refuse_pickle(path)
        torch.set_num_threads(threads())
        with reading(path, "PyTorch"):
            return _exported(path) if exported else _scripted(path)


def _exported(path: Path) -> TorchModel:
    check_exported(path)
    for pickled in sample_inputs(path):
        torch.load(io.BytesIO(pickled), weights_only=True)
    program = torch.export.load(path)
    if getattr(program, "_guards_code", None):
        program._guards_code = []  # source code that would be run; shapes are checked by the signature
    inputs = tuple(_placeholders(program))
    return TorchModel(program.module(), inputs, "torch.export")


def _placeholders(program: Any) -> list[TensorSpec]:
    wanted = list(program.graph_signature.user_inputs)
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    specs = []
    for name in wanted:
        value = values.get(name)
        if not isinstance(value, torch.Tensor):
            raise ModelLoadError(f"The program's input {name!r} is no tensor.", hint="Export it with tensors alone.")
        shape = tuple(size if isinstance(size, int) else None for size in value.shape)
        specs.append(TensorSpec(name, _dtype(value.dtype), shape))
    return specs


def _scripted(path: Path) -> TorchModel:
    names = check_archive(path)
    parts = {name.partition("/")[2] for name in names}
    if "constants.pkl" not in parts or not any(part.startswith("code/") for part in parts):
        if "data.pkl" in parts:
            raise ModelLoadError(WEIGHTS_ONLY.format(name=path.name), hint=HINT)
        raise ModelLoadError(f"{path.name} is no TorchScript file.", hint=HINT)
    module = torch.jit.load(path, map_location="cpu").eval()
    arguments = list(module.forward.schema.arguments)[1:]
    for argument in arguments:
        if str(argument.type) != "Tensor":
            raise ModelLoadError(f"The input {argument.name!r} is a {argument.type}; only tensors can be sent.")
    dtype = next(
        (_dtype(value.dtype) for value in module.state_dict().values() if value.is_floating_point()), "float32"
    )
    inputs = tuple(TensorSpec(argument.name, dtype, None) for argument in arguments)
    return TorchModel(module, inputs, "TorchScript")


class TorchModel:
    """A network in inference mode. One output is called ``output``, several ``output_0``, ``output_1`` and so on."""

    batch = True

    def __init__(self, module: Any, inputs: tuple[TensorSpec, ...], form: str) -> None:
        self._module = module
        self._dtypes = [(spec.name, getattr(torch, spec.dtype)) for spec in inputs]
        outputs, rows = self._tried(inputs)
        self.signature: Signature | None = Signature(inputs, outputs, rows=rows)
        self.metadata: Mapping[str, Any] = {"runtime": "torch", "torch": torch.__version__, "form": form}

    def _tried(self, inputs: tuple[TensorSpec, ...]) -> tuple[tuple[TensorSpec, ...], bool]:
        """What it answers, and whether rows stand alone. Of TorchScript shapes are not known, so rows stay together."""
        free = bool(inputs) and all(spec.shape and spec.shape[0] is None for spec in inputs)
        sizes = [spec.shape[0] if spec.shape else None for spec in inputs]
        probe = made_up(inputs, rows=sizes[0] or 3 if sizes else 3)
        if probe is None:
            return (), False
        rows = len(next(iter(probe.values())))
        try:
            outputs = seen(self.predict(probe), rows if free else -1)
        except Exception:  # noqa: BLE001  # made-up values are no proof of anything
            return (), free
        alike = all(spec.shape and spec.shape[0] is None for spec in outputs)
        return outputs, free and alike and rows_stand_alone(self.predict, inputs)

    def predict(self, inputs: Arrays) -> Arrays:
        with torch.inference_mode():
            answer = self._module(
                *(torch.as_tensor(writable(inputs[name]), dtype=dtype) for name, dtype in self._dtypes)
            )
        return {name: _array(value) for name, value in _named(answer)}


def _named(answer: Any) -> list[tuple[str, Any]]:
    if isinstance(answer, dict):
        return [(str(name), value) for name, value in answer.items()]
    if isinstance(answer, (list, tuple)) and not isinstance(answer, torch.Tensor):
        if len(answer) == 1:
            return [(OUTPUT, answer[0])]
        names = getattr(answer, "_fields", None) or [f"{OUTPUT}_{number}" for number in range(len(answer))]
        return list(zip(names, answer, strict=True))
    return [(OUTPUT, answer)]


def writable(array: Any) -> Any:
    """An array of its own where this one lies in a request's body: torch writes in place without asking."""
    return array if array.flags.writeable else array.copy()


def _array(value: Any) -> Any:
    return value.to(NO_NUMPY.get(value.dtype, value.dtype)).numpy()


def _dtype(dtype: Any) -> str:
    return str(NO_NUMPY.get(dtype, dtype)).removeprefix("torch.")

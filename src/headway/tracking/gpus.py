"""NVIDIA GPUs through nvidia-ml-py, where it is installed and a driver answers; nothing elsewhere."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from headway.tracking.imports import import_quietly

log = logging.getLogger(__name__)


class Gpus:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES says when it is made.

    They are numbered as on the machine. A value that a device does not tell (a passively cooled one has no fan, a virtual
    one no power) is left out; so is everything when the driver goes away.
    """

    def __init__(self) -> None:
        self._library: Any = None
        self._devices: list[tuple[int, Any]] = []
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        try:
            library: Any = import_quietly("pynvml")
        except ImportError:
            return
        try:
            library.nvmlInit()
        except library.NVMLError as error:
            log.debug("no NVIDIA GPU is measured: %s", error)
            return
        self._library = library
        found = self._ask(lambda library: library.nvmlDeviceGetCount()) or 0
        handles = [(number, self._ask(_handle(number))) for number in range(found)]
        self._devices = [
            (number, handle)
            for number, handle in handles
            if handle is not None and self._is_visible(number, handle, visible)
        ]

    def __len__(self) -> int:
        return len(self._devices)

    def describe(self) -> list[dict[str, Any]]:
        """What each is: ``index``, ``name``, ``memory_bytes``, ``uuid``, ``driver``, ``cuda``, as far as it is known."""
        driver = _text(self._ask(lambda library: library.nvmlSystemGetDriverVersion()))
        cuda = self._ask(lambda library: library.nvmlSystemGetCudaDriverVersion())
        found = []
        for number, handle in self._devices:
            told = {
                "index": number,
                "name": _text(self._of(handle, "nvmlDeviceGetName")),
                "memory_bytes": getattr(self._of(handle, "nvmlDeviceGetMemoryInfo"), "total", None),
                "uuid": _text(self._of(handle, "nvmlDeviceGetUUID")),
                "driver": driver,
                "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}" if isinstance(cuda, int) else None,
            }
            found.append({key: value for key, value in told.items() if value is not None})
        return found

    def sample(self) -> dict[str, float | int]:
        """What each does at this moment; names and units as :class:`headway.tracking.system.SystemMetrics` says."""
        row: dict[str, float | int] = {}
        for number, handle in self._devices:
            use = self._of(handle, "nvmlDeviceGetUtilizationRates")
            memory = self._of(handle, "nvmlDeviceGetMemoryInfo")
            power = self._of(handle, "nvmlDeviceGetPowerUsage")
            told = {
                "percent": getattr(use, "gpu", None),
                "memory.used_bytes": getattr(memory, "used", None),
                "memory.percent": 100 * memory.used / memory.total if memory is not None and memory.total else None,
                "temperature_celsius": self._of(handle, "nvmlDeviceGetTemperature", 0),
                "power_watts": power / 1000 if power is not None else None,
            }
            row.update({f"gpu.{number}.{name}": value for name, value in told.items() if value is not None})
        return row

    def _of(self, handle: Any, question: str, *more: Any) -> Any:
        return self._ask(lambda library: getattr(library, question)(handle, *more))

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        """The answer, or None where there is none."""
        if self._library is None:
            return None
        try:
            return question(self._library)
        except (self._library.NVMLError, AttributeError) as error:
            log.debug("a GPU does not tell: %s", error)
            return None

    def _is_visible(self, number: int, handle: Any, visible: str | None) -> bool:
        """CUDA_VISIBLE_DEVICES names devices by number or by the beginning of their UUID."""
        if visible is None:
            return True
        words = [word.strip() for word in visible.split(",")]
        uuid = _text(self._of(handle, "nvmlDeviceGetUUID")) or ""
        return any(
            word == str(number) or (word.startswith(("GPU-", "MIG-")) and uuid.startswith(word)) for word in words
        )


def _handle(number: int) -> Callable[[Any], Any]:
    return lambda library: library.nvmlDeviceGetHandleByIndex(number)


def _text(value: Any) -> str | None:
    """Older releases of the library give bytes."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else None

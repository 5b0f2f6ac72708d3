"""Rows of system metrics: what is in them, when they come, and that nothing hangs."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from headway.errors import ConflictError
from headway.tracking.gpus import Gpus
from headway.tracking.system import SystemMetrics

AT_ONCE = {
    "process.rss_bytes",
    "process.threads",
    "memory.used_bytes",
    "memory.available_bytes",
    "memory.percent",
    "disk.used_bytes",
    "disk.percent",
}
AS_RATES = {"cpu.percent", "process.cpu_percent", "network.received_bytes_per_second", "network.sent_bytes_per_second"}


class Rows:
    """Keeps what it is given, and can be waited on."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._more = threading.Condition()

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> bool:
        with self._more:
            self.rows.append(dict(metrics))
            self._more.notify_all()
        return True

    def wait_for(self, count: int) -> None:
        with self._more:
            assert self._more.wait_for(lambda: len(self.rows) >= count, timeout=60)


def test_a_row_at_either_end_and_between(tmp_path: Path) -> None:
    rows = Rows()
    system = SystemMetrics(rows, every=0.05, directory=tmp_path)
    system.start()
    rows.wait_for(3)
    system.stop()
    count = len(rows.rows)
    assert count >= 4
    first, last = rows.rows[0], rows.rows[-1]
    assert set(first) >= AT_ONCE
    assert not AS_RATES & set(first)
    assert set(last) | {"cpu.percent"} >= AT_ONCE | AS_RATES
    for row in rows.rows:
        assert all(math.isfinite(value) and value >= 0 for value in row.values())


def test_values_are_what_the_machine_says(tmp_path: Path) -> None:
    rows = Rows()
    system = SystemMetrics(rows, directory=tmp_path)
    system.start()
    rows.wait_for(1)
    system.stop()
    row = rows.rows[0]
    assert row["process.rss_bytes"] == pytest.approx(psutil.Process().memory_info().rss, rel=0.5)
    assert row["disk.used_bytes"] == pytest.approx(psutil.disk_usage(str(tmp_path)).used, rel=0.1)
    assert 0 < row["memory.percent"] <= 100


def test_a_busy_process_is_seen(tmp_path: Path) -> None:
    rows = Rows()
    system = SystemMetrics(rows, every=3600, directory=tmp_path)
    system.start()
    rows.wait_for(1)
    used = time.process_time()
    while time.process_time() - used < 0.3:
        sum(range(1000))
    system.stop()
    assert len(rows.rows) == 2
    last = rows.rows[-1]
    assert last["process.cpu_percent"] > 0
    assert 0 < last["cpu.percent"] <= 100


def test_stopping_is_not_waiting_for_the_next_row(tmp_path: Path) -> None:
    """With a row an hour; the test's time limit would say so."""
    rows = Rows()
    system = SystemMetrics(rows, every=3600, directory=tmp_path)
    system.start()
    system.stop(timeout=60)
    system.stop(timeout=60)
    assert 1 <= len(rows.rows) <= 2


def test_stopped_before_it_was_started() -> None:
    rows = Rows()
    SystemMetrics(rows).stop()
    assert rows.rows == []


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    rows = Rows()
    system = SystemMetrics(rows, every=3600, directory=tmp_path / "gone")
    system.start()
    rows.wait_for(1)
    system.stop()
    assert "disk.used_bytes" not in rows.rows[0]
    assert "memory.used_bytes" in rows.rows[0]


def test_a_writer_that_refuses_ends_nothing(tmp_path: Path) -> None:
    class Refuses(Rows):
        def log(self, metrics: Mapping[str, Any], step: int | None = None) -> bool:
            super().log(metrics)
            raise ConflictError("The run is finished.")

    rows = Refuses()
    system = SystemMetrics(rows, every=0.01, directory=tmp_path)
    system.start()
    rows.wait_for(3)
    system.stop()


def test_a_reading_that_hangs_does_not_keep_the_program(tmp_path: Path) -> None:
    release = threading.Event()

    class Hangs(Rows):
        def log(self, metrics: Mapping[str, Any], step: int | None = None) -> bool:
            super().log(metrics)
            return release.wait(60)

    rows = Hangs()
    system = SystemMetrics(rows, every=0.01, directory=tmp_path)
    system.start()
    rows.wait_for(1)
    system.stop(timeout=0.01)
    assert len(rows.rows) == 1
    release.set()


FORKING = """
import os, sys, threading
from headway.tracking.system import SystemMetrics

class Rows:
    def log(self, metrics, step=None):
        return True

for number in range(30):
    system = SystemMetrics(Rows(), every=0.001)
    system.start()
    pid = os.fork()
    if pid == 0:
        system.stop()
        import psutil, pynvml
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    system.stop()
print("done")
"""


def test_forks_at_any_moment() -> None:
    """Also while the thread imports what it needs: each child imports it, too."""
    for _ in range(20 if "HEADWAY_TEST_FULL" in os.environ else 3):
        done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=120)
        assert done.stdout == "done\n", done.stderr


# A machine with GPUs, as far as nvidia-ml-py shows it: the same functions, errors and structures.
DRIVER = """
class NVMLError(Exception):
    pass
class NVMLError_NotSupported(NVMLError):
    pass
class Told:
    def __init__(self, **values):
        self.__dict__.update(values)
UUIDS = ["GPU-aaaa-0000", "GPU-bbbb-1111", "GPU-cccc-2222"]
def nvmlInit():
    pass
def nvmlSystemGetDriverVersion():
    return b"550.54.15"
def nvmlSystemGetCudaDriverVersion():
    return 12040
def nvmlDeviceGetCount():
    return 3
def nvmlDeviceGetHandleByIndex(index):
    if index == 2:
        raise NVMLError("GPU is lost")
    return index
def nvmlDeviceGetName(handle):
    return "NVIDIA H200"
def nvmlDeviceGetUUID(handle):
    return UUIDS[handle]
def nvmlDeviceGetMemoryInfo(handle):
    return Told(total=1000, used=250, free=750)
def nvmlDeviceGetUtilizationRates(handle):
    return Told(gpu=40 + handle, memory=3)
def nvmlDeviceGetPowerUsage(handle):
    if handle == 1:
        raise NVMLError_NotSupported("Not Supported")
    return 70500
def nvmlDeviceGetTemperature(handle, sensor):
    return 33
"""


class TestGpus:
    @pytest.fixture(autouse=True)
    def driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        library = types.ModuleType("pynvml")
        exec(DRIVER, library.__dict__)
        monkeypatch.setitem(sys.modules, "pynvml", library)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def test_rows(self) -> None:
        assert Gpus().sample() == {
            "gpu.0.percent": 40,
            "gpu.0.memory.used_bytes": 250,
            "gpu.0.memory.percent": 25.0,
            "gpu.0.temperature_celsius": 33,
            "gpu.0.power_watts": 70.5,
            "gpu.1.percent": 41,
            "gpu.1.memory.used_bytes": 250,
            "gpu.1.memory.percent": 25.0,
            "gpu.1.temperature_celsius": 33,
        }

    def test_descriptions(self) -> None:
        assert Gpus().describe()[1] == {
            "index": 1,
            "name": "NVIDIA H200",
            "memory_bytes": 1000,
            "uuid": "GPU-bbbb-1111",
            "driver": "550.54.15",
            "cuda": "12.4",
        }

    @pytest.mark.parametrize(
        ("visible", "indexes"),
        [("", []), ("1", [1]), ("1,0", [0, 1]), ("GPU-bbbb", [1]), ("-1", []), ("7", []), ("NoDevFiles", [])],
    )
    def test_only_what_this_process_may_use(
        self, visible: str, indexes: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert [gpu["index"] for gpu in Gpus().describe()] == indexes


def test_without_a_driver_there_are_none() -> None:
    code = (
        "import pynvml\n"
        "from headway.tracking.gpus import Gpus\n"
        "try:\n    pynvml.nvmlInit(); there = pynvml.nvmlDeviceGetCount()\n"
        "except pynvml.NVMLError:\n    there = 0\n"
        "gpus = Gpus()\n"
        "assert len(gpus) == there == len(gpus.describe())\n"
        "assert bool(gpus.sample()) == bool(there)\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)

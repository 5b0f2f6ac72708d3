"""Instance types: named sizes of machine."""

from __future__ import annotations

from pydantic import Field

from headway.domain.base import Description, Labels, Record, Request, Slug


class InstanceType(Record):
    """A size that a job or deployment asks for by name.

    CPU is a share and never refuses a start; memory (only where ``reserve_memory``) and GPUs are reserved.
    """

    name: str
    cpu: float
    """Cores."""
    memory_mb: int = 0
    """MiB; 0 asks for none in particular."""
    gpu: int = 0
    alias_of: str | None = None
    labels: dict[str, str] = {}
    description: str = ""
    default: bool = False


class InstanceTypeSet(Request):
    """Create or replace an instance type; an alias takes its size from ``alias_of``."""

    cpu: float = Field(default=1.0, gt=0, le=4096)
    memory_mb: int = Field(default=0, ge=0, le=1 << 40)
    gpu: int = Field(default=0, ge=0, le=1024)
    alias_of: Slug | None = None
    labels: Labels = {}
    description: Description = ""


class Capacity(Record):
    """What an engine has in all."""

    cpu: float
    memory_mb: int
    gpu: int


def default_catalogue(capacity: Capacity) -> tuple[InstanceType, ...]:
    """A first catalogue fitted to the machine: ``cpu.small`` (the default), larger ones that fit, and ``gpu.N``.

    >>> [t.name for t in default_catalogue(Capacity(cpu=2, memory_mb=24576, gpu=0))]
    ['cpu.small', 'cpu.medium']
    """
    small = InstanceType(name="cpu.small", cpu=1, default=True, description="1 core")
    sizes = [("cpu.medium", 2), ("cpu.large", 4), ("cpu.xlarge", 8), ("cpu.2xlarge", 16)]
    found = [small]
    found += [InstanceType(name=n, cpu=c, description=f"{c} cores") for n, c in sizes if c <= max(capacity.cpu, 2)]
    count = 1
    while count <= capacity.gpu:
        share = max(1.0, capacity.cpu * count / capacity.gpu)
        plural = "" if count == 1 else "s"
        found.append(InstanceType(name=f"gpu.{count}", cpu=share, gpu=count, description=f"{count} GPU{plural}"))
        count *= 2
    return tuple(found)

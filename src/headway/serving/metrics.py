"""Counters and a latency histogram in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds."""
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
"""Upper bounds in rows of a batch."""


class RequestMetrics:
    """What happened to the requests of one thing that serves."""

    def __init__(self) -> None:
        self.codes: Counter[int] = Counter()
        self.in_flight = 0
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def observe(self, code: int, seconds: float) -> None:
        """One request was answered."""
        self.codes[code] += 1
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self._sum += seconds

    def samples(self, prefix: str, labels: Mapping[str, str]) -> list[str]:
        """The lines of this thing, without the ``# TYPE`` lines."""
        lines = [
            f"{prefix}_requests_total{_labels({**labels, 'code': str(code)})} {count}"
            for code, count in sorted(self.codes.items())
        ]
        lines.append(f"{prefix}_requests_in_flight{_labels(labels)} {self.in_flight}")
        total = 0
        for bound, count in zip([*map(repr, BUCKETS), "+Inf"], self._counts, strict=True):
            total += count
            lines.append(f"{prefix}_request_seconds_bucket{_labels({**labels, 'le': bound})} {total}")
        lines.append(f"{prefix}_request_seconds_sum{_labels(labels)} {self._sum}")
        lines.append(f"{prefix}_request_seconds_count{_labels(labels)} {total}")
        return lines


class BatchMetrics:
    """How many rows were predicted at a time, and where."""

    def __init__(self) -> None:
        self._counts = [0] * (len(ROWS) + 1)
        self._sum = 0

    def observe(self, rows: int) -> None:
        """One batch was predicted."""
        self._counts[bisect_left(ROWS, rows)] += 1
        self._sum += rows

    def exposition(self, prefix: str, execution: str) -> bytes:
        """All of it; ``execution`` is where batches are predicted now."""
        lines, total = [f"# TYPE {prefix}_batch_rows histogram"], 0
        for bound, count in zip([*map(str, ROWS), "+Inf"], self._counts, strict=True):
            total += count
            lines.append(f'{prefix}_batch_rows_bucket{{le="{bound}"}} {total}')
        lines += [f"{prefix}_batch_rows_sum {self._sum}", f"{prefix}_batch_rows_count {total}"]
        lines.append(f"# TYPE {prefix}_execution gauge")
        lines += [f'{prefix}_execution{{where="{where}"}} {int(where == execution)}' for where in ("loop", "thread")]
        return ("\n".join(lines) + "\n").encode()


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    escaped = {k: v.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for k, v in labels.items()}
    return "{" + ",".join(f'{key}="{value}"' for key, value in escaped.items()) + "}"


def exposition(
    prefix: str, parts: Iterable[tuple[RequestMetrics, Mapping[str, str]]], refused: Mapping[int, int]
) -> bytes:
    """The whole answer: all samples of one metric together, each metric with its type.

    Args:
        prefix: Of every metric's name.
        parts: What serves, and the labels that tell it apart.
        refused: Status to the number of requests that could not be read.
    """
    types = {"requests_total": "counter", "requests_in_flight": "gauge", "request_seconds": "histogram"}
    lines = [line for metrics, labels in parts for line in metrics.samples(prefix, labels)]
    text = []
    for name, kind in types.items():
        text.append(f"# TYPE {prefix}_{name} {kind}")
        text += [line for line in lines if line.startswith(f"{prefix}_{name}")]
    text.append(f"# TYPE {prefix}_refused_total counter")
    text += [f'{prefix}_refused_total{{code="{code}"}} {count}' for code, count in sorted(refused.items())]
    return ("\n".join(text) + "\n").encode()

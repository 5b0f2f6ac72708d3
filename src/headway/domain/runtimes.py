"""What serves a model, by the files that it has. A replica reads this too, so it stands on the standard library alone."""

from __future__ import annotations

from collections.abc import Iterable

RUNTIME_FILES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("command", ("serving.yaml",)),
    ("python", ("predict.py",)),
    ("sklearn", ("*.skops",)),
    ("onnx", ("*.onnx",)),
    ("tensorflow", ("saved_model.pb", "saved_model.pbtxt")),
    ("keras", ("*.keras",)),
    ("torch", ("*.pt2", "*.pt", "*.pth")),
    ("xgboost", ("*.ubj", "*.xgb", "model.json")),
    ("lightgbm", ("*.lgb", "*.lightgbm", "model.txt")),
)
"""What a model is, by the files it has; the first line that fits wins. A pattern is a base name or ``*`` and a suffix."""


def detect_runtime(paths: Iterable[str]) -> str | None:
    """The runtime that fits the files, or None.

    ``predict.py`` and ``serving.yaml`` count only at the top; the others may lie deeper (``1/saved_model.pb``).

    >>> detect_runtime(["model.skops"]), detect_runtime(["weights.bin"])
    ('sklearn', None)
    """
    names = list(paths)
    for runtime, patterns in RUNTIME_FILES:
        for path in names:
            base = path.rpartition("/")[2]
            if any(_fits(base, pattern) and (runtime not in TOP_ONLY or path == base) for pattern in patterns):
                return runtime
    return None


def _fits(base: str, pattern: str) -> bool:
    return base.endswith(pattern[1:]) if pattern.startswith("*") else base == pattern


TOP_ONLY = frozenset({"command", "python"})
SERVED_RUNTIMES = frozenset(runtime for runtime, _ in RUNTIME_FILES)
"""What this version of Headway can serve; anything else is registered and refused at deployment with that reason."""

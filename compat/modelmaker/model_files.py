"""The files of a new model version: those of a path, of a code directory, or of both together."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headway.domain.runtimes import detect_runtime
from headway.errors import NotFoundError
from headway.paths import checked
from modelmaker.model_checks import PRESET_MODEL, model_type
from modelmaker.session import S3, Session
from modelmaker.training_checks import BASIC

PREDICT = "predict.py"
RUNS = "runs:/"
ABOUT = "modelmaker.json"
REFUSING = '''"""Says why this model cannot be served."""

REASON = {reason!r}


class Predictor:
    def __init__(self):
        raise RuntimeError(REASON)

    def predict(self, inputs):
        raise RuntimeError(REASON)
'''


@contextmanager
def gathered(session: Session, words: Mapping[str, Any], source: str | None) -> Iterator[Mapping[str, Any]]:
    """What ``client.models.register`` takes to know the files: ``source``, or a ``path`` that is there inside the block.

    Args:
        session: Whose.
        words: The keywords of ``create_model``, checked.
        source: Where the files of the model path are: itself, or what a training left.
    """
    form = model_type(words)
    if form == PRESET_MODEL:
        yield {"source": source}
        return
    if form != BASIC and source is not None and detect_runtime(_names(session, source)) is not None:
        yield {"source": source}
        return
    with tempfile.TemporaryDirectory(prefix="headway-") as scratch:
        directory = Path(scratch) / "model"
        directory.mkdir()
        if source is not None and (form == BASIC or _names(session, source)):
            _bring(session, source, directory)
        if form == BASIC:
            _add_code(session, words, directory)
        else:
            _refuse(directory, _custom_reason(words))
            about = {"mirrorUrl": words["model_mirrorUrl"], "modelPath": words.get("model_path")}
            (directory / ABOUT).write_text(json.dumps(about), encoding="utf-8")
        origin = words.get("model_code_dir") or source or words.get("model_mirrorUrl")
        yield {"path": directory, "source": origin if str(origin).startswith((S3, RUNS)) else None}


def _names(session: Session, source: str) -> list[str]:
    """Paths of the files at a source; none where there is nothing."""
    if source.startswith(RUNS):
        run, _, prefix = source.removeprefix(RUNS).partition("/")
        job = session.client.runs.get(run).job_id
        paths = [] if job is None else [entry.path for entry in session.client.jobs.get(job).outputs]
        return [path.removeprefix(f"{prefix}/") for path in paths if not prefix or path.startswith(f"{prefix}/")]
    if not source.startswith(S3):
        return []
    folder = source if source.endswith("/") else f"{source}/"
    try:
        found = [*session.client.objects.list(folder, project=session.project)]
    except NotFoundError:
        return []
    return [each.uri[len(folder) :] for each in found if not each.marks_directory]


def _bring(session: Session, source: str, directory: Path) -> None:
    if source.startswith(S3):
        session.client.objects.download(source, f"{directory}/", project=session.project)
        return
    run, _, prefix = source.removeprefix(RUNS).partition("/")
    job = session.client.runs.get(run).job_id
    if job is None:
        raise NotFoundError(f"The run {run!r} has no job that left a model.")
    with tempfile.TemporaryDirectory(prefix="headway-") as scratch:
        session.client.jobs.download_outputs(job, scratch)
        left = Path(scratch) / prefix
        if left.is_dir():
            shutil.copytree(left, directory, dirs_exist_ok=True)


def _add_code(session: Session, words: Mapping[str, Any], directory: Path) -> None:
    """The code beside the model's files; the boot file is what Headway calls ``predict.py``."""
    code, boot = words.get("model_code_dir"), str(words["model_boot_file"])
    if not code or not code.startswith(S3):
        what = f"model_code_dir {code!r} is not fetched here" if code else "model_git_info is recorded, not fetched"
        return _refuse(directory, f"{what}; use model_code_dir='s3://bucket/directory/'.")
    session.client.objects.download(code if code.endswith("/") else f"{code}/", directory, project=session.project)
    place = directory / checked(boot.removeprefix("./"))
    if not place.is_file():
        raise NotFoundError(f"There is no model_boot_file {boot!r} in {code!r}.")
    if place != directory / PREDICT:
        shutil.copyfile(place, directory / PREDICT)
    return None


def _refuse(directory: Path, reason: str) -> None:
    """Files that can be deployed and fail to start saying why, unless there are others that can be served."""
    names = [path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()]
    if detect_runtime(names) is None:
        (directory / PREDICT).write_text(REFUSING.format(reason=reason), encoding="utf-8")


def _custom_reason(words: Mapping[str, Any]) -> str:
    return (
        f"The image {words['model_mirrorUrl']!r} is recorded and not run here, and there is nothing at the model path "
        f"{words.get('model_path')!r} that can be served: put predict.py or a model's files there."
    )

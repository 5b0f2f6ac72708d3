"""Training data from a directory: one table in one file, or several files of the same columns.

``.csv`` (with a header, comma or semicolon), ``.parquet``, and ``.npz``: two arrays, the features called ``x``, ``data``,
``images`` or ``features`` and the target ``y``, ``target``, ``labels`` or ``label``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from headway.errors import InvalidRequestError

FEATURE_NAMES = ("x", "data", "images", "features")
TARGET_NAMES = ("target", "targets", "label", "labels", "y", "class")
SUFFIXES = (".csv", ".parquet", ".npz")
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Dataset:
    """Features and what is to be predicted of them.

    ``features`` is a DataFrame (one row an example), or an array ``(examples, …)`` where the file had no names. ``target``
    is one value an example, None where there is nothing to predict.
    """

    features: Any
    target: Array | None

    def __len__(self) -> int:
        return len(self.features)

    @property
    def is_table(self) -> bool:
        return isinstance(self.features, pd.DataFrame)


def read_dataset(directory: Path, *, target: str | None, supervised: bool) -> Dataset:
    """The data in a directory.

    Args:
        directory: Holds files of one kind.
        target: The column to predict; without it one of :data:`TARGET_NAMES`, else the last.
        supervised: Whether there is something to predict.

    Raises:
        InvalidRequestError: There is no data, or it is not as it should be; says which file and what to do.
    """
    files = sorted(path for path in directory.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise InvalidRequestError(
            f"There is no data in {directory}.",
            hint=f"Give a folder with {', '.join(SUFFIXES)} files as the input train.",
        )
    kinds = {path.suffix.lower() for path in files}
    if len(kinds) > 1:
        raise InvalidRequestError(f"{directory} mixes {' and '.join(sorted(kinds))}.", hint="Give files of one kind.")
    if kinds == {".npz"}:
        return _joined([_read_arrays(path, target, supervised) for path in files])
    tables = [_read_table(path) for path in files]
    for path, table in zip(files, tables, strict=True):
        if list(table.columns) != list(tables[0].columns):
            raise InvalidRequestError(f"{path.name} has other columns than {files[0].name}.")
    return _split_columns(pd.concat(tables, ignore_index=True), target, supervised)


def _read_table(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path)
        else:
            table = pd.read_csv(path, sep=None, engine="python", encoding="utf-8-sig")
    except (ValueError, OSError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"{path.name} cannot be read: {error}") from error
    if not len(table):
        raise InvalidRequestError(f"{path.name} has no rows.")
    return table


def _split_columns(table: pd.DataFrame, target: str | None, supervised: bool) -> Dataset:
    columns = [str(name) for name in table.columns]
    table.columns = pd.Index(columns)
    if not supervised:
        return Dataset(table, None)
    chosen = target or next((name for name in TARGET_NAMES if name in columns), columns[-1])
    if chosen not in columns:
        raise InvalidRequestError(f"There is no column {chosen!r}.", hint=f"There are {', '.join(columns[:50])}.")
    if len(columns) < 2:
        raise InvalidRequestError(f"{chosen!r} is the only column; there is nothing to predict it from.")
    return _labelled(table.drop(columns=[chosen]), table[chosen])


def _labelled(features: pd.DataFrame, target: pd.Series[Any]) -> Dataset:
    known = target.notna()
    if not known.all():
        features, target = features[known].reset_index(drop=True), target[known]
    return Dataset(features, target.to_numpy())


def _read_arrays(path: Path, target: str | None, supervised: bool) -> Dataset:
    try:
        with np.load(path, allow_pickle=False) as opened:
            arrays = {name: opened[name] for name in opened.files}
    except (ValueError, OSError) as error:
        raise InvalidRequestError(f"{path.name} cannot be read: {error}") from error
    features = _array(path, arrays, FEATURE_NAMES, "the features")
    if features.ndim < 2:
        raise InvalidRequestError(
            f"{path.name}: the features have {features.ndim} dimension; the first counts examples."
        )
    if not supervised:
        return Dataset(features, None)
    labels = _array(path, arrays, (target,) if target else TARGET_NAMES, "the target").reshape(-1)
    if len(labels) != len(features):
        raise InvalidRequestError(f"{path.name} has {len(features)} examples and {len(labels)} targets.")
    return Dataset(features, labels)


def _array(path: Path, arrays: dict[str, Array], names: tuple[str, ...], what: str) -> Array:
    for name in names:
        for found, array in arrays.items():
            if found.lower() == name:
                return array
    raise InvalidRequestError(
        f"{path.name} has no array for {what}; it has {', '.join(arrays) or 'none'}.", hint=f"Call it {names[0]}."
    )


def _joined(parts: list[Dataset]) -> Dataset:
    try:
        features = np.concatenate([part.features for part in parts])
    except ValueError as error:
        raise InvalidRequestError(f"The files do not fit together: {error}") from error
    targets = [part.target for part in parts if part.target is not None]
    return Dataset(features, np.concatenate(targets) if targets else None)


def split(data: Dataset, share: float, seed: int, *, stratified: bool) -> tuple[Dataset, Dataset | None]:
    """Training and validation parts; all of it and None where ``share`` is 0 or there are too few examples."""
    from sklearn.model_selection import train_test_split

    count = round(len(data) * share)
    if data.target is None or count < 1 or len(data) - count < 2:
        return data, None
    strata = None
    if stratified:
        _, counts = np.unique(data.target, return_counts=True)
        strata = data.target if counts.min() >= 2 and count >= len(counts) <= len(data) - count else None
    parts = train_test_split(data.features, data.target, test_size=count, random_state=seed, stratify=strata)
    return Dataset(parts[0], parts[2]), Dataset(parts[1], parts[3])

"""Looking into a zip file before anybody reads it."""

from __future__ import annotations

import zipfile
from pathlib import Path

from headway.errors import ModelLoadError

MAX_MEMBERS = 100_000
MAX_RATIO = 1000
"""Unpacked over packed size. Weights hardly shrink, so that a file beyond this is made to fill memory."""
SMALL_BYTES = 64 * 1024 * 1024
"""Unpacked sizes up to this are never held against a file."""


def check_archive(path: Path) -> list[str]:
    """The names in the archive.

    Raises:
        ModelLoadError: It is no zip file, is damaged, unpacks to far more than its size, or has a name that leads out of it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ModelLoadError(f"{path.name} is not the archive that its name says: {error}.") from error
    unpacked = sum(member.file_size for member in members)
    if len(members) > MAX_MEMBERS or unpacked > max(SMALL_BYTES, MAX_RATIO * path.stat().st_size):
        raise ModelLoadError(
            f"{path.name} would unpack {path.stat().st_size} bytes to {len(members)} files of {unpacked} bytes."
        )
    names = [member.filename for member in members]
    for name in names:
        if name.startswith("/") or ".." in name.split("/"):
            raise ModelLoadError(f"{path.name} has a file that leads out of it: {name!r}.")
    return names

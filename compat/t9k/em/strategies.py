"""What uploads are told: a folder, and what a name that is taken there means."""

from __future__ import annotations

from dataclasses import dataclass

STRATEGIES = ("skip", "error", "new", "replace")
DEFAULT_FOLDER = "default"


@dataclass(frozen=True)
class Destination:
    """Where an upload goes."""

    folder: str = DEFAULT_FOLDER
    make_folder: bool = False
    conflict_strategy: str = "new"

    def __post_init__(self) -> None:
        if self.conflict_strategy not in STRATEGIES:
            raise ValueError(
                f"Invalid conflict_strategy {self.conflict_strategy!r}: it is one of {', '.join(STRATEGIES)}"
            )
        if not isinstance(self.folder, str) or not self.folder.strip("/"):
            raise ValueError(f"Invalid folder: {self.folder!r}")

    def path(self, user: str) -> str:
        """The folder's path on the server: the original put each user's folders below the user's own name.

        >>> Destination("/ada/a/b").path("ada"), Destination("a").path("ada")
        ('a/b', 'a')
        """
        plain = self.folder.strip("/")
        return plain.removeprefix(f"{user}/") if self.folder.startswith("/") else plain

"""``client.notebooks``: Headway has none; each call says so."""

from __future__ import annotations

from typing import Any, NoReturn

from gradient.connection import BaseClient
from gradient.exceptions import GradientSdkError


def not_offered() -> NoReturn:
    raise GradientSdkError(
        "Headway does not offer notebooks. Run Jupyter where you like and use its clients from there; "
        "for batch work use client.experiments or client.jobs."
    )


class NotebooksClient(BaseClient):
    """Hosted notebooks: not offered."""

    def create(
        self,
        vm_type_id: int,
        container_id: int,
        cluster_id: int,
        container_name: str | None = None,
        name: str | None = None,
        registry_username: str | None = None,
        registry_password: str | None = None,
        default_entrypoint: str | None = None,
        container_user: str | None = None,
        shutdown_timeout: int | None = None,
        is_preemptible: bool | None = None,
    ) -> str:
        """Not offered."""
        not_offered()

    def get(self, id: str) -> Any:
        """Not offered."""
        not_offered()

    def delete(self, id: str) -> None:
        """Not offered."""
        not_offered()

    def list(self) -> Any:
        """Not offered."""
        not_offered()

"""``client.machines``: Headway rents no machines; each call says so."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NoReturn

from gradient.connection import BaseClient
from gradient.exceptions import GradientSdkError


def not_offered() -> NoReturn:
    raise GradientSdkError(
        "Headway does not offer virtual machines: it runs jobs and deployments on the machines it was installed on. "
        "See the sizes it has with headway.Client().instance_types.list()."
    )


class MachinesClient(BaseClient):
    """Virtual machines: not offered."""

    def create(
        self,
        name: str,
        machine_type: str,
        region: str,
        size: int,
        billing_type: str,
        template_id: str,
        assign_public_ip: bool | None = None,
        dynamic_public_ip: bool | None = None,
        network_id: str | None = None,
        team_id: str | None = None,
        user_id: str | None = None,
        email: str | None = None,
        password: str | None = None,
        first_name: str | None = None,
        last_name: str | None = None,
        notification_email: str | None = None,
        script_id: str | None = None,
    ) -> str:
        """Not offered."""
        not_offered()

    def get(self, id: str) -> Any:
        """Not offered."""
        not_offered()

    def is_available(self, machine_type: str, region: str) -> bool:
        """Not offered."""
        not_offered()

    def restart(self, id: str) -> None:
        """Not offered."""
        not_offered()

    def start(self, id: str) -> None:
        """Not offered."""
        not_offered()

    def stop(self, id: str) -> None:
        """Not offered."""
        not_offered()

    def update(
        self,
        id: str,
        name: str | None = None,
        shutdown_timeout_in_hours: int | None = None,
        shutdown_timeout_forces: bool | None = None,
        perform_auto_snapshot: bool | None = None,
        auto_snapshot_frequency: str | None = None,
        auto_snapshot_save_count: int | None = None,
        dynamic_public_ip: bool | None = None,
    ) -> None:
        """Not offered."""
        not_offered()

    def get_utilization(self, id: str, billing_month: str) -> Any:
        """Not offered."""
        not_offered()

    def delete(self, machine_id: str, release_public_ip: bool = False) -> None:
        """Not offered."""
        not_offered()

    def wait_for_state(self, machine_id: str, state: str, interval: int = 5) -> None:
        """Not offered."""
        not_offered()

    def list(
        self,
        id: str | None = None,
        name: str | None = None,
        os: str | None = None,
        ram: int | None = None,
        cpus: int | None = None,
        gpu: str | None = None,
        storage_total: str | None = None,
        storage_used: str | None = None,
        usage_rate: str | None = None,
        shutdown_timeout_in_hours: int | None = None,
        perform_auto_snapshot: bool | None = None,
        auto_snapshot_frequency: str | None = None,
        auto_snapshot_save_count: int | None = None,
        agent_type: str | None = None,
        created_timestamp: datetime | None = None,
        state: str | None = None,
        updates_pending: bool | None = None,
        network_id: str | None = None,
        private_ip_address: str | None = None,
        public_ip_address: str | None = None,
        region: str | None = None,
        user_id: str | None = None,
        team_id: str | None = None,
        last_run_timestamp: datetime | None = None,
    ) -> Any:
        """Not offered."""
        not_offered()

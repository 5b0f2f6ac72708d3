"""The Predictor: a service by its number. It has no ``predict``; ``info()["endpoint"]`` is where requests go."""

from __future__ import annotations

from typing import Any

from modelmaker import services
from modelmaker.session import Session


class Predictor:
    """A service: look at it, start, stop and delete it. Making one asks nothing.

    Raises:
        TypeError: ``service_id`` is no whole number.
    """

    def __init__(self, session: Session, service_id: int | None = None) -> None:
        if service_id is not None and not isinstance(service_id, int):
            raise TypeError("service_id type is int!")
        self.session, self.service_id = session, service_id

    def __repr__(self) -> str:
        return f"Predictor(service_id={self.service_id!r})"

    def info(self, service_id: int | None = None) -> dict[str, Any]:
        """How it stands: ``id``, ``name``, ``status``, ``message``, ``endpoint``, ``serviceModels``."""
        return services.shown(services.find(self.session, self._meant(service_id)))

    def info_list(self) -> dict[str, Any]:
        """All services of the project: ``{"services": […]}``."""
        return services.listed(self.session)

    def start(self, service_id: int | None = None) -> dict[str, Any]:
        """Serve again."""
        return services.start(self.session, self._meant(service_id))

    def stop(self, service_id: int | None = None) -> dict[str, Any]:
        """Serve no more; the address stays."""
        return services.stop(self.session, self._meant(service_id))

    def update(self, service_id: int | None = None) -> dict[str, Any]:
        """Changes nothing, as the original's request did; how it stands."""
        return self.info(service_id)

    def delete(self, service_id: int | None = None) -> dict[str, Any]:
        """Stop it and forget it."""
        return services.delete(self.session, self._meant(service_id))

    def _meant(self, service_id: int | None) -> int:
        meant = self.service_id if service_id is None else service_id
        if meant is None:
            raise ValueError("service_id is need")
        if not isinstance(meant, int):
            raise TypeError("service_id type is int!")
        return meant

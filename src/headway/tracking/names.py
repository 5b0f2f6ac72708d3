"""Names for runs that were given none; the server makes the same ones."""

from __future__ import annotations

from headway.domain.names import alternative_name, friendly_name

__all__ = ["alternative_name", "friendly_name"]

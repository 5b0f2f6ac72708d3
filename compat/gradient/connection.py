"""Which server and which token: Gradient's own settings first, Headway's after them."""

from __future__ import annotations

import os
import weakref
from functools import cached_property
from urllib.parse import urlsplit

from gradient.exceptions import GradientSdkError
from gradient.logger import Logger, MuteLogger
from headway import Client
from headway.errors import ConfigurationError

HOST_VARIABLES = (
    "PAPERSPACE_CONFIG_HOST",
    "PAPERSPACE_CONFIG_LOG_HOST",
    "PAPERSPACE_CONFIG_EXPERIMENTS_HOST",
    "PAPERSPACE_CONFIG_EXPERIMENTS_HOST_V2",
)
"""Each held the URL of one of the original's services; all of them are one server here."""

KEY_VARIABLES = ("PS_API_KEY", "PAPERSPACE_API_KEY")


def server_url() -> str | None:
    """Scheme, host and port of the first setting that names a server, or None: then Headway's own settings count."""
    for variable in HOST_VARIABLES:
        value = os.environ.get(variable)
        if value:
            parts = urlsplit(value)
            return f"{parts.scheme}://{parts.netloc}"
    return None


def api_token(api_key: str | None) -> str | None:
    """The key given, else one from the environment, else None: then Headway's own settings count."""
    return api_key or next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), None)


class Connection:
    """Opens the Headway client at its first use, so that making a Gradient client costs and checks nothing."""

    def __init__(self, api_key: str | None) -> None:
        self._url, self._api_key = server_url(), api_key

    @cached_property
    def headway(self) -> Client:
        try:
            client = Client(url=self._url, token=api_token(self._api_key))
        except ConfigurationError as error:
            raise GradientSdkError(str(error)) from error
        weakref.finalize(self, client.close)  # Gradient's clients are never closed
        return client


class BaseClient:
    """What every client has: the key it was given and the logger it talks to. Making one uses no network."""

    def __init__(self, api_key: str | None, logger: Logger = MuteLogger()) -> None:
        self.api_key = api_key
        self.logger = logger
        self._connection = Connection(api_key)

    def share(self, connection: Connection) -> None:
        """Use the connection of other clients."""
        self._connection = connection

    @property
    def _headway(self) -> Client:
        return self._connection.headway

    def _known_instance_types(self) -> frozenset[str]:
        """Names that the server has a machine size for; others become its default size."""
        return frozenset(kind.name for kind in self._headway.instance_types.list())

"""The session: who asks which server for which project, and the object area."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from headway import Client
from headway.config import find_connection
from headway.errors import ConflictError, HeadwayError, NotFoundError
from headway.sdk.resources.objects import Objects
from headway.sdk.transport import HttpTransport
from modelmaker.configuration import PROJECT_VARIABLE, Settings
from modelmaker.debugging import MASK, ShownTransport
from modelmaker.exceptions import ModelMakerError, reported_as, translated
from modelmaker.ids import PROJECT, to_native
from modelmaker.logger import logger, set_level

DEFAULT_PROJECT = "modelmaker"
S3 = "s3://"


class Session:
    """A connection, as an account.

    Args:
        config_file: Else MODELMAKER_CONFIG, else ``~/.modelmaker/config.json``; arguments win over what it says.
        username: Of an account; with its password, or neither of the two: then HEADWAY_TOKEN counts.
        password: A Headway token.
        host_base: The server, with http:// or https://; else HEADWAY_URL.
        project_id: Number, id or name; else PROJECT_ID, else HEADWAY_PROJECT, else ``modelmaker``, which is made.
        region: Kept as given.
        bucket: Where local code is uploaded.
        iam_server: As ``host_base``, by its older name; the scheme may be left out.

    Raises:
        ValueError: A setting is wrong.
        ModelMakerError: The server does not answer, or does not know the token.
    """

    auth = "token"

    def __init__(
        self,
        config_file: str | None = None,
        username: str | None = None,
        password: str | None = None,
        host_base: str | None = None,
        project_id: int | str | None = None,
        region: str | None = None,
        bucket: str | None = None,
        iam_server: str | None = None,
    ) -> None:
        set_level()
        given = {
            "username": username,
            "password": password,
            "host_base": host_base,
            "iam_server": iam_server,
            "region": region,
            "bucket": bucket,
        }
        settings = Settings.read(config_file, given)
        self.username, self.password = settings.username, settings.password
        self.region, self.bucket = settings.region, settings.bucket
        self.verify_ssl, self.s3_protocol = settings.verify_ssl, settings.s3_protocol
        self.project_id: int | str = project_id or os.environ.get(PROJECT_VARIABLE) or 0
        self.client = self._connected(settings)
        self.iam_server = self.s3_endpoint_url = self.client.url
        self.access_key = self.secret_key = self.s3_mirror_auth = self.s3_mirror_endpoint_url = ""
        self.s3_region = self.region
        self._log_in()

    def __repr__(self) -> str:
        password = MASK if self.password else None
        return f"Session(username={self.username!r}, password={password!r}, iam_server={self.iam_server!r})"

    def _connected(self, settings: Settings) -> Client:
        try:
            connection = find_connection(settings.url, settings.password)
            transport = ShownTransport(HttpTransport(connection.url, timeout=30.0), (connection.token or "",))
            client = Client(settings.url, settings.password, transport=transport)
        except HeadwayError as error:
            raise translated(error, "Get token failed!") from error
        self.token = connection.token or ""
        weakref.finalize(self, client.close)  # the original's sessions are never closed
        return client

    def _log_in(self) -> None:
        logger.debug("log in: username: %s, password: %s", self.username, MASK)
        with reported_as("Get token failed!"):
            account = self.client.me().user.name
        if self.username is not None and self.username != account:
            logger.warning("The password is a token of the account %r, not of %r.", account, self.username)

    @cached_property
    def project(self) -> str:
        """The id of the project that everything is asked for and made in."""
        with reported_as():
            if self.project_id not in (0, "0"):
                return self._known_project(self.project_id)
            if self.client.project is not None:
                return self.client.projects.get(self.client.project).id
            try:
                return self.client.projects.get(DEFAULT_PROJECT).id
            except NotFoundError:
                return self._made_project()

    def _known_project(self, given: int | str) -> str:
        if isinstance(given, int) or given.isdecimal():
            return self.client.projects.get(to_native(PROJECT, given)).id
        return self.client.projects.get(given).id

    def _made_project(self) -> str:
        try:
            return self.client.projects.create(DEFAULT_PROJECT).id
        except ConflictError:  # somebody else made it just now
            return self.client.projects.get(DEFAULT_PROJECT).id

    @property
    def s3_client(self) -> Objects:
        """The object area."""
        return self.client.objects

    def upload_data(self, bucket_path: str, path: str | Sequence[str]) -> None:
        """Put files and folders below ``bucket/directory/``; a folder keeps its name.

        Raises:
            ValueError: ``bucket_path`` does not end with ``/``.
            ModelMakerError: There is no such file.
        """
        target = _directory(bucket_path)
        paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
        for each in paths:
            if not Path(each).exists():
                raise ModelMakerError(f"path {str(each)!r} is not exist!")
        with reported_as("Upload data failed!"):
            for each in paths:
                self.client.objects.upload(each, target, keep_name=True, project=self.project)

    def download_data(self, bucket_path: str, path: str) -> None:
        """Bring one object, or with a ``/`` at the end all below it, into a directory that exists. Files that are there
        already are left alone.

        Raises:
            ValueError: ``path`` is no directory.
        """
        if not Path(path).is_dir():
            raise ValueError(f"path {str(path)!r} must be a directory that exists!")
        with reported_as("Download data failed!"):
            self.client.objects.download(_address(bucket_path), path, project=self.project)

    def create_directory(self, bucket_path: str, directory: str) -> None:
        """Make an empty directory below ``bucket/directory/``."""
        address = _directory(bucket_path) + directory.strip("/") + "/"
        with reported_as("Create directory failed!"):
            self.client.objects.put(address, b"", project=self.project)

    def delete_directory(self, bucket_path: str, directory: str) -> None:
        """Delete a directory below ``bucket/directory/`` with all that it holds."""
        address = _directory(bucket_path) + directory.strip("/") + "/"
        with reported_as("Delete directory failed!"):
            self.client.objects.delete(address, recursive=True, project=self.project)


def _directory(bucket_path: str) -> str:
    if not isinstance(bucket_path, str) or not bucket_path.endswith("/"):
        raise ValueError(f"bucket_path must end with '/', not {bucket_path!r}!")
    return _address(bucket_path)


def _address(bucket_path: str) -> str:
    return bucket_path if bucket_path.startswith(S3) else S3 + bucket_path

"""The object area: buckets of a project, and objects by key. ``s3://bucket/key`` names one.

A key is any text of 1 to 1,024 bytes in UTF-8 without control characters; it is kept as it was given. ``a/../b``, ``/a`` and
``a%2fb`` are keys like any other: they are no paths until somebody downloads them, and then they go through the containment
helper or are refused.
Source of the limits: "Bucket naming rules" and "Object key names" of Amazon S3.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field

from headway.domain.base import Record, Request, Timestamp
from headway.domain.files import Digest
from headway.errors import InvalidRequestError

MAX_KEY = 1024
SCHEME = "s3://"


def check_key(key: str) -> str:
    """ValueError unless it can be the key of an object."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise ValueError(f"the key {key!r} holds half a character") from None
    if not 1 <= size <= MAX_KEY:
        raise ValueError(f"a key has 1 to {MAX_KEY} bytes in UTF-8, this one has {size}")
    if any(unicodedata.category(character) == "Cc" for character in key):
        raise ValueError(f"the key {key!r} holds a control character")
    return key


BucketName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9A-Z]([a-z0-9A-Z._-]*[a-z0-9A-Z])?$")]
ObjectKey = Annotated[str, AfterValidator(check_key)]


class ObjectAddress(NamedTuple):
    """What ``s3://bucket/key`` names. The key may be empty or end with ``/``: then it is the beginning of keys."""

    bucket: str
    key: str

    @property
    def uri(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"


def parse_address(uri: str) -> ObjectAddress:
    """Bucket and key of an address.

    >>> parse_address("s3://data/digits/train.npz")
    ObjectAddress(bucket='data', key='digits/train.npz')

    Raises:
        InvalidRequestError: It is no ``s3://bucket/key``.
    """
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    if not uri.startswith(SCHEME) or not bucket:
        raise InvalidRequestError(f"{uri!r} is no address of an object.", hint="Write s3://bucket/key.")
    return ObjectAddress(bucket, key)


def prefix_end(prefix: str) -> str | None:
    """The first text in the order of bytes that comes after every text that begins with ``prefix``; None: there is none.

    >>> prefix_end("a/"), prefix_end("a\U0010ffff"), prefix_end("")
    ('a0', 'b', None)
    """
    shorter = prefix.rstrip("\U0010ffff")
    if not shorter:
        return None
    following = ord(shorter[-1]) + 1
    # UTF-8 has no surrogates: after U+D7FF comes U+E000.
    return shorter[:-1] + chr(0xE000 if following == 0xD800 else following)


def folder_prefix(key: str) -> str:
    """What the keys of everything below ``key`` begin with.

    >>> folder_prefix("data"), folder_prefix("data/"), folder_prefix("")
    ('data/', 'data/', '')
    """
    return key if not key or key.endswith("/") else f"{key}/"


class Bucket(Record):
    """A named place for objects; names are unique in a project. It is made by the first write."""

    id: str
    project_id: str
    name: str
    created_at: Timestamp
    created_by: str


class BucketCreate(Request):
    name: BucketName


class StoredObject(Record):
    """One object. Its bytes are the blob ``digest``."""

    bucket: str
    """The bucket's name."""
    key: str
    digest: str
    """SHA-256."""
    md5: str | None = None
    """Where the writer said it: what S3 tools compare as ETag."""
    size: int
    executable: bool = False
    updated_at: Timestamp
    updated_by: str

    @property
    def uri(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"

    @property
    def marks_directory(self) -> bool:
        """Whether it has no content and a key that ends with ``/``, as S3 tools leave them for empty directories."""
        return self.size == 0 and self.key.endswith("/")


class ObjectPut(Request):
    """Name an uploaded blob; an object of that key is replaced."""

    key: ObjectKey
    digest: Digest
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    size: int = Field(ge=0)
    executable: bool = False


class ObjectsPut(Request):
    """Several at once: all or none."""

    objects: tuple[ObjectPut, ...] = Field(min_length=1, max_length=1000)


class ObjectListing(Record):
    """A page of keys in the order of their bytes. With a delimiter, what comes after it in keys is folded into
    ``prefixes``."""

    items: tuple[StoredObject, ...] = ()
    prefixes: tuple[str, ...] = ()
    next_cursor: str | None = None


class ObjectsDeleted(Record):
    """How many objects are gone."""

    deleted: int

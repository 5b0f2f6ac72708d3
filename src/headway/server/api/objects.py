"""/projects/{project}/buckets: the object area. A key is part of the query, never of the path; see domain/objects.py."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from headway.domain import base
from headway.domain.base import Page
from headway.domain.objects import (
    MAX_KEY,
    Bucket,
    BucketCreate,
    BucketName,
    ObjectKey,
    ObjectListing,
    ObjectsDeleted,
    ObjectsPut,
    StoredObject,
)
from headway.domain.users import Permission
from headway.errors import InvalidRequestError
from headway.server.actions import objects
from headway.server.actions.blobs import size_of
from headway.server.api.blobs import WITH_JOBS
from headway.server.api.files import OCTETS, RangeHeader, attachment, send_blob
from headway.server.api.paging import Paging
from headway.server.api.rights import PlatformParameter, right
from headway.server.context import Caller


def _exact_query(request: Request) -> None:
    """InvalidRequestError for a query that could be read as another key than was meant: bytes that are not UTF-8 would be
    replaced, and of a name that is given twice one would win."""
    raw: bytes = request.scope["query_string"]
    names = [unquote_to_bytes(part.partition(b"=")[0]) for part in raw.split(b"&") if part]
    if len(names) != len(set(names)):
        raise InvalidRequestError("A parameter of the query is given twice.")
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise InvalidRequestError("The query is not valid UTF-8.", hint="Percent-encode the UTF-8 of a key.") from None


router = APIRouter(prefix="/projects/{project}/buckets", tags=["objects"], dependencies=[Depends(_exact_query)])

Name = Annotated[BucketName, Path()]
Key = Annotated[ObjectKey, Query()]
Prefix = Annotated[str, Query(max_length=MAX_KEY)]


class ObjectsNamed(base.Record):
    items: tuple[StoredObject, ...]


@router.post("", status_code=201)
def create(
    project: str,
    body: BucketCreate,
    response: Response,
    platform: PlatformParameter,
    caller: Caller = right(Permission.WRITE, WITH_JOBS),
) -> Bucket:
    """Make a bucket; one that is there is given back, with 200."""
    bucket, made = objects.create_bucket(platform, caller, project, body)
    if not made:
        response.status_code = 200
    return bucket


@router.get("")
def list_all(
    project: str, platform: PlatformParameter, paging: Paging, caller: Caller = right(Permission.READ, WITH_JOBS)
) -> Page[Bucket]:
    return objects.list_buckets(platform, caller, project, paging)


@router.get("/{bucket}")
def get(
    project: str, bucket: Name, platform: PlatformParameter, caller: Caller = right(Permission.READ, WITH_JOBS)
) -> Bucket:
    return objects.get_bucket(platform, caller, project, bucket)


@router.delete("/{bucket}", status_code=204)
def delete(
    project: str,
    bucket: Name,
    platform: PlatformParameter,
    force: bool = False,
    caller: Caller = right(Permission.WRITE),
) -> None:
    """Remove a bucket; one that holds objects only with ``force``."""
    objects.delete_bucket(platform, caller, project, bucket, force=force)


@router.get("/{bucket}/objects")
def list_objects(
    project: str,
    bucket: Name,
    platform: PlatformParameter,
    paging: Paging,
    prefix: Prefix = "",
    delimiter: Annotated[str, Query(max_length=MAX_KEY)] = "",
    caller: Caller = right(Permission.READ, WITH_JOBS),
) -> ObjectListing:
    """Keys in the order of their bytes."""
    return objects.list_objects(platform, caller, project, bucket, paging, prefix=prefix, delimiter=delimiter)


@router.post("/{bucket}/objects")
def put(
    project: str,
    bucket: Name,
    body: ObjectsPut,
    platform: PlatformParameter,
    caller: Caller = right(Permission.WRITE, WITH_JOBS),
) -> ObjectsNamed:
    """Name blobs that were uploaded: all or none. The bucket is made where it is missing."""
    return ObjectsNamed(items=tuple(objects.put(platform, caller, project, bucket, body.objects)))


@router.delete("/{bucket}/objects")
def delete_objects(
    project: str,
    bucket: Name,
    platform: PlatformParameter,
    key: Annotated[ObjectKey | None, Query()] = None,
    prefix: Annotated[str | None, Query(max_length=MAX_KEY)] = None,
    caller: Caller = right(Permission.WRITE),
) -> ObjectsDeleted:
    """Remove one object, or all whose keys begin with a prefix."""
    return objects.delete(platform, caller, project, bucket, key=key, prefix=prefix)


@router.get("/{bucket}/object")
def download(
    project: str,
    bucket: Name,
    key: Key,
    platform: PlatformParameter,
    range: RangeHeader = None,
    caller: Caller = right(Permission.READ, WITH_JOBS),
) -> Response:
    found = objects.get(platform, caller, project, bucket, key)
    return send_blob(platform, found.digest, found.key, range)


@router.head("/{bucket}/object")
def head(
    project: str,
    bucket: Name,
    key: Key,
    platform: PlatformParameter,
    caller: Caller = right(Permission.READ, WITH_JOBS),
) -> Response:
    found = objects.get(platform, caller, project, bucket, key)
    headers = attachment(found.key, size_of(platform, found.digest)) | {
        "ETag": f'"{found.digest}"',
        "Accept-Ranges": "bytes",
    }
    return Response(headers=headers, media_type=OCTETS)


@router.get("/{bucket}/object/info")
def info(
    project: str,
    bucket: Name,
    key: Key,
    platform: PlatformParameter,
    caller: Caller = right(Permission.READ, WITH_JOBS),
) -> StoredObject:
    return objects.get(platform, caller, project, bucket, key)

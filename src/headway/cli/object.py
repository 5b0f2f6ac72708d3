"""headway object: buckets, and objects by s3:// addresses."""

from __future__ import annotations

from typing import Annotated

import typer

from headway.cli.options import JsonOption, LimitOption, ProjectOption, YesOption, confirm, connected
from headway.cli.output import print_json, print_page, print_table, say, size_text

app = typer.Typer(help="Objects: files by addresses as s3://bucket/key.", no_args_is_help=True)
AddressArgument = Annotated[str, typer.Argument(help="An address: s3://BUCKET/KEY.")]
BucketArgument = Annotated[str, typer.Argument(help="Name of a bucket, or s3://NAME.")]
STREAM = "-"


@app.command("ls")
def ls(
    address: Annotated[
        str | None, typer.Argument(help="s3://BUCKET or s3://BUCKET/PREFIX; without it the buckets are listed.")
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Everything below, not folded at /.")] = False,
    project: ProjectOption = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """List buckets, or what lies at an address."""
    if address is None:
        buckets(project, limit, as_json)
    else:
        _list_objects(address, recursive, project, limit, as_json)


def _list_objects(address: str, recursive: bool, project: str | None, limit: int, as_json: bool) -> None:
    from headway.domain.objects import ObjectListing

    found = ObjectListing()
    with connected(project) as client:
        while True:
            count = len(found.items) + len(found.prefixes)
            page = client.objects.page(
                address,
                delimiter="" if recursive else "/",
                limit=min(limit - count, 1000) if limit else 1000,
                cursor=found.next_cursor,
            )
            found = ObjectListing(
                items=found.items + page.items, prefixes=found.prefixes + page.prefixes, next_cursor=page.next_cursor
            )
            count = len(found.items) + len(found.prefixes)
            if found.next_cursor is None or (limit and count >= limit):
                break
    if as_json:
        print_json(found)
        return
    rows: list[tuple[object, ...]] = [(prefix, "", "") for prefix in found.prefixes]
    rows += [(one.key, size_text(one.size), one.updated_at) for one in found.items]
    print_table(("KEY", "SIZE", "AGE"), sorted(rows, key=lambda row: str(row[0])), empty="No objects.")


@app.command("put")
def put(
    source: Annotated[str, typer.Argument(help="A file, a folder, or - for standard input.")],
    address: Annotated[
        str, typer.Argument(help="s3://BUCKET/KEY; below it, where it ends with / or SOURCE is a folder.")
    ],
    keep_name: Annotated[bool, typer.Option("--keep-name", help="Put a folder's files below its own name.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Upload a file, or all files of a folder. The bucket is made where it is missing."""
    import sys

    _refuse_address(source, "put SOURCE ADDRESS")
    with connected(project) as client:
        if source == STREAM:
            found = [client.objects.put(address, sys.stdin.buffer.read())]
        else:
            found = list(client.objects.upload(source, address, keep_name=keep_name))
    if as_json:
        print_page(found)
    elif len(found) == 1:
        say(f"{found[0].uri} ({size_text(found[0].size)})")
    else:
        say(f"{len(found)} objects, {size_text(sum(one.size for one in found))}, from {found[0].uri} on")


@app.command("get")
def get(
    address: Annotated[str, typer.Argument(help="s3://BUCKET/KEY of an object, or of everything below it.")],
    target: Annotated[
        str, typer.Argument(help="A directory; for one object also a file, or - for standard output.")
    ] = ".",
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download an object, or everything below a key; what is there with the same content is left alone."""
    import sys

    _refuse_address(target, "get ADDRESS TARGET")
    with connected(project) as client:
        if target == STREAM:
            sys.stdout.buffer.write(client.objects.read(address))
            sys.stdout.buffer.flush()
            return
        paths = client.objects.download(address, target)
    if as_json:
        print_json({"items": [str(path) for path in paths]})
    elif len(paths) == 1:
        say(f"{address}: {paths[0]}")
    else:
        say(f"{address}: {len(paths)} files in {target}")


def _refuse_address(local: str, form: str) -> None:
    from headway.errors import InvalidRequestError

    if local.startswith("s3://"):
        raise InvalidRequestError(
            f"{local!r} is no place on this machine.", hint=f"The order is: headway object {form}."
        )


@app.command("rm")
def rm(
    address: AddressArgument,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Everything below the key.")] = False,
    project: ProjectOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete an object, or with --recursive everything below a key; `headway artifact gc` gives back the space."""
    from headway.errors import NotFoundError

    if recursive:
        confirm(f"Delete everything below {address}?", yes)
    with connected(project) as client:
        deleted = client.objects.delete(address, recursive=recursive)
    if not deleted and not recursive:
        raise NotFoundError(f"There is no object {address!r}.", hint="Write --recursive for everything below a key.")
    if as_json:
        print_json({"deleted": deleted})
    else:
        say(f"Deleted {deleted} object{'' if deleted == 1 else 's'}.")


@app.command("buckets")
def buckets(project: ProjectOption = None, limit: LimitOption = 50, as_json: JsonOption = False) -> None:
    """List the buckets of a project, newest first."""
    with connected(project) as client:
        found = list(client.objects.buckets(limit=limit or None))
    if as_json:
        print_page(found)
        return
    rows = [(bucket.name, bucket.created_at) for bucket in found]
    print_table(("BUCKET", "CREATED"), rows, empty="No buckets.")


@app.command("mkbucket")
def mkbucket(name: BucketArgument, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Make a bucket, where it is not there yet."""
    with connected(project) as client:
        found = client.objects.create_bucket(name)
    if as_json:
        print_json(found)
    else:
        say(f"{found.id} s3://{found.name}")


@app.command("rmbucket")
def rmbucket(
    name: BucketArgument,
    force: Annotated[bool, typer.Option("--force", help="Delete its objects, too.")] = False,
    project: ProjectOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a bucket."""
    confirm(f"Delete the bucket {name}{' with all its objects' if force else ''}?", yes)
    with connected(project) as client:
        client.objects.delete_bucket(name, force=force)
    if as_json:
        print_json({"deleted": name})
    else:
        say(f"Deleted {name}.")

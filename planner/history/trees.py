"""Folders of files become commits: one folder, or a folder of folders with one release in each.

Only what a client can be given is looked at: names, contents, the executable bit and links. Dates of files,
owners and the order in which the file system lists names play no part, so equal folders give equal checksums.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec

from planner.errors import InputError, raise_collected
from planner.history.encoding import FileKind, FileObject, encode_file, encode_tree, is_ref_name, is_safe_name
from planner.history.files import read_bounded
from planner.history.reading import MAX_DEPTH
from planner.history.records import LAYERS_KEY, VERSION_KEY, ObjectKind, Tree
from planner.history.store import MAX_OBJECT_BYTES, Store

LISTING_NAME = "commits.toml"
"""The file beside the releases' folders that says what their order cannot: refs, dates and layers."""

DEFAULT_REF = "main"

# Without dates, releases are a day apart from here on: any fixed day would do, but a changed one changes checksums.
_FIRST_RELEASED_AT = datetime(2024, 1, 1, tzinfo=UTC)

_MAX_LISTING_BYTES = 16 * 2**20


class _Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    ref: str = ""
    released_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    layers: tuple[str, ...] = ()


class _ReleaseFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    commits: list[_Release]


def natural_key(name: str) -> tuple[object, ...]:
    """A sort key by which numbers in names count as numbers.

    >>> sorted(["v10", "v2", "v1.10", "v1.9", "v02"], key=natural_key)
    ['v1.9', 'v1.10', 'v02', 'v2', 'v10']
    """
    pieces = re.split("([0-9]+)", name)
    return tuple(int(piece) if odd % 2 else piece for odd, piece in enumerate(pieces)), name


def import_tree(
    store: Store,
    folder: Path,
    *,
    version: str,
    committed_at: datetime,
    parent: str | None = None,
    layers: Sequence[str] = (),
    ref: str | None = None,
) -> str:
    """The checksum of a new commit of a folder's content; `ref`, if given, then points to it.

    `layers` are the commits that the folder was merged from, in order. Nothing is kept when an error is raised.

    Raises:
        InputError: an entry is neither a regular file, a folder nor a link, has a name that is not UTF-8, or is too
            large or too deep.
        SpaceError: the disk is full.
    """
    metadata = {VERSION_KEY: version} | ({LAYERS_KEY: " ".join(layers)} if layers else {})
    with store.batch():
        tree = write_folder(store, folder)
        return store.add_commit(
            tree, committed_at=committed_at, parent=parent, subject=version, metadata=metadata, ref=ref
        )


def import_trees(store: Store, folder: Path, *, ref: str = DEFAULT_REF) -> dict[str, str]:
    """Each sub-folder of `folder` becomes a commit; the commits' checksums by the sub-folders' names, oldest first.

    Without a `commits.toml` the sub-folders are releases of `ref`, in natural order of their names and a day apart;
    names with a leading dot are passed over. With one, its order counts, and it names every sub-folder:

        [[commits]]
        name = "s10-on-b6"                       # the sub-folder, and the version
        ref = "devices/stable"                   # default: `ref`
        released_at = 2024-01-10T00:00:00Z       # default: a day for each commit before it, from 2024-01-01
        layers = ["b6", "s10"]                   # commits above this one that it is merged from

    A commit's parent is the one before it in the same ref. The same folder gives the same checksums, so importing
    again, or with releases added at the end, changes nothing that was there. All commits are imported or none.

    Raises:
        InputError: what `import_tree` raises; `commits.toml` is wrong; or a ref holds other commits already.
        SpaceError: the disk is full.
    """
    releases = _read_releases(folder, ref)
    commits: dict[str, str] = {}
    tips: dict[str, str] = {}
    with store.batch():
        for index, release in enumerate(releases):
            commits[release.name] = tips[release.ref] = import_tree(
                store,
                folder / release.name,
                version=release.name,
                committed_at=_released_at(release, index),
                parent=tips.get(release.ref),
                layers=[commits[layer] for layer in release.layers],
            )
        _refuse_other_histories(store, tips, set(commits.values()))
    for name, tip in tips.items():
        store.write_ref(name, tip)
    return commits


def write_folder(store: Store, folder: Path) -> str:
    """Keep a folder's content; the checksum of its tree.

    Raises:
        InputError: see `import_tree`.
        SpaceError: the disk is full.
    """
    with store.batch():
        return _write_folder(store, folder, depth=1)


def write_files(store: Store, files: Mapping[str, bytes]) -> str:
    """Keep plain files given as path -> content, with '/' between names; the checksum of their tree.

    Raises:
        InputError: a path is absolute, has a name that is not allowed, or is a file as well as a folder.
    """
    with store.batch():
        return _write_level(store, {tuple(path.split("/")): content for path, content in files.items()})


def _write_level(store: Store, contents: Mapping[tuple[str, ...], bytes]) -> str:
    files: dict[str, str] = {}
    below: dict[str, dict[tuple[str, ...], bytes]] = {}
    for (name, *rest), content in contents.items():
        if not is_safe_name(name) or len(rest) >= MAX_DEPTH:
            raise InputError("is not a path of allowed names", path="/".join((name, *rest)))
        if rest:
            below.setdefault(name, {})[tuple(rest)] = content
        else:
            files[name] = store.write_object(ObjectKind.FILE, encode_file(FileObject(content=content))).checksum
    if both := files.keys() & below.keys():
        raise InputError("is both a file and a folder", path=min(both))
    dirs = {name: _write_level(store, level) for name, level in below.items()}
    return store.write_object(ObjectKind.TREE, encode_tree(Tree(files=files, dirs=dirs))).checksum


def _write_folder(store: Store, folder: Path, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise InputError("is too deep", path=str(folder), max_depth=MAX_DEPTH)
    files, dirs = {}, {}
    for entry in _list_entries(folder):
        if entry.is_dir(follow_symlinks=False):
            dirs[entry.name] = _write_folder(store, Path(entry.path), depth + 1)
        else:
            files[entry.name] = store.write_object(ObjectKind.FILE, encode_file(_read_file(entry))).checksum
    return store.write_object(ObjectKind.TREE, encode_tree(Tree(files=files, dirs=dirs))).checksum


def _list_entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError("cannot be read", path=str(folder), cause=error.strerror) from error
    for entry in entries:
        if not is_safe_name(entry.name):
            raise InputError("has a name that is not UTF-8", path=repr(entry.path))
    return entries


def _read_file(entry: os.DirEntry[str]) -> FileObject:
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            return FileObject(kind=FileKind.LINK, content=os.fsencode(Path(entry.path).readlink()))
        if not stat.S_ISREG(mode):
            raise InputError("is neither a regular file, a folder nor a link", path=entry.path)
        content = read_bounded(Path(entry.path), MAX_OBJECT_BYTES)
    except OSError as error:
        raise InputError("cannot be read", path=entry.path, cause=error.strerror) from error
    return FileObject(kind=FileKind.EXECUTABLE if mode & stat.S_IXUSR else FileKind.PLAIN, content=content)


def _released_at(release: _Release, index: int) -> datetime:
    return release.released_at or _FIRST_RELEASED_AT + timedelta(days=index)


def _refuse_other_histories(store: Store, tips: Iterable[str], imported: set[str]) -> None:
    held = store.read_refs()
    for ref in tips:
        if ref in held and held[ref] not in imported:
            raise InputError("holds commits that are not in this folder", path=f"refs/{ref}", tip=held[ref])


def _read_releases(folder: Path, ref: str) -> list[_Release]:
    folders = [entry.name for entry in _list_entries(folder) if entry.is_dir() and not entry.name.startswith(".")]
    listing = folder / LISTING_NAME
    if not listing.exists():
        releases = [_Release(name=name, ref=ref) for name in sorted(folders, key=natural_key)]
    else:
        releases = _parse_releases(read_bounded(listing, _MAX_LISTING_BYTES), str(listing), ref)
    if not releases:
        raise InputError("has no releases", path=str(folder))
    raise_collected(_check_releases(releases, set(folders), str(listing)))
    return releases


def _parse_releases(data: bytes, where: str, ref: str) -> list[_Release]:
    try:
        releases = msgspec.toml.decode(data, type=_ReleaseFile).commits
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _at_path(str(error), where) from error
    return [msgspec.structs.replace(release, ref=release.ref or ref) for release in releases]


def _at_path(message: str, where: str) -> InputError:
    # msgspec ends its messages with "- at `$.commits[0].name`", and names an unknown key only in the sentence.
    sentence, _, place = message.partition(" - at `$")
    if unknown := re.fullmatch("Object contains unknown field `(.*)`", sentence, re.DOTALL):
        return InputError("is not a known key", path=f"{where}: {place.strip('.`')}.{unknown[1]}".replace(": .", ": "))
    return InputError(sentence, path=f"{where}: {place.strip('.`')}".removesuffix(": "))


def _check_releases(releases: Sequence[_Release], folders: set[str], where: str) -> Iterator[InputError]:
    seen: set[str] = set()
    newest: dict[str, datetime] = {}
    for index, release in enumerate(releases):
        path = f"{where}: commits[{index}]"
        if release.name in seen:
            yield InputError("is there twice", path=f"{path}.name", got=release.name)
        if release.name not in folders:
            yield InputError("is no folder beside this file", path=f"{path}.name", got=release.name)
        if not is_ref_name(release.ref):
            yield InputError("is not a ref's name", path=f"{path}.ref", got=release.ref)
        for layer in release.layers:
            if layer not in seen:
                yield InputError("is no commit above this one", path=f"{path}.layers", got=layer)
        moment = _released_at(release, index)
        if moment < newest.get(release.ref, moment):
            yield InputError("is before the release above it in the same ref", path=f"{path}.released_at")
        seen.add(release.name)
        newest[release.ref] = max(moment, newest.get(release.ref, moment))
    for name in sorted(folders - seen, key=natural_key):
        yield InputError("does not name a folder beside it", path=where, folder=name)

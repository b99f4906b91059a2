"""OSTree repositories, read directly: modes archive, bare, bare-user and bare-user-only.

Nothing is written and no program is started. Commits, trees and folder attributes are checked against their
checksums as they are read, files when their content is asked for.

Source: OSTree manual, "Anatomy of an OSTree repository" and "Repository modes"; libostree, `ostree-repo.c`.
"""

from __future__ import annotations

import configparser
import os
import re
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path

from planner.errors import InputError, RepositoryError
from planner.history.files import read_bounded
from planner.history.ostree_objects import (
    MAX_FILE_BYTES,
    MAX_METADATA_BYTES,
    FileHeader,
    check_metadata,
    decode_commit,
    decode_tree,
    decode_user_metadata,
    file_checksum,
    unpack_file,
    unpacked_bytes,
)
from planner.history.reading import HistoryReader, Listing, ObjectFormat
from planner.history.records import History, ObjectKind, ObjectName, is_checksum

_ARCHIVE_MODES = ("archive", "archive-z2")
_MODES = (*_ARCHIVE_MODES, "bare", "bare-user", "bare-user-only")
_MAX_CONFIG_BYTES = 10_000_000
_OBJECT = re.compile(r"([0-9a-f]{62})\.(commit|dirtree|dirmeta|filez?)")
_ZLIB_LEVEL = (
    9  # what `ostree pull` into an archive repository would write; config `archive.zlib-level` is 6 by default
)
_HEADER_READ_BYTES = 4096
_USER_METADATA = "user.ostreemeta"
_LINK_MODE = stat.S_IFLNK | 0o777


class OSTreeRepository:
    """A repository on this machine.

    Args:
        path: its folder.

    Raises:
        RepositoryError: the folder is no OSTree repository, or of a mode that is not known.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self.mode = _read_mode(self._path)
        self._is_archive = self.mode in _ARCHIVE_MODES
        self._form = ObjectFormat(decode_commit=decode_commit, decode_tree=decode_tree, locate=self._locate)

    @property
    def path(self) -> Path:
        """The repository's folder."""
        return self._path

    def read_history(self) -> History:
        """Every commit that a ref reaches through parents, with its trees; see `Repository.read_history`.

        A parent that is absent is the end of a shallow history. Commits that are marked partial are reported as
        `History.incomplete`.
        """
        partial = {
            path.name.removesuffix(".commitpartial"): "the commit is partial: some of its objects were never pulled"
            for path in sorted((self._path / "state").glob("*.commitpartial"))
        }
        reader = HistoryReader(self.read_object, self._list_objects(), self._form)
        return reader.read(self.read_refs(), incomplete=partial)

    def read_refs(self) -> dict[str, str]:
        """The commit of each ref: local ones by name, remote ones as `remote:name`.

        Raises:
            RepositoryError: a ref holds something else than a checksum, or leads out of the repository.
        """
        refs = dict(self._refs_below(self._path / "refs" / "heads"))
        for folder in ("remotes", "mirrors"):
            root = self._path / "refs" / folder
            for owner in sorted(root.iterdir()) if root.is_dir() else ():
                refs.update((f"{owner.name}:{name}", commit) for name, commit in self._refs_below(owner))
        return refs

    def _refs_below(self, folder: Path) -> Iterator[tuple[str, str]]:
        inside = (self._path / "refs").resolve()
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            if not path.resolve().is_relative_to(inside):
                raise RepositoryError("leads out of the repository", path=f"refs/{path.relative_to(inside.parent)}")
            if path.is_dir():
                continue
            try:
                commit = read_bounded(path, 80).decode("ascii").strip()
            except (OSError, InputError, UnicodeDecodeError) as error:
                raise RepositoryError("cannot be read", path=f"refs/{name}", reason=str(error)) from error
            if not is_checksum(commit):
                raise RepositoryError("does not hold a commit's checksum", path=f"refs/{name}", got=commit)
            yield name, commit

    def read_object(self, name: ObjectName, *, needed_by: str = "") -> bytes:
        """A commit's, tree's or attributes' bytes; a file's content, or a link's target. All are checked.

        Raises:
            RepositoryError: it is missing or corrupt; `needed_by` is named.
        """
        try:
            if name.kind is not ObjectKind.FILE:
                data = read_bounded(self._path / self._locate(name), MAX_METADATA_BYTES)
                check_metadata(name, data, self._locate(name))
                return data
            header, content = self._read_file(name)
        except FileNotFoundError:
            raise RepositoryError("is missing", path=self._locate(name), **_need(needed_by)) from None
        except (OSError, InputError) as error:
            raise RepositoryError("cannot be read", path=self._locate(name), reason=str(error)) from error
        except RepositoryError as error:
            raise RepositoryError(error.message, path=error.path, **error.facts, **_need(needed_by)) from error
        if file_checksum(header, content) != name.checksum:
            raise RepositoryError("is corrupt: its content does not have its checksum", path=self._locate(name))
        return header.link_target.encode() if stat.S_ISLNK(header.mode) else content

    def object_bytes(self, name: ObjectName) -> int:
        """The size of an object's content, without reading it.

        Raises:
            RepositoryError: it is missing or malformed.
        """
        path = self._path / self._locate(name)
        try:
            if name.kind is not ObjectKind.FILE or not self._is_archive:
                return path.lstat().st_size
            with path.open("rb") as file:
                return unpacked_bytes(file.read(_HEADER_READ_BYTES), self._locate(name))
        except FileNotFoundError:
            raise RepositoryError("is missing", path=self._locate(name)) from None

    def loose_bytes(self, name: ObjectName) -> int:
        """What a client downloads to get this one object without a delta.

        Measured in an archive repository. Others are not served: there it is projected, by compressing the file
        as an archive repository would hold it.

        Raises:
            RepositoryError: it is missing.
        """
        if self._is_archive or name.kind is not ObjectKind.FILE:
            try:
                return (self._path / self._locate(name)).stat().st_size
            except FileNotFoundError:
                raise RepositoryError("is missing", path=self._locate(name)) from None
        return len(zlib.compress(self.read_object(name), _ZLIB_LEVEL))

    # -- where and how -----------------------------------------------------------------------------------------

    def _locate(self, name: ObjectName) -> str:
        if not is_checksum(name.checksum):
            raise RepositoryError("is not the name of an object", got=str(name))
        ending = "filez" if name.kind is ObjectKind.FILE and self._is_archive else name.kind.value
        return f"objects/{name.checksum[:2]}/{name.checksum[2:]}.{ending}"

    def _list_objects(self) -> Listing:
        """The checksums that are here, by kind: one listing instead of a look at every file."""
        listing: Listing = {kind: {} for kind in ObjectKind}
        file_ending = "filez" if self._is_archive else "file"
        kinds = {"commit": ObjectKind.COMMIT, "dirtree": ObjectKind.TREE, "dirmeta": ObjectKind.META}
        kinds[file_ending] = ObjectKind.FILE
        for folder in sorted((self._path / "objects").iterdir()):
            for entry in os.listdir(folder) if folder.is_dir() else ():  # noqa: PTH208 - 10^5 Paths would take longest
                found = _OBJECT.fullmatch(entry)
                if found and found[2] in kinds:
                    checksum = folder.name + found[1]
                    listing[kinds[found[2]]][checksum] = checksum
        return listing

    def _read_file(self, name: ObjectName) -> tuple[FileHeader, bytes]:
        where = self._locate(name)
        path = self._path / where
        if self._is_archive:
            return unpack_file(read_bounded(path, MAX_FILE_BYTES), where)
        status = path.lstat()
        is_link = stat.S_ISLNK(status.st_mode)
        content = b"" if is_link else read_bounded(path, MAX_FILE_BYTES)
        target = str(path.readlink()) if is_link else ""
        uid, gid, mode = status.st_uid, status.st_gid, status.st_mode
        xattrs = _read_xattrs(path) if self.mode == "bare" else ()
        if self.mode == "bare-user":
            uid, gid, mode, xattrs = decode_user_metadata(os.getxattr(path, _USER_METADATA), where)
            if stat.S_ISLNK(mode):
                # A link is kept as a file that holds its target: links cannot carry user attributes.
                target, content = content.decode("utf-8", "surrogateescape").rstrip("\0"), b""
        elif self.mode == "bare-user-only":
            uid, gid, mode = 0, 0, _LINK_MODE if is_link else stat.S_IFREG | stat.S_IMODE(status.st_mode)
        return FileHeader(uid=uid, gid=gid, mode=mode, link_target=target, xattrs=xattrs), content


def _need(needed_by: str) -> dict[str, str]:
    return {"needed_by": needed_by} if needed_by else {}


def _read_xattrs(path: Path) -> tuple[tuple[bytes, bytes], ...]:
    names = sorted(os.listxattr(path, follow_symlinks=False), key=os.fsencode)
    return tuple((os.fsencode(name) + b"\0", os.getxattr(path, name, follow_symlinks=False)) for name in names)


def _read_mode(path: Path) -> str:
    try:
        text = read_bounded(path / "config", _MAX_CONFIG_BYTES).decode("utf-8")
        config = configparser.RawConfigParser(strict=False, interpolation=None)
        config.read_string(text)
        mode = config.get("core", "mode", fallback="bare")
    except (OSError, InputError, UnicodeDecodeError, configparser.Error) as error:
        raise RepositoryError("is no OSTree repository", path=str(path), reason=str(error)) from error
    if mode not in _MODES:
        raise RepositoryError("is an OSTree repository of an unknown mode", path=str(path), got=mode, known=_MODES)
    return mode

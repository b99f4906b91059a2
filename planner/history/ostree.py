"""OSTree repositories, read directly: modes archive, bare, bare-user and bare-user-only.

Nothing is written and no program is started. Commits, trees and folder attributes are checked against their
checksums as they are read, files when their content is asked for. A repository whose objects are partly in another
one (`core.parent`) is read as if the others were missing.

Source: OSTree manual, "Anatomy of an OSTree repository" and "Repository modes"; libostree, `ostree-repo.c`.
"""

from __future__ import annotations

import configparser
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from planner.errors import InputError, RepositoryError
from planner.history.files import full_disk_as_error, read_bounded
from planner.history.large_files import check_chunks, inflate_chunks, read_chunks
from planner.history.ostree_objects import (
    MAX_FILE_BYTES,
    MAX_HEADER_BYTES,
    MAX_METADATA_BYTES,
    FileHeader,
    Xattrs,
    check_metadata,
    decode_commit,
    decode_tree,
    decode_user_metadata,
    file_checksum,
    head_bytes,
    packed_bytes,
    unpack_file,
    unpack_header,
)
from planner.history.reading import HistoryReader, Listing, ObjectFormat
from planner.history.records import Commit, History, ObjectKind, ObjectName, is_checksum
from planner.history.remembered_trees import recall_trees

_ARCHIVE_MODES = ("archive", "archive-z2")
_MODES = (*_ARCHIVE_MODES, "bare", "bare-user", "bare-user-only")
_MAX_CONFIG_BYTES = 10**6

_OBJECT = re.compile(r"([0-9a-f]{62})\.(commit|dirtree|dirmeta|filez?)")
_PARTIAL = re.compile(r"([0-9a-f]{64})\.commitpartial")
_FOLDER = re.compile("[0-9a-f]{2}")

# As `ostree refs` does: files in refs/ that cannot be part of a ref's name (say `.rsync_info`) are passed over.
_REF_FRAGMENT = re.compile(r"\w[-._\w]*")

# Enough for every header without large extended attributes, so that most are read at once.
_FIRST_READ_BYTES = 4096

_USER_METADATA = "user.ostreemeta"


class OSTreeRepository:
    """A local OSTree repository; a `Repository`.

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
        self._projected_bytes: dict[ObjectName, int] = {}

    @property
    def path(self) -> Path:
        """The repository's folder."""
        return self._path

    def read_history(self) -> History:
        """Every commit that a ref reaches through parents, with its trees; files are only looked for, not opened.

        A parent that is absent is the end of a shallow history. Commits that are marked partial are reported as
        `History.incomplete`; a ref to one is left out. Memory is shared: a tree that many commits reach is read once,
        and one that was remembered not at all.

        Raises:
            RepositoryError: an object is missing or corrupt, a name in a tree is hostile, or a ref cannot be read; the
                error names the object and the commit or path that needs it.
        """
        listing = self._list_objects()
        reader = HistoryReader(self.read_object, listing, self._form, recall_trees(self._path, listing))
        return reader.read(self.read_refs(), incomplete=self._read_partial())

    def read_commits(self, commits: Iterable[str]) -> History:
        """These commits with their trees and nothing else: no parents, no refs. Checked as `read_history` does.

        Raises:
            RepositoryError: an object is missing or corrupt, or a name in a tree is hostile.
        """
        reader = HistoryReader(self.read_object, self._list_objects(), self._form)
        return replace(reader.read({commit: commit for commit in commits}, depth=0), refs={})

    def read_refs(self) -> dict[str, str]:
        """The commit of each ref, by name: `name` for local ones, `remote:name` or `collection:name` for others.

        Raises:
            RepositoryError: a ref holds something else than a checksum, or leads out of the repository.
        """
        refs = dict(self._walk_refs("heads"))
        for folder in ("remotes", "mirrors"):
            for path, commit in self._walk_refs(folder):
                owner, _, name = path.partition("/")
                refs[f"{owner}:{name}"] = commit
        return dict(sorted(refs.items()))

    def read_object(self, name: ObjectName, *, needed_by: str = "") -> bytes:
        """A commit's, tree's or attributes' bytes; a file's content, or a link's target in UTF-8. All are checked.

        A file's checksum also covers owner, mode and extended attributes. Mode bare-user-only does not keep them:
        there a file that was pulled from elsewhere and had any cannot be checked, and is refused as corrupt,
        as `ostree fsck` does.

        Raises:
            RepositoryError: it is missing or corrupt; `needed_by` is named.
        """
        if name.kind is ObjectKind.FILE:
            header, content = self.read_file(name, needed_by=needed_by)
            return header.link_target.encode() if header.is_link else content
        where = self._locate(name)
        with _named_errors(where, needed_by):
            data = read_bounded(self._path / where, MAX_METADATA_BYTES)
            check_metadata(name, data, where)
            return data

    def read_file(self, name: ObjectName, *, needed_by: str = "") -> tuple[FileHeader, bytes]:
        """A file's header and content (none for a link), checked as `read_object` does.

        Raises:
            RepositoryError: it is missing or corrupt; `needed_by` is named.
        """
        where = self._locate(name)
        with _named_errors(where, needed_by):
            header, content = self._read_file(where)
            if file_checksum(header, content) != name.checksum:
                raise RepositoryError("is corrupt: its content and attributes do not have its checksum", path=where)
            return header, content

    def copy_file(self, name: ObjectName, into: BinaryIO) -> None:
        """Write a regular file's content into an open file, in chunks; checked as `read_object` does once it is there.

        Raises:
            RepositoryError: it is missing or corrupt.
            SpaceError: there is no space left for it.
        """
        where = self._locate(name)
        with _named_errors(where), self._open_content(where) as (header, chunks):
            for chunk in check_chunks(header, chunks, name.checksum, where):
                with full_disk_as_error(Path(str(into.name))):
                    into.write(chunk)

    def read_commit(self, checksum: str) -> Commit:
        """One commit, whether its trees are there or not.

        Raises:
            RepositoryError: it is missing or corrupt.
        """
        name = ObjectName(ObjectKind.COMMIT, checksum)
        return decode_commit(self.read_object(name), checksum, where=self._locate(name))

    def read_commit_metadata(self, commit: str) -> bytes:
        """What is kept beside a commit, such as its signatures: an `a{sv}`, unchecked; empty where there is nothing.

        Raises:
            RepositoryError: it cannot be read.
        """
        where = self._locate(ObjectName(ObjectKind.COMMIT, commit)) + "meta"
        with _named_errors(where):
            try:
                return read_bounded(self._path / where, MAX_METADATA_BYTES)
            except FileNotFoundError:
                return b""

    def read_header(self, name: ObjectName) -> tuple[FileHeader, int]:
        """A file's header and the size of its content (0 for a link), unchecked: the content is not read.

        Raises:
            RepositoryError: it is missing or malformed.
        """
        where = self._locate(name)
        path = self._path / where
        with _named_errors(where):
            if self._is_archive:
                return unpack_header(_read_head(path), where)
            header = _read_user_header(path, where) if self.mode == "bare-user" else self._read_bare_header(path)
            return header, 0 if header.is_link else path.lstat().st_size

    def object_bytes(self, name: ObjectName) -> int:
        """The size of what `read_object` gives, from the object's header or inode, unchecked.

        Raises:
            RepositoryError: it is missing or malformed.
        """
        if name.kind is ObjectKind.FILE:
            header, content_bytes = self.read_header(name)
            return len(header.link_target.encode()) if header.is_link else content_bytes
        where = self._locate(name)
        with _named_errors(where):
            return (self._path / where).lstat().st_size

    def loose_bytes(self, name: ObjectName) -> int:
        """What a client downloads to get this one object without a delta.

        Measured in an archive repository. Repositories of the other modes are not served over HTTP: there a file's
        number is projected, by compressing it (once) as an archive repository with default settings would.

        Raises:
            RepositoryError: it is missing; where it has to be compressed, also: it is corrupt.
        """
        where = self._locate(name)
        with _named_errors(where):
            if self._is_archive or name.kind is not ObjectKind.FILE:
                return os.lstat(f"{self._path}/{where}").st_size  # asked for 10^5 objects: a Path takes longer
            if name not in self._projected_bytes:
                with self._open_content(where) as (header, chunks):
                    self._projected_bytes[name] = packed_bytes(header, chunks)
            return self._projected_bytes[name]

    # -- refs and listings -------------------------------------------------------------------------------------

    def _walk_refs(self, folder: str) -> Iterator[tuple[str, str]]:
        """The refs below refs/`folder`; symbolic links to folders are not followed."""
        waiting = [f"refs/{folder}"]
        if (self._path / waiting[0]).is_symlink():
            raise RepositoryError("is a link, not a folder", path=waiting[0])
        while waiting:
            parent = waiting.pop()
            for entry in self._list_folder(parent):
                where = f"{parent}/{entry.name}"
                if not _REF_FRAGMENT.fullmatch(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(where)
                else:
                    yield where.removeprefix(f"refs/{folder}/"), self._read_ref(where)

    def _list_folder(self, where: str) -> list[os.DirEntry[str]]:
        """The entries of a folder by name; none if it is absent."""
        with _named_errors(where):
            try:
                with os.scandir(self._path / where) as entries:
                    return sorted(entries, key=lambda entry: entry.name)
            except FileNotFoundError:
                return []

    def _read_ref(self, where: str) -> str:
        path = self._path / where
        with _named_errors(where):
            # An alias is a link to another ref.
            if not path.resolve().is_relative_to((self._path / "refs").resolve()):
                raise RepositoryError("leads out of the repository", path=where)
            commit = read_bounded(path, 80).decode("ascii").strip()
        if not is_checksum(commit):
            raise RepositoryError("does not hold a commit's checksum", path=where, got=commit)
        return commit

    def _read_partial(self) -> dict[str, str]:
        """The commits that a pull left incomplete, each with the reason."""
        found = (_PARTIAL.fullmatch(entry.name) for entry in self._list_folder("state"))
        reason = "the commit is partial: some of its objects were never pulled"
        return {match[1]: reason for match in found if match}

    def _list_objects(self) -> Listing:
        """The checksums that are here, by kind: one listing instead of a look at every file."""
        kinds = {"filez" if self._is_archive else "file": ObjectKind.FILE}
        kinds |= {kind.value: kind for kind in (ObjectKind.COMMIT, ObjectKind.TREE, ObjectKind.META)}
        listing: Listing = {kind: {} for kind in ObjectKind}
        for folder in self._list_folder("objects"):
            for entry in self._list_folder(f"objects/{folder.name}") if _FOLDER.fullmatch(folder.name) else ():
                found = _OBJECT.fullmatch(entry.name)
                if found and found[2] in kinds:
                    checksum = folder.name + found[1]
                    listing[kinds[found[2]]][checksum] = checksum
        return listing

    # -- files -------------------------------------------------------------------------------------------------

    def _locate(self, name: ObjectName) -> str:
        if not is_checksum(name.checksum):
            raise RepositoryError("is not the name of an object", got=str(name))
        ending = "filez" if name.kind is ObjectKind.FILE and self._is_archive else name.kind.value
        return f"objects/{name.checksum[:2]}/{name.checksum[2:]}.{ending}"

    def _read_file(self, where: str) -> tuple[FileHeader, bytes]:
        path = self._path / where
        if self._is_archive:
            return unpack_file(read_bounded(path, MAX_FILE_BYTES + MAX_HEADER_BYTES), where)
        header = _read_user_header(path, where) if self.mode == "bare-user" else self._read_bare_header(path)
        return header, b"" if header.is_link else read_bounded(path, MAX_FILE_BYTES)

    @contextmanager
    def _open_content(self, where: str) -> Iterator[tuple[FileHeader, Iterator[bytes]]]:
        """A file's header, and its content in chunks, of which a link has none."""
        path = self._path / where
        if self._is_archive:
            head = _read_head(path)
            header, content_bytes = unpack_header(head, where)
            before_bytes = head_bytes(head)
        else:
            header = _read_user_header(path, where) if self.mode == "bare-user" else self._read_bare_header(path)
            before_bytes = 0
        if header.is_link:
            yield header, iter(())
            return
        with open(path, "rb", opener=_open_at_once) as file:
            file.seek(before_bytes)
            yield header, inflate_chunks(file, content_bytes, where) if self._is_archive else read_chunks(file)

    def _read_bare_header(self, path: Path) -> FileHeader:
        """Of a file of mode bare, or of bare-user-only, which keeps neither owners nor extended attributes."""
        keeps_owner = self.mode == "bare"
        status = path.lstat()
        is_link = stat.S_ISLNK(status.st_mode)
        return FileHeader(
            uid=status.st_uid if keeps_owner else 0,
            gid=status.st_gid if keeps_owner else 0,
            mode=status.st_mode,
            # As bytes: a Path would drop "./" and "//", and the checksum with them.
            link_target=os.readlink(os.fsencode(path)).decode() if is_link else "",  # noqa: PTH115
            xattrs=_read_xattrs(path) if keeps_owner else (),
        )


@contextmanager
def _named_errors(where: str, needed_by: str = "") -> Iterator[None]:
    """Inside, every way in which reading can fail is raised as `RepositoryError` with the place and who needs it."""
    need = {"needed_by": needed_by} if needed_by else {}
    try:
        yield
    except FileNotFoundError:
        raise RepositoryError("is missing", path=where, **need) from None
    except (OSError, InputError, UnicodeDecodeError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise RepositoryError("cannot be read", path=where, **need, reason=str(error)) from error
    except RepositoryError as error:
        error.facts |= need
        raise


def _read_user_header(path: Path, where: str) -> FileHeader:
    """Of a file of mode bare-user; a link is a file that holds its target, as links take no user attributes."""
    attributes = os.getxattr(path, _USER_METADATA, follow_symlinks=False)
    uid, gid, mode, xattrs = decode_user_metadata(attributes, where)
    target = read_bounded(path, MAX_HEADER_BYTES).partition(b"\0")[0].decode() if stat.S_ISLNK(mode) else ""
    return FileHeader(uid=uid, gid=gid, mode=mode, link_target=target, xattrs=xattrs)


def _read_xattrs(path: Path) -> Xattrs:
    names = sorted(map(os.fsencode, os.listxattr(path, follow_symlinks=False)))
    return tuple((name + b"\0", os.getxattr(path, name, follow_symlinks=False)) for name in names)


def _read_head(path: Path) -> bytes:
    """The start of a `.filez` object: all of its header, unless that is impossibly long."""
    with open(path, "rb", opener=_open_at_once) as file:
        head = file.read(_FIRST_READ_BYTES)
        return head + file.read(min(max(0, head_bytes(head) - len(head)), MAX_HEADER_BYTES))


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for the other end, should the file be a pipe."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _read_mode(path: Path) -> str:
    config = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    try:
        config.read_string(read_bounded(path / "config", _MAX_CONFIG_BYTES).decode())
    except (OSError, InputError, UnicodeDecodeError, configparser.Error) as error:
        raise RepositoryError("is no OSTree repository", path=str(path), reason=str(error)) from error
    version = config.get("core", "repo_version", fallback="")
    if version != "1":
        raise RepositoryError("is no OSTree repository of version 1", path=str(path), got=version)
    mode = config.get("core", "mode", fallback="bare")
    if mode not in _MODES:
        raise RepositoryError("is an OSTree repository of an unknown mode", path=str(path), got=mode, known=_MODES)
    return mode

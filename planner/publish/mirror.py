"""Bring a published repository to object storage, or to any other place that fsspec reaches, for clients to pull from.

Files are uploaded in the one order that never leaves a client with a broken update (`Stage`), only those that differ,
and what is gone is removed in the reverse order once the new summary is there. A run that is killed is finished by the
next one: until its summary is there clients see the last one, and all that it leads to. Nothing is removed that was
not uploaded from here.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from planner.build.pool import EXTENSION_PATH
from planner.errors import InputError, PlannerError, PublishError
from planner.history.files import digest_file, read_bounded
from planner.publish.mirror_ledger import Entry, Ledger
from planner.publish.mirror_order import AREAS, Stage, find_stage

Report = Callable[[str, int, int, str], None]

# Uploads at a time: each is a request whose answer is waited for.
_UPLOADS = 4
# s3fs' own pieces are of 50 MB, ten of them at once for each large file, and held more than once.
_S3_OPTIONS = {"max_concurrency": 2}
_S3_PIECES = {"chunksize": 16 * 2**20}
# Between two notes of what is done: a run that is killed does so many uploads again at most.
_BATCH = 64
_MAX_REWRITTEN_BYTES = 2**28
# An upload to these appears whole or not at all; elsewhere a file is renamed once it is whole.
_WHOLE_UPLOADS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "az", "memory"})
_UPLOAD_FOLDER = ".deltaplan-upload"
# Folders of folders that are listed one by one, so that no listing is long.
_SHELVED = ("objects", "deltas", "delta-indexes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrored:
    """What a run changed at the mirror: files and their bytes that were uploaded, files that were removed."""

    uploaded: int
    uploaded_bytes: int
    removed: int


def mirror(repository: Path, url: str, ledger_path: Path, report: Report, *, last: Stage = Stage.SUMMARY) -> Mirrored:
    """Make the files that clients need of a repository the same at the URL. Idempotent.

    With a `last` stage below the summary's nothing above it is touched, and nothing is removed: commits, say, that
    workers are to build from before anybody is told of them.

    Credentials and endpoints are those of the URL's own library, such as `AWS_ENDPOINT_URL` in the environment.
    A run at a time; the repository may change meanwhile by what only adds to it, all else is noticed.

    Raises:
        InputError: the URL is of no known kind, or the library for it is not installed.
        PublishError: the URL cannot be read or written, or the repository was changed meanwhile; clients find what
            they found before.
        SpaceError: the disk of the ledger is full.
    """
    place = _Place.open(url)
    with Ledger(ledger_path) as ledger, _named_errors(url):
        ledger.note_here(_list_repository(repository, ledger, last))
        place.clean()
        ledger.note_there(place.list())
        uploaded_bytes, done, total = 0, 0, ledger.plan_uploads()
        with ThreadPoolExecutor(_UPLOADS) as threads:
            for paths in ledger.batches(_BATCH):
                entries = [ledger.read(path) for path in paths]
                ledger.expect(entries)
                ledger.keep(list(threads.map(partial(_upload, place, repository), entries)))
                uploaded_bytes += sum(entry.file_bytes for entry in entries)
                done += len(entries)
                report("mirror", done, total, f"{entries[-1].stage.name.lower().replace('_', ' ')} uploaded")
            removed = ledger.plan_removals() if last is Stage.SUMMARY else ledger.plan_nothing()
            for paths in ledger.batches(_BATCH):
                list(threads.map(place.remove, paths))
                ledger.forget(paths)
    return Mirrored(uploaded=total, uploaded_bytes=uploaded_bytes, removed=removed)


# -- the repository ------------------------------------------------------------------------------------------------


def _list_repository(repository: Path, ledger: Ledger, last: Stage) -> Iterator[Entry]:
    for path in _walk(repository):
        stage = find_stage(path)
        if stage is None or stage > last:
            continue
        file = repository / path
        status = file.stat()
        digest = ledger.known_digest(path, status.st_size, status.st_mtime_ns)
        if stage.is_rewritten:
            digest = _digest(read_bounded(file, _MAX_REWRITTEN_BYTES))
        yield Entry(path=path, stage=stage, file_bytes=status.st_size, mtime_ns=status.st_mtime_ns, digest=digest)


def _walk(repository: Path) -> Iterator[str]:
    """The paths of files, with '/', in the order of `AREAS`; links are followed where they stay in `refs/`."""
    yield from (name for name in sorted(os.listdir(repository)) if (repository / name).is_file())  # noqa: PTH208
    refs = (repository / "refs").resolve()
    for area in AREAS:
        for folder, folders, names in os.walk(repository / area):
            folders[:] = sorted(name for name in folders if (area, name) != (EXTENSION_PATH, "pool"))
            for name in sorted(names):
                path = Path(folder, name)
                if not path.is_symlink() or (area == "refs" and path.resolve().is_relative_to(refs)):
                    yield path.relative_to(repository).as_posix()


def _upload(place: _Place, repository: Path, entry: Entry) -> Entry:
    """Upload a file; the entry with the digest of what was uploaded."""
    file = repository / entry.path
    try:
        if not entry.stage.is_rewritten:
            digest = digest_file(file)
            place.put_file(file, entry.path)
            return replace(entry, digest=digest)
        data = read_bounded(file, _MAX_REWRITTEN_BYTES)
    except FileNotFoundError as error:
        if file.exists():
            raise
        raise PublishError("is gone: the repository was changed while it was mirrored", path=str(file)) from error
    # What it leads to was listed after it was read, and may not be what it leads to now.
    if _digest(data) != entry.digest:
        raise PublishError("was changed while the repository was mirrored: run it again", path=str(file))
    place.put_bytes(data, entry.path)
    return entry


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# -- the mirror ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder of a file system of fsspec."""

    files: Any
    root: str
    is_whole: bool
    """Whether an upload appears whole or not at all."""
    pieces: Mapping[str, int]
    """What a large upload is told about its pieces."""

    @classmethod
    def open(cls, url: str) -> _Place:
        """The folder that a URL names."""
        kind = url.partition("://")[0]
        is_s3 = kind in ("s3", "s3a")
        options = _S3_OPTIONS if is_s3 else {}
        try:
            url_to_fs = import_module("fsspec.core").url_to_fs
            files, root = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True, **options)
        except ImportError as error:
            hint = "a library is not installed: pip install 'delta-planner[s3]', or fsspec's for this kind of URL"
            raise InputError(hint, path="publish.mirror_url", got=url, reason=str(error)) from error
        except ValueError as error:
            raise InputError("is of no known kind", path="publish.mirror_url", got=url, reason=str(error)) from error
        return cls(files, root.rstrip("/"), kind in _WHOLE_UPLOADS, _S3_PIECES if is_s3 else {})

    def clean(self) -> None:
        """Remove what killed uploads left."""
        with suppress(FileNotFoundError):
            self.files.rm(f"{self.root}/{_UPLOAD_FOLDER}", recursive=True)

    def list(self) -> Iterator[tuple[str, int]]:
        """The files that are there, by their path from the folder, with their bytes."""
        yield from self._name(one for one in self._list_folder("") if one["type"] == "file")
        for area in AREAS:
            shelves = [one["name"] for one in self._list_folder(area)] if area in _SHELVED else [f"{self.root}/{area}"]
            for shelf in shelves:
                yield from self._name(self.files.find(shelf, detail=True).values())

    def put_file(self, file: Path, path: str) -> None:
        """Upload a file in pieces."""
        with self._whole(path) as place:
            self.files.put_file(str(file), place, **self.pieces)

    def put_bytes(self, data: bytes, path: str) -> None:
        """Upload a small file."""
        with self._whole(path) as place:
            self.files.pipe_file(place, data)

    def remove(self, path: str) -> None:
        """Remove a file that may be gone."""
        with suppress(FileNotFoundError):
            self.files.rm_file(f"{self.root}/{path}")

    @contextmanager
    def _whole(self, path: str) -> Iterator[str]:
        """Where to write so that the file is never seen before it is whole."""
        place = f"{self.root}/{path}"
        if self.is_whole:
            yield place
            return
        staged = f"{self.root}/{_UPLOAD_FOLDER}/{secrets.token_hex(8)}"
        for one in (staged, place):
            self.files.makedirs(one.rpartition("/")[0], exist_ok=True)
        yield staged
        self.files.mv(staged, place)

    def _list_folder(self, path: str) -> Sequence[dict[str, Any]]:
        with suppress(FileNotFoundError):
            found: Sequence[dict[str, Any]] = self.files.ls(f"{self.root}/{path}".rstrip("/"), detail=True)
            return found
        return ()

    def _name(self, found: Iterable[dict[str, Any]]) -> Iterator[tuple[str, int]]:
        for one in found:
            path = one["name"].removeprefix(f"{self.root}/")
            if find_stage(path) is not None:
                yield path, one["size"]


@contextmanager
def _named_errors(url: str) -> Iterator[None]:
    try:
        yield
    except PlannerError:
        raise
    except Exception as error:
        # Each kind of URL has a library, and each library errors of its own.
        raise PublishError("the mirror cannot be brought up to date", path=url, reason=repr(error)) from error

"""Members of a tar, by their places in it, and whether a client may unpack them.

Members are read as Go's archive/tar reads them, with which container engines unpack layers: which members carry
content, which size counts, where the archive ends. Whatever follows the end belongs to the layer and is kept.

Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block"; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from planner.delta.bsdiff import Content
from planner.errors import InputError

BLOCK_BYTES = 512

# Of one pax header or long name; Go's limit.
_MAX_SPECIAL_BYTES = 1 << 20
_REGULAR = frozenset({b"0", b"\0", b"7", b"S"})
_HARD_LINK, _SYMBOLIC_LINK = b"1", b"2"
_WITHOUT_CONTENT = frozenset({b"1", b"2", b"3", b"4", b"5", b"6"})
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _GNU_SPARSE = b"L", b"K", b"x", b"g", b"S"
_CHECKSUM = slice(148, 156)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member: its headers begin at `header_at`, those before its own included, its content at `content_at`."""

    name: str
    link: str
    kind: bytes
    header_at: int
    content_at: int
    content_bytes: int

    @property
    def path(self) -> str:
        """The name as a path without `.` and empty pieces, which is how members of several tars are compared."""
        return "/".join(piece for piece in self.name.split("/") if piece not in ("", "."))

    @property
    def is_regular(self) -> bool:
        """Whether it is a file with content."""
        return self.kind in _REGULAR


def walk_tar(data: Content, where: str) -> Iterator[Member]:
    """The members in order, up to the first block of zeros or the end.

    Raises:
        InputError: a header is malformed or cut off; the error says where.
    """
    at, header_at, extended = 0, 0, dict[str, str]()
    while at < len(data):
        header = bytes(data[at : at + BLOCK_BYTES])
        if not any(header):
            return
        _check_header(header, where, at)
        kind = header[156:157]
        content_at = _after_sparse(data, at, where) if kind == _GNU_SPARSE else at + BLOCK_BYTES
        if kind in (_PAX, _LONG_NAME, _LONG_LINK, _PAX_GLOBAL):
            content_bytes = _number(header[124:136], where, at)
            extended |= _read_special(data, kind, at, content_bytes, where)
        else:
            content_bytes = _content_bytes(header, kind, extended, where, at)
            yield Member(
                name=extended.get("path", _name(header)),
                link=extended.get("linkpath", _text(header[157:257])),
                kind=kind,
                header_at=header_at,
                content_at=content_at,
                content_bytes=content_bytes,
            )
        at = content_at + content_bytes + -content_bytes % BLOCK_BYTES
        if content_at + content_bytes > len(data):
            raise InputError("is no whole tar: a member's content is cut off", path=where, at_byte=content_at)
        if kind not in (_PAX, _LONG_NAME, _LONG_LINK):
            header_at, extended = at, {}


def list_members(data: Content) -> list[Member]:
    """The members up to where the tar ends or is no tar any more."""
    members: list[Member] = []
    # What was found before an error is taken in: matching makes use of it, and whether the tar is sound others ask.
    with suppress(InputError):
        members.extend(walk_tar(data, ""))
    return members


def check_members(data: Content, where: str) -> None:
    """Look at every member's name and link.

    A symbolic link may be absolute, as `/etc/alternatives` is full of: it means the image's own root.

    Raises:
        InputError: it is no tar, or a name or link leads out of the image.
    """
    for member in walk_tar(data, where):
        if fault := _name_fault(member.name):
            raise InputError(f"a member's name {fault}", path=where, member=member.name)
        if member.kind == _HARD_LINK and (fault := _name_fault(member.link)):
            raise InputError(f"a hard link's target {fault}", path=where, member=member.name, link=member.link)
        if member.kind == _SYMBOLIC_LINK and _climbs_out(member):
            raise InputError("a link leads out of the image", path=where, member=member.name, link=member.link)


def _name_fault(name: str) -> str | None:
    if "\0" in name:
        return "has a zero byte"
    if name.startswith("/"):
        return "is absolute"
    if ".." in name.split("/"):
        return "has a piece '..'"
    return None


def _climbs_out(member: Member) -> bool:
    """Whether a link's target, from its own folder or the root, climbs above the root."""
    depth = 0 if member.link.startswith("/") else member.path.count("/")
    for piece in member.link.split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(piece, 1)
        if depth < 0:
            return True
    return False


def _check_header(header: bytes, where: str, at: int) -> None:
    if len(header) < BLOCK_BYTES:
        raise InputError("is no whole tar: a header is cut off", path=where, at_byte=at)
    claimed = _number(header[_CHECKSUM], where, at)
    spaced = header[:148] + b" " * 8 + header[156:]
    signed = sum(spaced) - 256 * sum(byte > 127 for byte in spaced)
    if claimed not in (sum(spaced), signed):
        raise InputError("is no tar: a header's checksum is wrong", path=where, at_byte=at)


def _number(field: bytes, where: str, at: int) -> int:
    """An octal number, or one of 256 a digit where the first bit is set."""
    if field[0] & 0x80:
        number = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if field[0] & 0x40 or number >= 2**63:
            raise InputError("is no tar: a number is negative or too large", path=where, at_byte=at)
        return number
    digits = field.strip(b" \0").partition(b"\0")[0].strip()
    if not all(byte in b"01234567" for byte in digits):
        raise InputError("is no tar: a header's number is not octal", path=where, at_byte=at)
    return int(digits or b"0", 8)


def _content_bytes(header: bytes, kind: bytes, extended: Mapping[str, str], where: str, at: int) -> int:
    text = extended.get("size")
    if text is not None and not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InputError("is no tar: a pax header's size is no number", path=where, at_byte=at)
    content_bytes = int(text) if text is not None else _number(header[124:136], where, at)
    return 0 if kind in _WITHOUT_CONTENT else content_bytes


def _name(header: bytes) -> str:
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{_text(header[:100])}" if prefix else _text(header[:100])


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _after_sparse(data: Content, at: int, where: str) -> int:
    """Where content begins behind an old GNU sparse header, which goes on in further blocks while its flag says so."""
    flag_at, end = at + 482, at + BLOCK_BYTES
    while bytes(data[flag_at : flag_at + 1]) not in (b"\0", b""):
        flag_at, end = end + 504, end + BLOCK_BYTES
    if end > len(data):
        raise InputError("is no whole tar: a sparse header is cut off", path=where, at_byte=at)
    return end


def _read_special(data: Content, kind: bytes, at: int, content_bytes: int, where: str) -> dict[str, str]:
    """What a pax header or a long name says about the member that follows."""
    if content_bytes > _MAX_SPECIAL_BYTES:
        raise InputError("is no tar: a pax header or long name is too large", path=where, at_byte=at)
    content = bytes(data[at + BLOCK_BYTES : at + BLOCK_BYTES + content_bytes])
    if kind == _LONG_NAME:
        return {"path": _text(content)}
    if kind == _LONG_LINK:
        return {"linkpath": _text(content)}
    records = _pax_records(content, where, at)
    if kind == _PAX_GLOBAL:
        # Readers differ in whether these count for all that follows, so none may rename anything.
        if records.keys() & {"path", "linkpath", "size"}:
            raise InputError("a global pax header renames members", path=where, at_byte=at)
        return {}
    return records


def _pax_records(content: bytes, where: str, at: int) -> dict[str, str]:
    records, place = dict[str, str](), 0
    while place < len(content):
        space = content.find(b" ", place, place + 20)
        digits = content[place:space] if space > place else b""
        end = place + int(digits) if digits.isdigit() and len(digits) < 9 else 0
        key, equals, value = content[space + 1 : max(end - 1, 0)].partition(b"=")
        if end <= space or end > len(content) or content[end - 1 : end] != b"\n" or not equals:
            raise InputError("is no tar: a pax header is malformed", path=where, at_byte=at)
        # An empty value is as good as none.
        records |= {key.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")} if value else {}
        place = end
    if "GNU.sparse.name" in records:
        records["path"] = records["GNU.sparse.name"]
    return records

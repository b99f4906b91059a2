"""HTML and SVG from parts, of which any text is escaped: what is not `Markup` is data, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


class Markup(str):
    """Text that is HTML already; made by `element` and `joined` alone."""

    __slots__ = ()


Part = Markup | str | float | None
"""What may stand in an element; None is nothing."""

_VOID = frozenset({"meta", "br", "col"})


def element(tag: str, /, *parts: Part, **attributes: str | float | None) -> Markup:
    """An element that is well-formed both as HTML and as XML; None leaves an attribute out.

    An attribute's name may end with `_`, and has `-` for `_`.

    >>> print(element("td", "a < b", element("b", 3), class_="wide", data_sort='"', colspan=None))
    <td class="wide" data-sort="&quot;">a &lt; b<b>3</b></td>
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{plain(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = joined(parts)
    return Markup(f"<{tag}{written}/>" if tag in _VOID else f"<{tag}{written}>{inside}</{tag}>")


def joined(parts: Iterable[Part]) -> Markup:
    """Parts one after the other."""
    return Markup("".join(part if isinstance(part, Markup) else plain(part) for part in parts if part is not None))


def trusted(text: str) -> Markup:
    """Text of this program's own that is HTML or CSS already; never what came from outside."""
    return Markup(text)


def plain(value: str | float) -> str:
    """Data as text in an element or an attribute; what cannot be shown, or would turn the text around, is replaced.

    Control characters have no place in HTML, half characters none in UTF-8, and a mark that turns the direction of
    writing could make a name read as another.

    >>> plain("a & b") + plain(chr(0) + chr(0x202E) + "'") + plain(0.25)
    'a &amp; b��&#x27;0.25'
    """
    if not isinstance(value, str):
        return f"{value:.6g}"
    return escape("".join(char if char.isprintable() else _stand_in(char) for char in value))


def _stand_in(char: str) -> str:
    return " " if char.isspace() else "\ufffd"

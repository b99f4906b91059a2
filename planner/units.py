"""Quantities on their way in and out: bytes are integers, 1 MB is 10^6 bytes, money is computed last."""

from __future__ import annotations

import re

from planner.errors import InputError

GB = 1_000_000_000
MB = 1_000_000
S_PER_HOUR = 3600.0

_SCALES = ((GB, "GB"), (MB, "MB"), (1_000, "kB"))


def format_bytes(amount_bytes: float) -> str:
    """Bytes as a person reads them, three significant digits, decimal units.

    >>> [format_bytes(b) for b in (0, 999, 12_345, 999_950, 20_900_000)]
    ['0 B', '999 B', '12.3 kB', '1.00 MB', '20.9 MB']
    """
    for scale, name in _SCALES:
        if abs(amount_bytes) >= scale * 0.9995:
            value = amount_bytes / scale
            digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
            return f"{value:.{digits}f} {name}"
    return f"{amount_bytes:.0f} B"


def format_duration(duration_s: float) -> str:
    """Seconds as a person reads them.

    >>> [format_duration(s) for s in (0.0123, 9.87, 75.2, 7322)]
    ['12 ms', '9.9 s', '1 min 15 s', '2 h 02 min']
    """
    if duration_s < 0.9995:
        return f"{duration_s * 1000:.0f} ms"
    if duration_s < 59.95:
        return f"{duration_s:.1f} s"
    minutes, seconds = divmod(round(duration_s), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
_UNITS_S = (86_400.0, S_PER_HOUR, 60.0, 1.0)


def parse_duration(text: str, *, path: str = "") -> float:
    """Seconds of a time as a person writes it: days, hours, minutes, seconds, in this order.

    Raises:
        InputError: it is none; the error names `path`.

    >>> [parse_duration(text) for text in ("4h", "1h30m", "2d", "45s", "0.5h")]
    [14400.0, 5400.0, 172800.0, 45.0, 1800.0]
    """
    found = _DURATION.fullmatch(text.strip())
    if not text.strip() or len(text) > 40 or found is None:
        raise InputError("is no time such as 4h, 90m or 1h30m", path=path, got=text[:40])
    return sum(float(word) * unit_s for word, unit_s in zip(found.groups(), _UNITS_S, strict=True) if word)

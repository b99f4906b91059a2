"""Fetching pins through pip, and unpacking what strangers made."""

from __future__ import annotations

import stat
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from planner.errors import InputError, ToolError
from planner.history import packages
from planner.history.packages import fetch_packages, unpack_wheel


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _entry(name: str, mode: int = 0o644, kind: int = stat.S_IFREG) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.filename = name  # the constructor cuts at a NUL
    entry.external_attr = (kind | mode) << 16
    return entry


def _wheel(path: Path, *entries: tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in entries:
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return path


# -- unpacking -----------------------------------------------------------------------------------------------


def test_a_wheel_is_unpacked_with_modes(tmp_path: Path) -> None:
    """Executable or not, whatever the other bits; folders may have entries or not; nothing is left out."""
    wheel = _wheel(
        tmp_path / "w.whl",
        (_entry("p/__init__.py", 0o600), b"x = 1\n"),
        (_entry("p/tool", 0o777), b"#!"),
        (_entry("p/empty/", 0o755, stat.S_IFDIR), b""),
        (_entry("p-1.dist-info/RECORD", 0, 0), b""),
    )
    unpack_wheel(wheel, tmp_path / "out")
    modes = {
        str(p.relative_to(tmp_path / "out")): stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "out").rglob("*")
    }
    assert modes["p/__init__.py"] == modes["p-1.dist-info/RECORD"] == 0o644
    assert modes["p/tool"] == 0o755
    assert (tmp_path / "out/p/empty").is_dir()
    assert (tmp_path / "out/p/__init__.py").read_bytes() == b"x = 1\n"
    with pytest.raises(InputError, match="in the way"):
        unpack_wheel(wheel, tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["/etc/x", "../x", "a/../../x", "a/./b", "a//b", "", "/", "..", "a\\..\\b", "C:\\x", "a\0b", "x" * 256]
)
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    """And nothing of the wheel appears, not even what came before."""
    wheel = _wheel(tmp_path / "w.whl", (_entry("fine"), b"1"), (_entry(name), b"2"))
    with pytest.raises(InputError, match="not allowed"):
        unpack_wheel(wheel, tmp_path / "out")
    assert _names(tmp_path) == ["w.whl"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    """A link in an archive is a way out of the folder."""
    wheel = _wheel(tmp_path / "w.whl", (_entry("a", 0o777, kind), b"/etc"), (_entry("a/passwd"), b"2"))
    with pytest.raises(InputError, match="neither a file nor a folder"):
        unpack_wheel(wheel, tmp_path / "out")
    assert _names(tmp_path) == ["w.whl"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_a_name_for_two_things_is_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    """Twice the same file, or a file that is a folder too: readers of zip files disagree about these."""
    wheel = _wheel(tmp_path / "w.whl", *((_entry(name), b"1") for name in names))
    with pytest.raises(InputError, match="is there twice"):
        unpack_wheel(wheel, tmp_path / "out")
    assert _names(tmp_path) == ["w.whl"]


def test_a_bomb_is_refused_by_what_it_declares(tmp_path: Path) -> None:
    """Before anything is written; the bound itself is allowed."""
    wheel = _wheel(tmp_path / "w.whl", (_entry("a"), b"\0" * 600_000), (_entry("b"), b"\0" * 400_000))
    with pytest.raises(InputError, match="more than is allowed"):
        unpack_wheel(wheel, tmp_path / "out", max_unpacked_bytes=999_999)
    unpack_wheel(wheel, tmp_path / "out", max_unpacked_bytes=1_000_000)


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    """The declared size is where reading stops, and the checksum of the rest does not match."""
    wheel = _wheel(tmp_path / "w.whl", (_entry("a"), b"\0" * 5_000_000))
    wheel.write_bytes(wheel.read_bytes().replace((5_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(InputError, match="not a usable zip file"):
        unpack_wheel(wheel, tmp_path / "out", max_unpacked_bytes=1000)
    assert _names(tmp_path) == ["w.whl"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda _: b"",
        lambda _: b"hello",
        lambda data: data.replace(b"\xb3", b"\x00"),
    ],
    ids=["truncated", "empty", "text", "flipped"],
)
def test_a_damaged_wheel_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """And so is one that is not there."""
    wheel = _wheel(tmp_path / "w.whl", (_entry("a"), bytes(range(256)) * 300))
    wheel.write_bytes(damage(wheel.read_bytes()))
    with pytest.raises(InputError, match="not a usable zip file"):
        unpack_wheel(wheel, tmp_path / "out")
    with pytest.raises(InputError, match="cannot be read"):
        unpack_wheel(tmp_path / "none.whl", tmp_path / "out")
    assert _names(tmp_path) == ["w.whl"]


# -- fetching, with pip played by the test -------------------------------------------------------------------


class _Pip:
    """Stands in for `subprocess.run`: makes the wheel that was asked for, or fails."""

    def __init__(self, *, stderr: str = "", error: Exception | None = None) -> None:
        self.commands: list[list[str]] = []
        self.stderr = stderr
        self.error = error

    def __call__(self, command: list[str], **options: object) -> SimpleNamespace:
        assert isinstance(command, list)
        assert "shell" not in options
        assert options["timeout"]
        self.commands.append(command)
        if self.error:
            raise self.error
        if not self.stderr:
            folder = Path(command[command.index("--dest") + 1])
            (folder / f"{command[-1].replace('==', '-')}-py3-none-any.whl").write_bytes(b"wheel")
        return SimpleNamespace(returncode=1 if self.stderr else 0, stderr=self.stderr)


def _play(monkeypatch: pytest.MonkeyPatch, pip: _Pip) -> _Pip:
    monkeypatch.setattr(packages.subprocess, "run", pip)
    return pip


def test_wheels_come_in_order_and_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call asks pip for nothing; spellings of one name share the wheel."""
    pip = _play(monkeypatch, _Pip())
    wheels = fetch_packages(["b==2", "a==1.0"], tmp_path / "cache")
    assert [wheel.name for wheel in wheels] == ["b-2-py3-none-any.whl", "a-1.0-py3-none-any.whl"]
    assert fetch_packages(["a==1.0", "B==2", "a==1.0"], tmp_path / "cache") == [wheels[1], wheels[0], wheels[1]]
    assert len(pip.commands) == 2
    assert pip.commands[0][-2:] == ["--", "b==2"]


@pytest.mark.parametrize(
    "requirement",
    [
        "six",
        "six>=1",
        "six==1.*",
        "six == 1.16",
        "--help==1",
        "-r==1",
        "six==1; os_name",
        "a[b]==1",
        "../x==1",
        "x==1\n",
        "x==../1",
        "six @ file:///x",
        "",
        "six==1 --index-url=x",
        "x==1/2",
    ],
)
def test_only_exact_pins_reach_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requirement: str) -> None:
    """Nothing is fetched when one of several is wrong."""
    pip = _play(monkeypatch, _Pip())
    with pytest.raises(InputError, match="not an exact pin"):
        fetch_packages(["six==1.16.0", requirement], tmp_path / "cache")
    assert pip.commands == []
    assert _names(tmp_path) == []


def test_a_failed_fetch_gives_the_last_words_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next try starts afresh."""
    _play(monkeypatch, _Pip(stderr="".join(f"line {number}\n" for number in range(20))))
    with pytest.raises(ToolError, match="line 19") as caught:
        fetch_packages(["six==1.16.0"], tmp_path / "cache")
    assert "line 3" not in str(caught.value)
    _play(monkeypatch, _Pip(error=subprocess.TimeoutExpired("pip", 300)))
    with pytest.raises(ToolError, match="did not finish"):
        fetch_packages(["six==1.16.0"], tmp_path / "cache")
    assert _names(tmp_path / "cache") == []


def test_a_tampered_cache_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without its wheel is not silently filled again."""
    _play(monkeypatch, _Pip())
    (wheel,) = fetch_packages(["six==1.16.0"], tmp_path / "cache")
    wheel.unlink()
    with pytest.raises(InputError, match="does not hold one wheel"):
        fetch_packages(["six==1.16.0"], tmp_path / "cache")


@pytest.mark.network
def test_a_real_package_is_fetched_and_unpacked(tmp_path: Path) -> None:
    """The one test that speaks to a package index."""
    try:
        (wheel,) = fetch_packages(["six==1.16.0"], tmp_path / "cache")
    except ToolError as error:
        pytest.skip(f"nothing can be fetched here: {error}")
    unpack_wheel(wheel, tmp_path / "out")
    assert b'__version__ = "1.16.0"' in (tmp_path / "out" / "six.py").read_bytes()
    assert fetch_packages(["six==1.16.0"], tmp_path / "cache") == [wheel]

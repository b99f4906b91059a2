"""The bytes of objects: one form for each value, and no exception but ours for any bytes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import RepositoryError
from planner.history.encoding import (
    FileKind,
    FileObject,
    decode_commit,
    decode_file,
    decode_tree,
    encode_file,
    encode_tree,
)
from planner.history.records import Tree

NO_CHECKSUM = "0" * 64


@given(
    st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), st.just(NO_CHECKSUM), max_size=5),
    st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), st.just(NO_CHECKSUM), max_size=5),
)
def test_tree_bytes_are_the_canonical_json_of_the_standard_library(files: dict[str, str], dirs: dict[str, str]) -> None:
    """Two writers of the format agree on every name, so a checksum does not depend on which one wrote."""
    plain = json.dumps({"files": files, "dirs": dirs}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert encode_tree(Tree(files=files, dirs=dirs)) == plain.encode()


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), st.just(NO_CHECKSUM), max_size=5))
def test_a_tree_is_read_as_it_was_written(files: dict[str, str]) -> None:
    """Every name survives, control characters and quotes too."""
    tree = Tree(files=files, dirs={})
    assert decode_tree(encode_tree(tree)) == tree


@given(st.sampled_from(FileKind), st.binary(min_size=1).filter(lambda content: b"\0" not in content))
def test_a_file_is_read_as_it_was_written(kind: FileKind, content: bytes) -> None:
    """Newlines and what looks like a header may be in the content."""
    file = FileObject(kind=kind, content=content)
    assert decode_file(encode_file(file)) == file
    assert decode_file(encode_file(FileObject(content=content + b"\0"))).content == content + b"\0"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
)
_KEYS = st.sampled_from(["dirs", "files", "committed_at", "metadata", "parent", "subject", "tree", "more"])


@given(st.binary(max_size=200) | st.dictionaries(_KEYS, _JSON).map(lambda value: json.dumps(value).encode()))
@pytest.mark.parametrize("decode", [decode_tree, decode_file, lambda data: decode_commit(data, NO_CHECKSUM)])
def test_any_bytes_are_an_object_or_a_repository_error(decode: Callable[[bytes], object], data: bytes) -> None:
    """No other exception escapes a decoder."""
    with contextlib.suppress(RepositoryError):
        decode(data)

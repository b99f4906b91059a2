"""Where a server says that a ref is, by its summary in our own format."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from planner.errors import FollowError, InputError
from planner.follow.remote import Remote
from planner.history.encoding import is_ref_name
from planner.publish.heads import MAX_HEADS_BYTES, find_head, is_heads
from planner.publish.signatures import PublicKey, verify


def fetch_head(remote: Remote, path: str, ref: str, keys: Sequence[PublicKey] = ()) -> str:
    """The commit of a ref; with keys only if one of them has signed the summary.

    Raises:
        InputError: it is not a ref's name.
        FollowError: the summary cannot be fetched or believed, or does not have the ref.
    """
    if not is_ref_name(ref):
        raise InputError("is not a ref's name", path="ref", got=ref[:200])
    data = remote.fetch(path, max_bytes=MAX_HEADS_BYTES)
    if keys:
        try:
            data = verify(data, keys)
        except InputError as error:
            raise FollowError("the server's summary cannot be believed", path=path, reason=str(error)) from error
        # The same key signs indexes, whose second line reads like the head of a ref `base`.
        if not is_heads(data):
            raise FollowError("the server's summary cannot be believed: it is another file", path=path)
    commit = find_head(data, ref)
    if commit is None:
        raise FollowError("the server's summary has no such ref", ref=ref)
    return commit


def expect_not_older(target_at: datetime, base_at: datetime) -> None:
    """Compare dates as libostree does: another commit of the same date is no step back.

    Raises:
        FollowError: the target is older.
    """
    if target_at < base_at:
        raise FollowError(
            "the server's head is older than what is here: --allow-downgrade goes back",
            head=target_at.isoformat(),
            here=base_at.isoformat(),
        )

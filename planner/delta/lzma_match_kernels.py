"""LZMA2, the search for repeated content: binary trees over tokens instead of over all bytes.

A *token* is a byte that is not zero, or a run of zeros. `marks[at]` tells in one number what begins at a byte: its
value where it is not zero, else 256 and how many zeros are there from it on (capped), so that two places are compared
run by run. Only the beginnings of tokens stand in the trees: a place within a run is found from the token after it.

Source: LZMA SDK (7-zip.org/sdk.html), the match finders with binary trees; nothing of it is copied.
"""

from __future__ import annotations

from typing import Any

COMPILE_OPTIONS = {"_nrt": False}
"""For `planner.compiled`: nothing here makes arrays, and counting who holds them takes half the time."""

Array = Any
"""A NumPy array; kernels are typed by what they are called with."""

ZEROS = 256
"""The mark of no zeros: marks above it are of runs."""

LONGEST = 273
"""Of a match, by the format."""

_MOST_ZEROS = 65535 - ZEROS

LEFT, RIGHT, PLACE, EARLIER = 0, 1, 2, 3
"""Columns of the tree: the tokens before and after in order, its first byte, the last one that hashed alike."""

TREE_COLUMNS = 4

LENGTH, DISTANCE, BACK = 0, 1, 2
"""Columns of matches: how long, how far away (less one), and how many bytes before them are zeros at both places."""

NEAR_BITS, HEAD_BITS = 16, 18
"""Of the tables of tokens by two and by three bytes, and of the trees' roots by four."""

# A run farther away costs more to tell than its zeros do otherwise.
_RUN_TRIES = 32


def mark_zeros(data: Array, marks: Array) -> int:
    """Fill the marks; how many tokens there are."""
    count = 0
    zeros = 0
    for at in range(len(data) - 1, -1, -1):
        if data[at] != 0:
            marks[at] = data[at]
            count += 1
            zeros = 0
        else:
            zeros = min(zeros + 1, _MOST_ZEROS)
            marks[at] = ZEROS + zeros
            if at == 0 or data[at - 1] != 0:
                count += 1
    return count


def place_tokens(data: Array, tokens: Array) -> None:
    """Fill in the first bytes of the tokens, in order; whatever is left is filled with the end of data."""
    count = 0
    was_zero = False
    for at in range(len(data)):
        is_zero = data[at] == 0
        if not (is_zero and was_zero):
            tokens[count] = at
            count += 1
        was_zero = is_zero
    tokens[count:] = len(data)


def count_same(marks: Array, at: int, before: int, known: int, limit: int) -> int:
    """How many bytes from `at` on are those from `before` on, `known` of which are known to be; `limit` at most."""
    same = known
    while same < limit:
        mark = int(marks[at + same])
        other = int(marks[before + same])
        if mark != other:
            if mark > ZEROS and other > ZEROS:
                same += min(mark, other) - ZEROS
            break
        same += mark - ZEROS if mark > ZEROS else 1
    return min(same, limit)


def find_backed(
    marks: Array,
    tree: Array,
    token: int,
    lead: int,
    found: Array,
    begin: int,
    count: int,
    dictionary_bytes: int,
    tries: int,
) -> int:
    """Add what the trees hide of an island with `lead` zeros before it: near islands that have more zeros before them.

    Rows from `begin` to before `count` are known; how many there are now. They stay in order of distance.
    """
    at = int(tree[token, PLACE])
    limit = min(LONGEST, len(marks) - at)
    most = most_back = 0
    node = token
    for _ in range(tries):
        node = int(tree[node, EARLIER])
        if node < 0:
            break
        before = int(tree[node, PLACE])
        if at - before > dictionary_bytes:
            break
        back = count_back(marks, tree, node, lead)
        if back == 0:
            continue
        same = count_same(marks, at, before, 0, limit)
        if same < 2 or (same <= most and back <= most_back):
            continue
        if same >= most and back >= most_back:
            most, most_back = same, back
        count = insert_row(found, begin, count, same, at - before - 1, back)
    return count


def insert_row(found: Array, begin: int, count: int, length: int, distance: int, back: int) -> int:
    """Add a match in order of distance, unless a nearer one is as good; how many rows there are now."""
    place = begin
    while place < count and found[place, DISTANCE] < distance:
        if found[place, LENGTH] >= length and found[place, BACK] >= back:
            return count
        place += 1
    if place < count and found[place, DISTANCE] == distance:
        return count
    for row in range(count, place, -1):
        for column in range(3):
            found[row, column] = found[row - 1, column]
    put_row(found, place, length, distance, back)
    return count + 1


def put_row(found: Array, row: int, length: int, distance: int, back: int) -> None:
    """Set a match."""
    found[row, LENGTH], found[row, DISTANCE], found[row, BACK] = length, distance, back


def is_dominated(found: Array, begin: int, count: int, length: int, back: int) -> bool:
    """Whether a match is known that is as long and has as many zeros before it."""
    for row in range(begin, count):
        if found[row, LENGTH] >= length and found[row, BACK] >= back:
            return True
    return False


def find_run(marks: Array, tree: Array, token: int, found: Array, count: int, dictionary_bytes: int) -> int:
    """Set row `count` to a near run of as many zeros as the one that is a token; its length, 1 where there is none."""
    at = int(tree[token, PLACE])
    zeros = int(marks[at]) - ZEROS
    for other in range(token - 1, max(token - _RUN_TRIES, 0) - 1, -1):
        before = int(tree[other, PLACE])
        if at - before > dictionary_bytes:
            break
        if marks[before] >= ZEROS + min(zeros, LONGEST):
            limit = min(LONGEST, len(marks) - at)
            length = count_same(marks, at, before, min(zeros, limit), limit)
            put_row(found, count, length, at - before - 1, 0)
            return length
    return 1


def byte_of(mark: int) -> int:
    """The byte at a place with a mark."""
    return 0 if mark > ZEROS else mark


def count_back(marks: Array, tree: Array, token: int, lead: int) -> int:
    """How many zeros are before a token, of `lead`."""
    at = int(tree[token, PLACE])
    if lead == 0 or at == 0 or marks[at - 1] <= ZEROS:
        return 0
    return min(lead, at - int(tree[token - 1, PLACE]))


def hash_four(marks: Array, at: int) -> int:
    """A hash of the four bytes at a place."""
    first = (int(marks[at]) << 8) | byte_of(int(marks[at + 1]))
    rest = (byte_of(int(marks[at + 2])) << 8) | byte_of(int(marks[at + 3]))
    return ((first * 2654435761 + rest * 506952113) & 0xFFFFFFFF) >> (32 - HEAD_BITS)


def find_near(
    marks: Array, tree: Array, token: int, lead: int, near: Array, found: Array, count: int, dictionary_bytes: int
) -> tuple[int, int]:
    """Add the last tokens of the same two and three bytes; how many rows there are now, and the longest match."""
    at = int(tree[token, PLACE])
    limit = min(LONGEST, len(marks) - at)
    pair = (int(marks[at]) << 8) | byte_of(int(marks[at + 1]))
    triple = pair << 8 | byte_of(int(marks[at + 2]))
    longest = 1
    for table in range(2):
        key = ((triple * 2654435761) & 0xFFFFFFFF) >> (32 - NEAR_BITS) if table else pair
        node = int(near[table, key])
        near[table, key] = token
        if node < 0:
            continue
        before = int(tree[node, PLACE])
        if at - before > dictionary_bytes:
            continue
        same = count_same(marks, at, before, 0, limit)
        if same > longest:
            longest = same
            put_row(found, count, same, at - before - 1, count_back(marks, tree, node, lead))
            count += 1
    return count, longest


def hash_run(marks: Array, at: int) -> int:
    """A hash of a run of zeros and the byte after it."""
    mark = int(marks[at])
    after = int(marks[at + mark - ZEROS]) if at + mark - ZEROS < len(marks) else 0
    return ((mark * 2654435761 + after * 2654463097) & 0xFFFFFFFF) >> (32 - HEAD_BITS)


def hang_token(
    marks: Array,
    tree: Array,
    token: int,
    node: int,
    lead: int,
    found: Array,
    begin: int,
    count: int,
    longest: int,
    dictionary_bytes: int,
    depth: int,
) -> int:
    """Make a token the root of the tree that had root `node`, and add matches; how many rows there are now."""
    at = int(tree[token, PLACE])
    limit = min(LONGEST, len(marks) - at)
    # Where the next token that is less (or greater) than this one is to be hung.
    less_at, less_side, same_less = token, LEFT, 0
    more_at, more_side, same_more = token, RIGHT, 0
    for _ in range(depth):
        if node < 0:
            break
        before = int(tree[node, PLACE])
        if at - before > dictionary_bytes:
            node = -1
            break
        same = count_same(marks, at, before, min(same_less, same_more), limit)
        back = count_back(marks, tree, node, lead)
        if same > longest or (back > 0 and same > 1 and not is_dominated(found, begin, count, same, back)):
            longest = max(longest, same)
            put_row(found, count, same, at - before - 1, back)
            count += 1
        if same == limit:
            # This token stands for that one from now on: it is nearer.
            tree[less_at, less_side] = tree[node, LEFT]
            tree[more_at, more_side] = tree[node, RIGHT]
            break
        if byte_of(int(marks[before + same])) < byte_of(int(marks[at + same])):
            tree[less_at, less_side] = node
            less_at, less_side, same_less = node, RIGHT, same
            node = int(tree[node, RIGHT])
        else:
            tree[more_at, more_side] = node
            more_at, more_side, same_more = node, LEFT, same
            node = int(tree[node, LEFT])
    else:
        node = -1
    if node < 0:
        tree[less_at, less_side] = -1
        tree[more_at, more_side] = -1
    return count


def find_matches(
    marks: Array,
    tokens: Array,
    first: int,
    last: int,
    tree: Array,
    heads: Array,
    near: Array,
    found: Array,
    starts: Array,
    dictionary_bytes: int,
    depth: int,
    tries: int,
) -> int:
    """Put tokens from `first` to before `last` into the trees; which token it ended before, as `found` was full.

    `found[starts[i] : starts[i + 1]]` are rows (length, distance - 1, zeros before both as far as told) of matches
    from the i-th of these tokens on, in order of distance; those of no zeros before are each longer than the last.
    """
    count = int(starts[0])
    end = len(marks)
    for token in range(first, last):
        if count + depth + tries + 4 > len(found):
            return token
        begin = count
        at = int(tokens[token])
        limit = min(LONGEST, end - at)
        starts[token - first + 1] = count
        tree[token, PLACE] = at
        tree[token, EARLIER] = -1
        if limit < 4:
            # Nothing that comes later is compared with it.
            continue
        longest = 1
        lead = 0
        if marks[at] > ZEROS:
            longest = find_run(marks, tree, token, found, count, dictionary_bytes)
            if longest > 1:
                count += 1
            if longest == LONGEST:
                starts[token - first + 1] = count
                continue
            slot = hash_run(marks, at)
        else:
            if at > 0 and marks[at - 1] > ZEROS:
                lead = at - int(tokens[token - 1])
            slot = hash_four(marks, at)
            count, longest = find_near(marks, tree, token, lead, near, found, count, dictionary_bytes)
        node = int(heads[slot])
        heads[slot] = token
        tree[token, EARLIER] = node
        count = hang_token(marks, tree, token, node, lead, found, begin, count, longest, dictionary_bytes, depth)
        if lead > 0:
            count = find_backed(marks, tree, token, lead, found, begin, count, dictionary_bytes, tries)
        starts[token - first + 1] = count
    return last

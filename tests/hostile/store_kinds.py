"""Hostile servers for a client of the embedded store: every file that it fetches, changed in every way."""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from planner.build.bundle import MAGIC
from planner.errors import PlannerError
from planner.follow.follower import Abilities, Trust, follow
from planner.follow.store_client import StoreClient
from planner.history.encoding import encode_commit, relative_path
from planner.history.records import ObjectKind, ObjectName
from planner.history.store import Store
from planner.publish.heads import find_head, format_heads
from planner.publish.routes import LayerRoute, PublishedRoute, format_index, index_path
from planner.publish.signatures import SigningKey, sign
from tests.hostile.arena import Arena, Files
from tests.hostile.mutations import mutate, mutate_words
from tests.hostile.store_world import CODECS, StoreWorld, delta_path
from tests.hostile.watch import Verdict

KEY, OTHER_KEY = (SigningKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
_NAMES = ("a", "dir", "..", ".", "", "/", "../neighbour", "/etc/passwd", "a\0b", "x" * 300, "\ud7ff", "neighbour", "ä")
_REFS = ("main", "..", "../../neighbour", "/main", "main/../x", "a//b", "main/x", "-", "é", "", "x" * 300)
_WORDS = (
    *(
        "route",
        "hop",
        "layer",
        "end",
        "base",
        "main",
        "-",
        "empty",
        "full",
        "layers:1",
        "layers:2",
        "layers:0",
        "1",
        "2",
    ),
    *("0", "64", "65", "-1", "00", "1e3", "99999999999999999", "1000000000000000000", "deltas/../x", "../neighbour"),
    *("/etc/passwd", "signature", "ed25519", "deltaplan-routes/1", "zstd", "", "\u0663", "\ufeff", "\r"),
)


@dataclass(frozen=True)
class Attack:
    """What a hostile server sends in place of its files, what the client asks for, and where that may lead."""

    files: Mapping[str, bytes]
    head: str | None
    ref: str = "main"
    keys: tuple[SigningKey, ...] = ()
    missing: frozenset[str] = frozenset()


@dataclass
class StoreTarget:
    """A client of a store on the first release, which follows what a hostile server says."""

    world: StoreWorld
    surroundings: Path
    attack: Callable[[random.Random, StoreWorld], Attack]
    arena: Arena = field(init=False)

    def __post_init__(self) -> None:
        self.arena = Arena(self.world.template, self.surroundings)
        self.arena.prepare()

    def feed(self, rng: random.Random) -> Verdict:
        """Let the client follow; judge its ref, its objects, and everything around it."""
        attack = self.attack(rng, self.world)
        files = {
            path: data for path, data in (self.world.files | dict(attack.files)).items() if path not in attack.missing
        }
        remote = Files(files)
        client = StoreClient(Store(self.arena.client, level=1, is_durable=False), remote)
        trust = Trust(keys=tuple(key.public_key() for key in attack.keys), allow_downgrade=rng.random() < 0.5)
        abilities = Abilities(layers=rng.random() < 0.3)
        base = self.world.commits[0]
        try:
            done = follow(client, remote, base=base, want=attack.ref, is_ref=True, abilities=abilities, trust=trust)
            verdict = Verdict.ACCEPTED if done.fallback_reason is None else Verdict.REFUSED
        except PlannerError:
            verdict = Verdict.REFUSED
        try:
            return self._judge(client, attack, verdict)
        finally:
            self.arena.restore()

    def _judge(self, client: StoreClient, attack: Attack, verdict: Verdict) -> Verdict:
        refs = {ref: head for ref, head in client.store.read_refs().items() if not ref.startswith("deltaplan/layer/")}
        old = {"main": self.world.commits[0]}
        is_right = refs in (old, old | {attack.ref: attack.head})
        try:
            client.store.read_history()  # as every later run does
            for head in refs.values():
                client.check(head)
                self._check_out(client.store, head)
        except PlannerError:
            is_right = False
        if not self.arena.is_around_untouched():
            return Verdict.OUTSIDE
        return verdict if is_right else Verdict.WRONG

    def _check_out(self, store: Store, head: str) -> None:
        """Unpack a commit that the client took, which is where a hostile name would lead outside."""
        if head != self.world.commits[0] and head != self.world.commits[2]:
            with contextlib.suppress(PlannerError):
                store.checkout(head, self.arena.client / "tree")
            shutil.rmtree(self.arena.client / "tree", ignore_errors=True)


# -- what a hostile server does --------------------------------------------------------------------------------------


def _signed(rng: random.Random, text: bytes, change: Callable[[bytes], bytes]) -> tuple[bytes, tuple[SigningKey, ...]]:
    """The text, changed before or behind a signature by a good or another key, or not signed; and the client's keys."""
    keys = rng.choice(((), (KEY,), (KEY, OTHER_KEY)))
    match rng.randrange(3):
        case 0:
            return change(text), keys
        case 1:
            changed = change(text)
            return (sign(changed, rng.choice((KEY, OTHER_KEY))) if changed.endswith(b"\n") else changed), keys
        case _:
            return change(sign(text, KEY)), keys


def _change_text(rng: random.Random, words: tuple[str, ...]) -> Callable[[bytes], bytes]:
    if rng.random() < 0.4:
        return lambda data: mutate(rng, data)
    return lambda data: mutate_words(rng, data.decode(errors="replace"), words).encode()


def attack_index(rng: random.Random, world: StoreWorld) -> Attack:
    """Another route index; half of the servers serve no objects that a full pull could use."""
    codec = rng.choice(CODECS)
    two, one = world.route((0, 1, codec), (1, 2, codec)), world.route((0, 2, codec))
    layers = tuple(
        LayerRoute(base=world.commits[0], target=way.target, wire_bytes=way.wire_bytes, hops=way.hops)
        for way in (two, one)
    )
    hops = (*(two.hops or ()), *(one.hops or ()))
    layered = PublishedRoute(
        ref="main", target=two.target, wire_bytes=two.wire_bytes + one.wire_bytes, hops=hops, layers=layers
    )
    text = format_index(world.commits[0], rng.choice(([two], [two, one], [layered, one]))).encode()
    data, keys = _signed(rng, text, _change_text(rng, (*_WORDS, *world.commits)))
    files = {index_path(world.commits[0]): data}
    if keys:
        files["summary"] = sign(world.files["summary"], KEY)
    return Attack(files, world.commits[2], keys=keys, missing=_without_loose(rng, world))


def _without_loose(rng: random.Random, world: StoreWorld) -> frozenset[str]:
    if rng.random() < 0.3:
        return frozenset()
    return frozenset(path for path in world.files if path.startswith("objects/") and not path.endswith(".commit"))


def attack_summary(rng: random.Random, world: StoreWorld) -> Attack:
    """Another summary; a client with keys must not end anywhere that no signature names."""
    text = format_heads({"main": world.commits[2], "other": world.commits[1]})
    data, keys = _signed(rng, text, _change_text(rng, (*_WORDS, *world.commits, *_REFS)))
    index = format_index(world.commits[0], [world.route((0, 1, "zstd"), (1, 2, "zstd"))]).encode()
    files = {"summary": data, index_path(world.commits[0]): sign(index, KEY)}
    return Attack(files, find_head(data, "main"), keys=keys, missing=_without_loose(rng, world))


def attack_delta(rng: random.Random, world: StoreWorld) -> Attack:
    """Another delta, announced with its true bytes; its packed header and its payload changed apart."""
    codec = rng.choice(CODECS)
    stops = rng.choice((((0, 1, codec), (1, 2, codec)), ((0, 2, codec),)))
    hit = rng.choice(stops)
    data = _change_delta(rng, world.deltas[hit], world.deltas[rng.choice(list(world.deltas))])
    route = world.route(*stops, lengths={hit: len(data)})
    files = {
        f"{delta_path(hit)}/delta": data,
        index_path(world.commits[0]): format_index(world.commits[0], [route]).encode(),
    }
    return Attack(files, world.commits[2], missing=_without_loose(rng, world))


def _change_delta(rng: random.Random, delta: bytes, other: bytes) -> bytes:
    start = len(MAGIC) + 4
    end = start + int.from_bytes(delta[len(MAGIC) : start], "little")
    header, payload = zstandard.decompress(delta[start:end]), delta[end:]
    match rng.randrange(4):
        case 0:
            return mutate(rng, delta)
        case 1:
            header = mutate(rng, header)
        case 2:
            fields = msgspec.msgpack.decode(header)
            _change_fields(rng, fields)
            header = msgspec.msgpack.encode(fields)
        case _:
            # With a true checksum, so that the codec sees it.
            payload = mutate(rng, payload) if rng.random() < 0.9 else other
            fields = msgspec.msgpack.decode(header)
            if len(fields["blocks"]) == 1:
                fields["blocks"][0][3:5] = [len(payload), hashlib.sha256(payload).digest()]
            header = msgspec.msgpack.encode(fields)
    packed = zstandard.compress(header)
    return MAGIC + len(packed).to_bytes(4, "little") + packed + payload


def _change_fields(rng: random.Random, fields: dict[str, Any]) -> None:
    """Change one value somewhere in the header."""
    node: Any = fields
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = rng.choice(list(keys)) if keys else None
        if key is None:
            return
        if not isinstance(node[key], (dict, list)) or rng.random() < 0.1:
            node[key] = rng.choice(
                (None, -1, 0, 2**31, 2**62, 2**64 - 1, b"", b"\0" * 32, "", "zstd", "file", [], {}, [[]] * 9, 1.5)
            )
            return
        node = node[key]


def attack_object(rng: random.Random, world: StoreWorld) -> Attack:
    """Another loose object, packed well or not, or a frame that claims more than there is; the way is a full pull."""
    path = rng.choice([path for path in world.files if path.startswith("objects/")])
    packed = world.files[path]
    match rng.randrange(3):
        case 0:
            data = mutate(rng, packed)
        case 1:
            data = zstandard.compress(mutate(rng, zstandard.decompress(packed)))
        case _:
            claimed = rng.choice((2**20, 2**27, 2**28, 2**31, 2**62))
            blocks = zstandard.ZstdCompressor(write_content_size=False).compress(b"\0" * rng.randrange(10**5))[6:]
            # RFC 8878, section 3.1.1.1.1: one segment, eight bytes of content size.
            data = packed[:4] + b"\xe0" + claimed.to_bytes(8, "little") + blocks
    return Attack({path: data} | _full_pull(world, "main", world.commits[2]), world.commits[2])


def _full_pull(world: StoreWorld, ref: str, head: str) -> dict[str, bytes]:
    """An index and a summary by which a full pull is the way."""
    way = PublishedRoute(ref=ref, target=head, wire_bytes=1000, hops=None)
    index = format_index(world.commits[0], [way]).encode(errors="replace")
    return {index_path(world.commits[0]): index, "summary": format_heads({ref: head})}


def attack_head(rng: random.Random, world: StoreWorld) -> Attack:
    """A head of the server's own making, whose objects all have their checksums: a client without keys may take it."""
    made: dict[ObjectName, bytes] = {}

    def add(kind: ObjectKind, data: bytes) -> str:
        name = ObjectName(kind, hashlib.sha256(data).hexdigest())
        made[name] = data
        return name.checksum

    is_mild = rng.random() < 0.5
    contents = (b"file 644\nx", b"link\n../neighbour", b"link\n/etc", *(() if is_mild else (b"link\n", b"", b"dir\n")))
    trees, files = list[str](), [add(ObjectKind.FILE, rng.choice(contents))]
    for _ in range(rng.choice((1, 2, 3, 4, 5, 6, 7, 300))):
        data = _make_tree(rng, trees, files, is_mild)
        trees.append(add(ObjectKind.TREE, mutate(rng, data) if not is_mild and rng.random() < 0.1 else data))
    body = encode_commit(
        trees[-1],
        committed_at=datetime(rng.choice((2024,) if is_mild else (1, 2024, 9999)), 2, 1, tzinfo=UTC),
        parent=rng.choice((None, *world.commits)),
        subject="",
        metadata={"deltaplan.layers": rng.choice(("", "x", world.commits[0], "../x " * 3, " ".join(world.commits)))},
    )
    head = add(ObjectKind.COMMIT, mutate(rng, body) if not is_mild and rng.random() < 0.3 else body)
    sent = {relative_path(name): zstandard.compress(data) for name, data in made.items()}
    return Attack(sent | _full_pull(world, "main", head), head)


def _make_tree(rng: random.Random, trees: Sequence[str], files: Sequence[str], is_mild: bool) -> bytes:
    """A tree over the last one; where it is not mild, with names and checksums that lead elsewhere."""
    names = ("a", "b", "dir", "ä", "...") if is_mild else _NAMES
    leaves = files if is_mild else (*files, *trees, "../../x", "", "A" * 64)
    below = {rng.choice(names): rng.choice(trees[-1:] or files) for _ in range(rng.randrange(1, 3))} if trees else {}
    beside = {rng.choice(names): rng.choice(leaves) for _ in range(rng.randrange(3))}
    if is_mild:
        beside = {name: leaf for name, leaf in beside.items() if name not in below}
    return msgspec.json.encode({"dirs": below, "files": beside})


def attack_ref(rng: random.Random, world: StoreWorld) -> Attack:
    """A ref whose name leads elsewhere, which the summary confirms."""
    ref = rng.choice(_REFS) if rng.random() < 0.5 else "".join(rng.choices("ab/.\0\n-~ \u2028", k=rng.randrange(1, 6)))
    return Attack(_full_pull(world, ref, world.commits[2]), world.commits[2], ref=ref)


STORE_KINDS: dict[str, Callable[[random.Random, StoreWorld], Attack]] = {
    "route index": attack_index,
    "summary": attack_summary,
    "delta of a store": attack_delta,
    "loose object": attack_object,
    "head of its own": attack_head,
    "ref's name": attack_ref,
}

"""A durable store of a binding cache in one SQLite file, for `flowclass ha` and for programs that embed a `HomeAgent`.

::

    store = SqliteStore("bindings.sqlite")
    agent = HomeAgent(store=store)
    store.restore(agent.cache, now=time.monotonic())
    ...
    with agent.cache.batch():            # one commit, one flush of the disk, for many updates
        replies = [agent.receive(packet, now=time.monotonic()) for packet in packets]
    send(replies)                        # only now: what is acknowledged is on the disk

The file has a write-ahead log and ``synchronous=FULL``: a commit returns when its pages have been flushed. Each row
has the remaining lifetimes of its node and the time at which it was written, by the wall clock and by the monotonic
clock, with an identifier of the boot from which the latter counts. After a restart within the same boot the monotonic
clock is used, because nobody can set it; after a reboot the wall clock is used.

One process writes; it holds a lock on ``FILE.lock``, which the system releases when the process ends. Other processes
may follow (`StoreFollower`): they read the changes, and take the lock when it is free.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Final

from flowclass.errors import ClassifierError, FlowclassError, StoreError
from flowclass.mobility import BindingCache, Node, decode_node, encode_node

__all__ = ["SqliteStore", "StoreFollower", "check_store"]

_APPLICATION_ID: Final = 0x464C4F57  # "FLOW"
_HEADER: Final = b"SQLite format 3\0"
_APPLICATION_ID_AT: Final = 68

# Each leads from one version of the schema to the next; version 0 is an empty file. Never change one, but add one.
MIGRATIONS: Final = (
    """
    CREATE TABLE node (
        home BLOB PRIMARY KEY,
        data BLOB,
        wall REAL NOT NULL,
        monotonic REAL NOT NULL,
        boot TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
    # the number of the change, for followers; the remembered sequence number of a removed node
    """
    ALTER TABLE node ADD COLUMN change INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE node ADD COLUMN sequence INTEGER;
    ALTER TABLE node ADD COLUMN remembered REAL NOT NULL DEFAULT 0;
    CREATE INDEX node_by_change ON node (change);
    """,
)
VERSION: Final = len(MIGRATIONS)

_PUT: Final = "INSERT OR REPLACE INTO node (home, data, wall, monotonic, boot, change) VALUES (?, ?, ?, ?, ?, ?)"
_REMEMBER: Final = (
    "INSERT OR REPLACE INTO node (home, data, wall, monotonic, boot, change, sequence, remembered) "
    "VALUES (?, NULL, ?, ?, ?, ?, ?, ?)"
)
_FORGET: Final = "DELETE FROM node WHERE home = ? AND change < (SELECT max(change) FROM node)"
_ROWS: Final = "SELECT home, data, wall, monotonic, boot, sequence, remembered FROM node WHERE change > ?"

Clock = Callable[[], float]


def boot_id() -> str:
    """Return the identifier of this boot of the machine; "" if it is unknown, and then the wall clock is used."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class _Rows:
    """Reads rows, and computes what is left of their lifetimes."""

    def __init__(self, path: str, clock: Clock, wall: Clock) -> None:
        self.path = path
        self.clock = clock
        self.wall = wall
        self.boot = boot_id()

    def read(
        self, connection: sqlite3.Connection, now: float, after: int
    ) -> tuple[list[Node], list[tuple[bytes, int, float]], list[bytes]]:
        """Return the nodes, the remembered sequence numbers of removed nodes, and the home addresses of all removed
        nodes."""
        ahead, wall = now - self.clock(), self.wall()
        nodes: list[Node] = []
        remembered: list[tuple[bytes, int, float]] = []
        gone: list[bytes] = []
        for home, data, its_wall, its_time, boot, sequence, memory in connection.execute(_ROWS, (after,)):
            elapsed = now - ahead - its_time if boot and boot == self.boot else wall - its_wall
            written = now - max(elapsed, 0.0)
            if data is None:
                gone.append(home)
                if sequence is not None and written + memory > now:
                    remembered.append((home, sequence, written + memory))
                continue
            node = decode_node(data, written)
            if node.home != home:
                raise FlowclassError("a row with the node of another home address")
            node.care_of = {bid: entry for bid, entry in node.care_of.items() if entry.expires > now}
            node.flows = {fid: flow for fid, flow in node.flows.items() if flow.expires > now}
            if node.care_of or node.flows:
                nodes.append(node)
                continue
            gone.append(home)
            if node.sequence is not None and node.memory > 0:
                remembered.append((home, node.sequence, now + node.memory))
        return nodes, remembered, gone


def check_store(path: str) -> None:
    """Raise `StoreError` for a file that isn't a store, before SQLite opens it, which might write to it, and for one
    that can't be made for want of a folder."""
    folder = os.path.dirname(path) or "."
    try:
        with open(path, "rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        if not os.path.isdir(folder):
            raise StoreError(f"{path}: there is no folder {folder}") from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise StoreError(f"{path}: the folder {folder} can't be written to") from None
        return
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None
    if not header:
        return
    if not header.startswith(_HEADER) or len(header) < 100:
        raise StoreError(f"{path}: no SQLite file, but something else is there; it is left as it is")
    (application,) = struct.unpack_from(">I", header, _APPLICATION_ID_AT)
    if application != _APPLICATION_ID:
        raise StoreError(f"{path}: a SQLite file of another application; it is left as it is")


@contextmanager
def _sqlite(path: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: {error}") from None


class SqliteStore:
    """A `flowclass.mobility.Store` in a SQLite file; see the text of the module.

    Failures raise `StoreError` and leave the file unchanged. ``clock`` is the clock of the agent's ``now``; ``wall``
    returns the time since the epoch. A store must be used by one thread only.
    """

    def __init__(self, path: str | PathLike[str], *, clock: Clock = time.monotonic, wall: Clock = time.time) -> None:
        self.path: str = fspath(path)
        check_store(self.path)
        self._lock = _Lock(self.path)
        if not self._lock.take():
            raise StoreError(f"{self.path}: in use by process {self._lock.owner() or 'unknown'}")
        try:
            self._open(clock, wall)
        except BaseException:
            self._lock.release()
            raise

    @classmethod
    def _with_lock(cls, lock: _Lock, clock: Clock, wall: Clock) -> SqliteStore:
        """Open the store for a follower that holds the lock already."""
        store = cls.__new__(cls)
        store.path, store._lock = lock.path, lock
        check_store(store.path)
        store._open(clock, wall)
        return store

    def _open(self, clock: Clock, wall: Clock) -> None:
        self._rows = _Rows(self.path, clock, wall)
        self._in_batch = False
        try:  # only the owner may read it: it shows where mobile nodes are
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}") from None
        with _sqlite(self.path):
            self._db = sqlite3.connect(self.path, isolation_level=None, cached_statements=16)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        run = self._db.execute
        run("PRAGMA trusted_schema = OFF")
        (version,) = run("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StoreError(f"{self.path}: schema {version} of a later release; this one knows {VERSION}")
        if version == 0 and run("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StoreError(f"{self.path}: tables, but no version of their schema; it is left as it is")
        problems = [row[0] for row in run("PRAGMA quick_check(1)")]
        if problems != ["ok"]:
            raise StoreError(f"{self.path}: damaged: {problems[0]}; it is left as it is")
        if version == 0:
            run(f"PRAGMA application_id = {_APPLICATION_ID}")  # before the log: in the file's own header from now on
        for number in range(version, VERSION):
            self._db.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        (self._change,) = run("SELECT coalesce(max(change), 0) FROM node").fetchone()

    def close(self) -> None:
        """Close the file and release its lock."""
        self._db.close()
        self._lock.release()

    # ---- a Store

    def put(self, home_address: bytes, node: Node | None) -> None:
        """Store a node, or its removal; it is on the disk when this method returns, or in a batch when that ends."""
        now = self._rows.clock()
        data = None if node is None else encode_node(node, now)
        self._write(_PUT, home_address, data, now)

    def remember(self, home_address: bytes, sequence: int, until: float) -> None:
        """Store the sequence number of a removed node, until the given time."""
        now = self._rows.clock()
        with _sqlite(self.path):
            self._change += 1
            self._db.execute(
                _REMEMBER,
                (home_address, self._rows.wall(), now, self._rows.boot, self._change, sequence, max(until - now, 0.0)),
            )

    def _write(self, statement: str, home: bytes, data: bytes | None, now: float) -> None:
        with _sqlite(self.path):
            self._change += 1
            self._db.execute(statement, (home, data, self._rows.wall(), now, self._rows.boot, self._change))

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Return a context manager that commits all changes made inside at its end; none of them if that raises."""
        if self._in_batch:
            yield
            return
        before = self._change
        self._in_batch = True
        try:
            with _sqlite(self.path):
                self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                with _sqlite(self.path):
                    self._db.execute("COMMIT")
            except BaseException:
                self._change = before
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        finally:
            self._in_batch = False

    # ---- restart

    def restore(self, cache: BindingCache, now: float) -> int:
        """Install the stored nodes that haven't expired in the cache; return their number.

        `StoreError` is raised for an invalid row, and then cache and file stay unchanged.
        """
        try:
            with _sqlite(self.path):
                nodes, remembered, gone = self._rows.read(self._db, now, -1)
            cache.advance(now)
            cache.restore(nodes, remembered)
        except StoreError:
            raise
        except FlowclassError as error:
            raise StoreError(f"{self.path}: damaged: {error}; it is left as it is") from None
        kept = {home for home, _, _ in remembered}
        with self.batch(), _sqlite(self.path):
            for home in gone:
                if home not in kept:  # the last row stays, so that numbers of changes are never reused
                    self._db.execute(_FORGET, (home,))
        return len(nodes)


class _Lock:
    """The lock of the writing process, which ends with the process. The file has its process id, for messages."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: int | None = None

    def take(self) -> bool:
        try:
            file = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"{self.path}.lock: {error.strerror}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return False
        os.truncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file
        return True

    def owner(self) -> str:
        try:
            return Path(f"{self.path}.lock").read_text().strip()
        except OSError:
            return ""

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class StoreFollower:
    """Follows a store that another process writes, to have its cache ready when that process ends.

    `follow` brings a cache up to date; `take_over` returns the store, open for writing, once its lock is free.
    """

    def __init__(self, path: str | PathLike[str], *, clock: Clock = time.monotonic, wall: Clock = time.time) -> None:
        self.path: str = fspath(path)
        self._clock, self._wall = clock, wall
        self._rows = _Rows(self.path, clock, wall)
        self._lock = _Lock(self.path)
        self._db: sqlite3.Connection | None = None
        self._seen: Any = None
        self._change = -1

    def _connection(self) -> sqlite3.Connection | None:
        if self._db is None:
            check_store(self.path)
            if not os.path.exists(self.path):
                return None
            self._db = sqlite3.connect(f"{Path(self.path).absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        return self._db

    def follow(self, cache: BindingCache, now: float) -> bool:
        """Read what was committed since the last call; return whether a node was changed or removed."""
        with _sqlite(self.path):
            db = self._connection()
            if db is None:
                return False
            (version,) = db.execute("PRAGMA data_version").fetchone()
            if version == self._seen or db.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                return False
            db.execute("BEGIN")
            try:
                nodes, remembered, gone = self._rows.read(db, now, self._change)
                (self._change,) = db.execute("SELECT coalesce(max(change), -1) FROM node").fetchone()
            finally:
                db.execute("COMMIT")
            self._seen = version
        for home in gone:
            cache.remove(home, now)
        try:
            cache.restore(nodes, remembered)
        except ClassifierError:  # a prefix has moved from one node to another
            for node in nodes:
                cache.remove(node.home, now)
            cache.restore(nodes, remembered)
        return bool(nodes or gone)

    def take_over(self) -> SqliteStore | None:
        """Return the store if its writer has ended, None as long as it runs."""
        if not self._lock.take():
            return None
        try:
            if self._db is not None:
                self._db.close()
                self._db = None
            return SqliteStore._with_lock(self._lock, self._clock, self._wall)
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
        self._lock.release()

"""Resources that survive a restart: tables of JSON documents in one SQLite file, safe to use from any thread."""

from __future__ import annotations

import itertools
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from local_aws.core.protocol import Document


class Store:
    """The tables of one local AWS.

    Args:
        path: the SQLite file; created when absent.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS documents (family TEXT, key TEXT, serial INTEGER, body TEXT,"
            " PRIMARY KEY (family, key)) WITHOUT ROWID"
        )
        last = self._connection.execute("SELECT COALESCE(MAX(serial), 0) FROM documents").fetchone()[0]
        self.serials = itertools.count(last + 1)

    def table(self, family: str) -> Table:
        """The table of one resource family, for example `TrainingJob`."""
        return Table(self, family)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All changes inside are stored together, or none when the block raises. Transactions nest."""
        with self._lock:
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


class Table:
    """Documents by key, in the order in which they were first stored. Every document that is returned is a copy."""

    def __init__(self, store: Store, family: str) -> None:
        self._store = store
        self._family = family

    def get(self, key: str) -> Document | None:
        """The document under `key`, or None."""
        with self._store.transaction() as connection:
            row = connection.execute(
                "SELECT body FROM documents WHERE family = ? AND key = ?", (self._family, key)
            ).fetchone()
        return None if row is None else _decode(row[0])

    def has(self, *keys: str) -> bool:
        """Whether there is a document under one of these keys, in lower case; ARNs hold names so."""
        marks = ", ".join("?" * len(keys))
        with self._store.transaction() as connection:
            found = connection.execute(
                f"SELECT 1 FROM documents WHERE family = ? AND lower(key) IN ({marks}) LIMIT 1", (self._family, *keys)
            ).fetchone()
        return found is not None

    def insert(self, key: str, document: Document) -> bool:
        """Store a document under a new key; returns False, and changes nothing, when the key is taken.

        Keys that differ only in capitals are one key: an ARN holds a name in small letters.
        """
        with self._store.transaction():
            if self.has(key.lower()):
                return False
            self.put(key, document)
            return True

    def put(self, key: str, document: Document) -> None:
        """Store a document under `key`, in place of an earlier one."""
        with self._store.transaction() as connection:
            connection.execute(
                "INSERT INTO documents VALUES (?, ?, ?, ?)"
                " ON CONFLICT (family, key) DO UPDATE SET body = excluded.body",
                (self._family, key, next(self._store.serials), json.dumps(document)),
            )

    def update(self, key: str, change: Callable[[Document], None]) -> Document | None:
        """Change the document under `key` in place by `change`, in one transaction; returns it, or None when absent."""
        with self._store.transaction():
            document = self.get(key)
            if document is None:
                return None
            change(document)
            self.put(key, document)
            return document

    def delete(self, key: str) -> bool:
        """Remove a document; returns False when there was none."""
        with self._store.transaction() as connection:
            cursor = connection.execute("DELETE FROM documents WHERE family = ? AND key = ?", (self._family, key))
            return cursor.rowcount > 0

    def all(self) -> list[Document]:
        """Every document, oldest first."""
        return [document for _, document in self.items()]

    def items(self) -> list[tuple[str, Document]]:
        """Every key and document, oldest first."""
        with self._store.transaction() as connection:
            rows = connection.execute(
                "SELECT key, body FROM documents WHERE family = ? ORDER BY serial", (self._family,)
            ).fetchall()
        return [(key, _decode(body)) for key, body in rows]


def _decode(body: str) -> Document:
    document: Document = json.loads(body)
    return document

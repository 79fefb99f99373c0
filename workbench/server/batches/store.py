"""`Store`: uploaded files on disk; batches and the answers to their lines in SQLite with a write-ahead log.

An answer is a row with the batch and the number of its line as key, so that no line can have two, and each is kept as soon as it
is there. A batch's output file is made of these rows when it ends.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

SCHEMA = """
CREATE TABLE IF NOT EXISTS files (id TEXT PRIMARY KEY, filename TEXT, purpose TEXT, bytes INTEGER, created_at INTEGER);
CREATE TABLE IF NOT EXISTS batches (id TEXT PRIMARY KEY, created_at INTEGER, status TEXT, fields TEXT);
CREATE TABLE IF NOT EXISTS answers (batch TEXT, line INTEGER, status INTEGER, text TEXT, PRIMARY KEY (batch, line));
"""
ENDED = ("completed", "failed", "cancelled", "expired")
NAMES = uuid.UUID("4d6c1f0e-6f0b-4a53-9b3e-2f6b6c1d7a90")
"""Space of names for the ids of files with a key."""
UNFINISHED = f"status NOT IN {ENDED}"


class Store:
    """One folder, which one process holds at a time. Any thread may use it.

    Raises filelock.Timeout for a folder in use, OSError or sqlite3.OperationalError when the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "files").mkdir(parents=True, exist_ok=True)
        self._hold = FileLock(folder / "lock")
        self._hold.acquire(timeout=0)
        self._db = sqlite3.connect(folder / "batches.sqlite3", check_same_thread=False, isolation_level=None)
        self._lock = threading.Lock()
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        """Closes the database. Changes nothing that was stored."""
        with self._lock:
            self._db.close()
        self._hold.release()

    def _run(self, statement: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._db.execute(statement, values).fetchall()

    # -- files ----------------------------------------------------------------------------------------------------

    def path_of(self, file_id: str) -> Path:
        return self.folder / "files" / file_id

    def add_file(self, filename: str, purpose: str, chunks: Iterable[bytes], *, key: str | None = None) -> dict[str, Any]:
        """Keeps a file; returns its object. A write that fails leaves nothing.

        Its id is new, or that of the file which had this `key` before and is replaced.
        """
        file_id = f"file-{(uuid.uuid4() if key is None else uuid.uuid5(NAMES, key)).hex}"
        part = self.path_of(file_id).with_suffix(".part")
        try:
            with part.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            size = part.stat().st_size
            part.replace(self.path_of(file_id))
            self._run("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", file_id, filename, purpose, size, int(time.time()))
        except BaseException:
            part.unlink(missing_ok=True)
            self.path_of(file_id).unlink(missing_ok=True)
            raise
        return self.file(file_id) or {}

    def files(self) -> list[dict[str, Any]]:
        """Returns all files, the newest first."""
        return [_file(row) for row in self._run("SELECT * FROM files ORDER BY created_at DESC, rowid DESC")]

    def file(self, file_id: str) -> dict[str, Any] | None:
        """Returns a file's object, None if there is none of this id."""
        return next((_file(row) for row in self._run("SELECT * FROM files WHERE id = ?", file_id)), None)

    def remove_file(self, file_id: str) -> bool:
        """Removes a file. Returns False for the input of a batch that has not ended, which stays."""
        used = f"SELECT 1 FROM batches WHERE json_extract(fields, '$.input_file_id') = files.id AND {UNFINISHED}"
        if not self._run(f"DELETE FROM files WHERE id = ? AND NOT EXISTS ({used}) RETURNING id", file_id):
            return False
        self.path_of(file_id).unlink(missing_ok=True)
        return True

    # -- batches --------------------------------------------------------------------------------------------------

    def add_batch(self, fields: dict[str, Any]) -> str:
        """Keeps a new batch; returns its id, or an empty text if its input file is gone."""
        batch_id = f"batch_{uuid.uuid4().hex}"
        add = "INSERT INTO batches SELECT ?, ?, 'validating', ? WHERE EXISTS (SELECT 1 FROM files WHERE id = ?) RETURNING id"
        added = self._run(add, batch_id, int(time.time()), json.dumps(fields), fields["input_file_id"])
        return batch_id if added else ""

    def batches(self) -> list[str]:
        """Returns the ids of all batches, the newest first."""
        return [row[0] for row in self._run("SELECT id FROM batches ORDER BY created_at DESC, rowid DESC")]

    def unfinished(self) -> list[str]:
        """Returns the ids of batches that have not ended, the oldest first."""
        return [row[0] for row in self._run(f"SELECT id FROM batches WHERE {UNFINISHED} ORDER BY rowid")]

    def batch(self, batch_id: str) -> dict[str, Any] | None:
        """Returns a batch's fields with its `id`, `created_at` and `status`; None if there is none of this id."""
        for row in self._run("SELECT * FROM batches WHERE id = ?", batch_id):
            return {"id": row[0], "created_at": row[1], "status": row[2], **json.loads(row[3])}
        return None

    def set_status(self, batch_id: str, status: str, *, unless: tuple[str, ...] = (), **fields: Any) -> bool:
        """Changes a batch's status and fields, and records the time as `<status>_at`. Returns False for a status in `unless`."""
        with self._lock:
            return self._set_status(batch_id, status, unless, fields)

    def _set_status(self, batch_id: str, status: str, unless: tuple[str, ...], fields: dict[str, Any]) -> bool:
        row = self._db.execute("SELECT status, fields FROM batches WHERE id = ?", (batch_id,)).fetchone()
        if row is None or row[0] in unless:
            return False
        merged = json.loads(row[1]) | {f"{status}_at": int(time.time())} | fields
        self._db.execute("UPDATE batches SET status = ?, fields = ? WHERE id = ?", (status, json.dumps(merged), batch_id))
        return True

    def end(self, batch_id: str, status: str, **fields: Any) -> None:
        """Changes a batch's status and fields, and removes its answers, whose files are written: both or nothing."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._set_status(batch_id, status, (), fields)
                self._db.execute("DELETE FROM answers WHERE batch = ?", (batch_id,))
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk ends some by itself
                    self._db.execute("ROLLBACK")
                raise

    def add_answer(self, batch_id: str, line: int, status: int, text: str) -> None:
        """Keeps the answer to a line; a second one changes nothing."""
        self._run("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", batch_id, line, status, text)

    def answered(self, batch_id: str) -> set[int]:
        """Returns the numbers of the lines that have an answer."""
        return {row[0] for row in self._run("SELECT line FROM answers WHERE batch = ?", batch_id)}

    def counts(self, batch_id: str) -> tuple[int, int]:
        """Returns (lines answered well, lines answered with an error)."""
        good = "SELECT COALESCE(SUM(status < 400), 0), COALESCE(SUM(status >= 400), 0) FROM answers WHERE batch = ?"
        completed, failed = self._run(good, batch_id)[0]
        return completed, failed

    def answers(self, batch_id: str, failed: bool) -> Iterator[bytes]:
        """Yields the answers that are errors, or the others, as lines in the order of the input."""
        kind = ">=" if failed else "<"
        rows = self._run(f"SELECT line FROM answers WHERE batch = ? AND status {kind} 400 ORDER BY line", batch_id)
        for (line,) in rows:
            yield self._run("SELECT text FROM answers WHERE batch = ? AND line = ?", batch_id, line)[0][0].encode() + b"\n"


def _file(row: tuple[Any, ...]) -> dict[str, Any]:
    return {
        "id": row[0], "object": "file", "filename": row[1], "purpose": row[2], "bytes": row[3], "created_at": row[4],
        "status": "processed",
    }  # fmt: skip

"""What has been done, in a folder beside the output: it outlives a run that is killed, and the next goes on from it.

    .clean.parquet.whichpool/
        lock         held by the run that writes here; the system lets go of it when that run dies
        run.json     the code, the parameters and the files that the run was begun with
        parts/       the output of each split
        done/        the receipts of splits, each written after its part: a file for each thread that writes them

A split is named by its place, its file's size and time of change, and where it is cut; so one whose file has changed is
not found, and runs again. Receipts are appended, since making a file takes longer than many a split; each has a check
of its content, and what is torn at the end of a file is not believed.
"""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Any
from zlib import crc32

from whichpool.dataset.failures import BadOutput, OutputBusy, RunChanged
from whichpool.files import lock_soon

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whichpool.dataset.records import Split

__all__ = ["Done", "Journal", "making_room", "store", "temporary_name"]


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk is full, or a limit reached."""


@contextmanager
def making_room(folder: str | None) -> Iterator[None]:
    """Where something is written: if there is no room for it, the error says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            error.add_note(
                f"there is no room for more in {folder}; what is done is kept there: make room, and make the same "
                "call again"
            )
        raise


# Before each receipt: the bytes of its split's name, its own, and the CRC-32 of both.
_HEAD = Struct("<HQI")


@dataclass(slots=True)
class Done:
    """What came of one split, or of several that were combined."""

    receipt: Any
    value: Any = None
    bad: tuple[Any, ...] = ()


def temporary_name(place: str) -> str:
    """Beside it, and nobody else's: a worker whose run was killed may still write when the next run has begun."""
    return f"{place}.{os.getpid()}-{threading.get_ident()}.tmp"


def store(folder: str, key: str, done: Done, run: str) -> None:
    """Write the receipt of a split: the whole of it, or nothing.

    Args:
        folder: The journal's.
        key: The split's.
        done: What came of it.
        run: The name of this run: no other one writes behind what a worker that was killed has left torn.
    """
    name, body = key.encode(), pickle.dumps(done, protocol=5)
    record = memoryview(_HEAD.pack(len(name), len(body), crc32(body, crc32(name))) + name + body)
    place = os.path.join(folder, "done", f"{run}-{os.getpid()}-{threading.get_ident()}")
    fd = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        begin = os.lseek(fd, 0, os.SEEK_END)
        try:
            while record:
                record = record[os.write(fd, record) :]
        except BaseException:
            os.ftruncate(fd, begin)
            raise
    finally:
        os.close(fd)


def _receipts(folder: str, wanted: set[str]) -> Iterator[tuple[str, Done]]:
    """Those of these splits that are there, the newest last."""
    place = Path(folder, "done")
    try:
        logs = sorted(place.iterdir(), key=lambda log: log.stat().st_mtime_ns)
    except FileNotFoundError:
        return
    for log in logs:
        with log.open("rb") as file:
            while len(head := file.read(_HEAD.size)) == _HEAD.size:
                name_bytes, body_bytes, check = _HEAD.unpack(head)
                name = file.read(name_bytes)
                if name.decode("utf-8", "replace") not in wanted:
                    file.seek(body_bytes, 1)
                    continue
                body = file.read(body_bytes)
                if crc32(body, crc32(name)) != check:
                    break
                try:
                    yield name.decode(), pickle.loads(body)
                except (EOFError, pickle.UnpicklingError, AttributeError, ImportError, IndexError):
                    continue


def _is_whole(folder: str, done: Done) -> bool:
    """Whether its part is there, as long as it was."""
    part = done.receipt.part
    try:
        return not part or os.path.getsize(os.path.join(folder, "parts", part)) == done.receipt.part_bytes
    except OSError:
        return False


class Journal:
    """The folder, held by this run until it is closed.

    Attributes:
        folder: Its path.
        changes: What is not as it was when an earlier run began here, a sentence each.
        fresh: There was no earlier run.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.changes: list[str] = []
        self.fresh = True
        self._now: dict[str, dict[str, str]] = {}
        self._lock = self._locked()

    def _locked(self) -> int:
        place = os.path.join(self.folder, "lock")
        while True:
            try:
                os.makedirs(self.folder, exist_ok=True)
            except OSError as error:
                if error.errno in NO_ROOM:
                    raise
                raise BadOutput(
                    f"nothing can be written into {os.path.dirname(self.folder) or '.'} ({error.strerror}), where the "
                    "parts of the output are kept until all is done: choose another place, or make that one writable"
                ) from error
            try:
                fd = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except FileNotFoundError:
                continue  # its last owner has just removed it
            try:
                if not lock_soon(fd):
                    raise OutputBusy(f"another run is at the same output: it holds {place}")
                if os.fstat(fd).st_ino == os.stat(place).st_ino:
                    return fd
            except FileNotFoundError:
                pass  # removed by its last owner between the two; the next look makes a new one
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def begin(
        self, code: dict[str, str], parameters: dict[str, str], files: dict[str, str], restart: bool
    ) -> None:
        """Take up what an earlier run has left, or begin anew.

        Args:
            code: Name -> digest; see `whichpool.dataset.code`.
            parameters: Name -> value, of all that the parts depend on.
            files: Path -> size and time of change.
            restart: Drop what is there.

        Raises:
            RunChanged: The code or the parameters are not the same, and ``restart`` was not asked for.
        """
        refused = self.compare(code, parameters, files)
        if refused and not restart:
            raise RunChanged(
                f"an earlier run at this output was not finished, and is not this one ({'; '.join(refused[:5])}): "
                f"restart to drop what it has done (restart=True, --restart), or remove {self.folder}"
            )
        if restart or self.fresh:
            for name in ("parts", "done", "files"):
                shutil.rmtree(Path(self.folder, name), ignore_errors=True)
        for name in ("parts", "done"):
            os.makedirs(Path(self.folder, name), exist_ok=True)
        Path(self.folder, "run.tmp").write_text(json.dumps(self._now, indent=1, ensure_ascii=False), "utf-8")
        os.replace(Path(self.folder, "run.tmp"), Path(self.folder, "run.json"))

    def compare(self, code: dict[str, str], parameters: dict[str, str], files: dict[str, str]) -> list[str]:
        """Note what is not as it was, in `changes`; changes nothing.

        Returns:
            The changes for which what is there cannot be taken up: all but those of files, and of what becomes of bad
            records where none was allowed before, since then what has been done had none.
        """
        place = Path(self.folder, "run.json")
        now = {
            "code": {"Python": f"{sys.version_info[0]}.{sys.version_info[1]}", **code},
            "parameters": parameters,
            "files": files,
        }
        try:
            before = json.loads(place.read_text("utf-8"))
        except (OSError, ValueError):
            before = None
        if before is not None:
            self.fresh = False
            self.changes = [
                f"{kind} {how}: {name}"
                for kind, one in (("code", "code"), ("parameter", "parameters"), ("file", "files"))
                for how, name in _differences(before.get(one, {}), now[one])
            ]
        self._now = now
        harmless = ["parameter changed: bad"] if before and before["parameters"].get("bad") == "raise" else []
        return [
            change for change in self.changes if not change.startswith("file ") and change not in harmless
        ]

    def done(self, splits: list[Split]) -> dict[str, Done]:
        """The receipts of those splits that have been done; parts that no split owns are removed."""
        found = self.look(splits)
        kept = {done.receipt.part for done in found.values()}
        for name in os.listdir(Path(self.folder, "parts")):
            if name not in kept:
                os.remove(Path(self.folder, "parts", name))
        return found

    def look(self, splits: list[Split]) -> dict[str, Done]:
        """As `done`, and nothing is removed."""
        found = dict(_receipts(self.folder, {split.key for split in splits}))
        return {key: done for key, done in found.items() if _is_whole(self.folder, done)}

    @property
    def has_any(self) -> bool:
        """Whether a split has been done."""
        try:
            return any(log.stat().st_size for log in Path(self.folder, "done").iterdir())
        except FileNotFoundError:
            return False

    def close(self, *, remove: bool) -> None:
        """Let go of it.

        Args:
            remove: It is not needed any more; ``False``: the next run goes on from here.
        """
        if self._lock < 0:
            return
        if remove:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)
        self._lock = -1


def _differences(before: dict[str, str], now: dict[str, str]) -> list[tuple[str, str]]:
    found = [("new", name) for name in now if name not in before]
    found += [("gone", name) for name in before if name not in now]
    return found + [("changed", name) for name in now if name in before and before[name] != now[name]]

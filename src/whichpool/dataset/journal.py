"""What has been done, in a folder beside the output: it outlives a run that is killed, and the next goes on from it.

    .clean.parquet.whichpool/
        lock         held by the run that writes here; the system lets go of it when that run dies
        run.json     the code, the parameters and the files that the run was begun with
        parts/       the output of each split
        done/        the receipt of each split, written after its part

A split is named by its place, its file's size and time of change, and where it is cut; so one whose file has changed is
not found, and runs again. Receipts are whole or not there: they are renamed into their place.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichpool.dataset.failures import OutputBusy, RunChanged
from whichpool.files import lock_soon

if TYPE_CHECKING:
    from whichpool.dataset.records import Split

__all__ = ["Done", "Journal", "load", "store", "temporary_name"]


@dataclass(slots=True)
class Done:
    """What came of one split, or of several that were combined."""

    receipt: Any
    value: Any = None
    bad: tuple[Any, ...] = ()


def temporary_name(place: str) -> str:
    """Beside it, and nobody else's: a worker whose run was killed may still write when the next run has begun."""
    return f"{place}.{os.getpid()}-{threading.get_ident()}.tmp"


def store(folder: str, key: str, done: Done) -> None:
    """Write the receipt of a split, in one go."""
    place = os.path.join(folder, "done", key)
    temporary = temporary_name(place)
    try:
        with open(temporary, "wb") as file:
            pickle.dump(done, file, protocol=5)
        os.replace(temporary, place)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def load(folder: str, key: str) -> Done | None:
    """The receipt of a split, if it was done and its part is whole."""
    try:
        with open(os.path.join(folder, "done", key), "rb") as file:
            done: Done = pickle.load(file)
        part = done.receipt.part
        if part and os.path.getsize(os.path.join(folder, "parts", part)) != done.receipt.part_bytes:
            return None
    except (OSError, EOFError, pickle.UnpicklingError, AttributeError, ImportError, IndexError):
        return None
    return done


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
            os.makedirs(self.folder, exist_ok=True)
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
        """The receipts of those splits that have been done; what no split owns is removed."""
        found = self.look(splits)
        keys = {split.key for split in splits}
        for name in os.listdir(Path(self.folder, "done")):
            if name not in keys:
                os.remove(Path(self.folder, "done", name))
        kept = {done.receipt.part for done in found.values()}
        for name in os.listdir(Path(self.folder, "parts")):
            if name not in kept:
                os.remove(Path(self.folder, "parts", name))
        return found

    def look(self, splits: list[Split]) -> dict[str, Done]:
        """As `done`, and nothing is removed."""
        return {split.key: done for split in splits if (done := load(self.folder, split.key)) is not None}

    @property
    def has_any(self) -> bool:
        """Whether a split has been done."""
        try:
            return any(not name.endswith(".tmp") for name in os.listdir(Path(self.folder, "done")))
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

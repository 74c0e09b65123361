"""Receipts: whole lines, read again, and a folder checked against them."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whichpool.downloads.receipts import (
    BadReceipt,
    Receipts,
    from_line,
    read_receipts,
    to_dict,
    verify,
)
from whichpool.downloads.records import Receipt

U = "https://example.org/"


def made(folder: Path, path: str, data: bytes, **more: object) -> Receipt:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(data)
    digests = {"sha256": hashlib.sha256(data).hexdigest()}
    return Receipt(U + path, "fetched", path, bytes=len(data), **{"digests": digests, **more})  # type: ignore[arg-type]


texts = st.none() | st.text(max_size=20)
numbers = st.none() | st.integers(0, 2**60)
RECEIPTS = st.builds(
    Receipt,
    st.text(max_size=20),
    st.sampled_from(["fetched", "unchanged", "failed"]), path=texts, final_url=texts, bytes=numbers,
    fetched_bytes=st.integers(0, 2**60), digests=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    checked=st.lists(st.text(max_size=5), max_size=2).map(tuple), etag=texts, last_modified=texts,
    attempts=st.integers(1, 9), resumed=st.booleans(), segments=st.integers(1, 9), started=texts,
    elapsed_s=st.none() | st.floats(0, 1e9), failure=texts, status=numbers, message=texts,
)  # fmt: skip


@pytest.mark.parametrize(
    "digests", [{}, {"sha256": "0f" * 32}, {"sha256": "0F" * 32}, {"sha256": "0f 0f"}, {"md5": "00", "sha256": "0f"}]
)  # fmt: skip
def test_digests_are_what_was_given_in_whatever_way_they_are_kept(digests: dict[str, str]) -> None:
    receipt = Receipt(U, "fetched", digests=digests)
    for one in (receipt, pickle.loads(pickle.dumps(receipt)), copy.copy(receipt), replace(receipt, etag="x")):
        assert one.digests == asdict(one)["digests"] == digests
        assert type(one.digests) is dict
    assert repr(digests) in repr(receipt)
    assert (
        receipt
        == Receipt(U, "fetched", digests=dict(digests))
        != Receipt(U, "fetched", digests={"sha256": "1f"})
    )


@settings(max_examples=60)
@given(st.lists(RECEIPTS, max_size=4))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, receipts: list[Receipt]
) -> None:
    path = tmp_path_factory.getbasetemp() / "r.jsonl"
    path.unlink(missing_ok=True)
    for receipt in receipts:
        with Receipts(path) as file:
            file.add(receipt)
    assert list(read_receipts(path)) == receipts if receipts else not path.exists()


def test_a_line_has_what_there_is_to_say() -> None:
    assert to_dict(Receipt(U, "failed", failure="gone", status=404)) == {
        "version": 1, "url": U, "outcome": "failed", "fetched_bytes": 0, "attempts": 1, "resumed": False, "segments": 1,
        "failure": "gone", "status": 404,
    }  # fmt: skip


def test_the_half_of_a_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Receipts(path) as file:
        file.add(Receipt(U + "1", "fetched"))
        file.add(Receipt(U + "2", "fetched"))
    whole = path.read_bytes()
    second = whole.index(b"\n") + 1
    for cut in (*range(1, 20), *range(second - 3, second + 20), *range(len(whole) - 5, len(whole))):
        path.write_bytes(whole[:cut])
        if cut > second:
            assert [r.url[-1] for r in read_receipts(path)] == (
                ["1", "2"] if cut == len(whole) - 1 else ["1"]
            )
        with Receipts(path) as file:
            file.add(Receipt(U + "3", "fetched"))
        kept = "" if cut < second - 1 else "1" if cut < len(whole) - 1 else "12"
        assert "".join(r.url[-1] for r in read_receipts(path)) == kept + "3"


@pytest.mark.parametrize("content", [b"something else\n", b"{}\n", b"\x00\xff\x00", b'{"url": 1}\nx', b"[]"])
def test_another_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "precious"
    path.write_bytes(content)
    with pytest.raises(BadReceipt, match="no file of receipts"):
        Receipts(path)
    assert path.read_bytes() == content


def test_lines_of_several_threads_and_files_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"

    def add(number: int) -> None:
        with Receipts(path) as file:
            for each in range(50):
                file.add(Receipt(f"{U}{number}/{each}", "failed", message="x" * 500))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({receipt.url for receipt in read_receipts(path)}) == 200


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.jsonl"
    write = os.write
    with Receipts(path) as file:
        file.add(Receipt(U + "1", "fetched"))

        def short(number: int, data: object) -> int:
            if len(data) < 100:  # type: ignore[arg-type]
                raise OSError(28, "No space left on device")
            return write(number, memoryview(data)[:60])  # type: ignore[arg-type]

        monkeypatch.setattr(os, "write", short)
        with pytest.raises(OSError, match="No space"):
            file.add(Receipt(U + "2", "fetched"))
        monkeypatch.setattr(os, "write", write)
        file.add(Receipt(U + "3", "fetched"))
    assert [receipt.url[-1] for receipt in read_receipts(path)] == ["1", "3"]


def test_a_pipe_is_only_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with Receipts(path) as file:
            file.add(Receipt(U, "fetched"))
            assert from_line(os.read(reader, 4096).decode()).url == U
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nonsense", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("3", "has no 'url'"),
        ('{"url": "x"}', "has no 'outcome'"),
        ('{"url": "x", "outcome": "fetched", "bytes": "many"}', "has a 'bytes' that cannot be: 'many'"),
        ('{"url": "x", "outcome": "fetched", "bytes": -1}', "has a 'bytes'"),
        ('{"url": "x", "outcome": "fetched", "digests": {"md5": 3}}', "has a 'digests'"),
        ('{"url": "x", "outcome": "fetched", "checked": "md5"}', "has a 'checked'"),
        ('{"url": "x", "outcome": "fetched", "path": ["a"]}', "has a 'path'"),
        ('{"url": "x", "outcome": "fetched", "version": 2}', "is of version 2"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(to_dict(Receipt(U, "fetched"))) + "\n\n" + line + "\n")
    receipts = read_receipts(path)
    assert next(receipts).url == U
    with pytest.raises(BadReceipt, match=f"line 3: it {why}"):
        next(receipts)


def test_fields_of_later_versions_are_passed_over() -> None:
    assert from_line('{"url": "x", "outcome": "fetched", "colour": "red", "path": null}') == Receipt(
        "x", "fetched"
    )


# --- a folder ------------------------------------------------------------------------------------------------


def test_a_folder_beside_its_receipts(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    receipts = [
        made(folder, "ok", b"abc"),
        made(folder, "sub/ok", b"x" * 3_000_000),
        made(folder, "gone", b"abc"),
        made(folder, "short", b"abc"),
        made(folder, "other", b"abc"),
        made(folder, "twice", b"old"),
        made(folder, "twice", b"newer"),
        made(folder, "nothing-known", b"abc", digests={}),
        made(folder, "odd", b"abc", digests={"md6": "00"}),
        Receipt(U + "never", "failed", failure="gone", message="404"),
        Receipt(U + "later", "failed", failure="busy"),
        Receipt(U + "later", "fetched", "later", bytes=3, digests={"md5": hashlib.md5(b"abc").hexdigest()}),
    ]
    (folder / "gone").unlink()
    (folder / "short").write_bytes(b"ab")
    (folder / "other").write_bytes(b"abd")
    (folder / "later").write_bytes(b"abc")
    (folder / "sub" / "stranger").write_bytes(b"")
    found = {verdict.path: verdict for verdict in verify(folder, iter(receipts), extras=True)}
    assert {path: verdict.state for path, verdict in found.items()} == {
        "ok": "ok", "sub/ok": "ok", "gone": "missing", "short": "size", "other": "digest", "twice": "ok",
        "nothing-known": "unverifiable", "odd": "unverifiable", U + "never": "failed", "later": "ok",
        "sub/stranger": "extra",
    }  # fmt: skip
    assert found["short"].message == "2 bytes, not 3"
    assert found["other"].message == "its sha256 differs"
    assert [path for path, verdict in found.items() if not verdict.good] == [
        "gone",
        "short",
        "other",
        U + "never",
    ]


def test_nothing_outside_the_folder_is_looked_at(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    secret = made(tmp_path, "secret", b"abc")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "up").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    digests = dict(secret.digests)
    paths = ["../secret", str(tmp_path / "secret"), "link", "up/secret", "pipe", "", "a\0b"]
    receipts = [Receipt(U, "fetched", path, digests=digests) for path in paths]
    assert [verdict.state for verdict in verify(folder, receipts)] == ["unreadable"] * 4 + ["missing"] + [
        "unreadable"
    ] * 2


def test_a_folder_that_is_a_link_itself_is_fine(tmp_path: Path) -> None:
    receipt = made(tmp_path / "real", "a/b", b"abc")
    (tmp_path / "link").symlink_to("real")
    assert [verdict.state for verdict in verify(tmp_path / "link", [receipt])] == ["ok"]

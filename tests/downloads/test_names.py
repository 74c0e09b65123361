"""File names: never outside the folder, the same file on every system, and never two of one name."""

from __future__ import annotations

import ntpath
import os
import threading
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from whichpool.downloads.failures import Unsafe
from whichpool.downloads.names import (
    LONGEST_BYTES,
    Names,
    name_from_disposition,
    name_from_url,
    safe_name,
)

LATIN = "attachment; filename=naïve €.txt".encode().decode("latin-1")

# Texts that have something to do with names: separators, dots, devices, marks, what composes, what is cut.
NASTY = st.text(
    st.sampled_from('/\\.. :<>|?*"%-~_\0\n\t\x7f\u202e\u200b\u0338\ufeff\ud800\uffff\xa0\u200dπé🏴')
    | st.characters(),
    max_size=60,
)
PIECES = st.lists(
    st.sampled_from(
        [
            "..",
            "/",
            "\\",
            "C:",
            "con",
            "NUL.",
            "lpt¹",
            ".part",
            ".part.journal",
            ".tar.gz",
            " ",
            "é" * 130,
            "a" * 250,
        ]
    )
    | NASTY,
    max_size=6,
).map("".join)


def reserved(part: str) -> bool:
    """What Python itself thinks of it."""
    if hasattr(ntpath, "isreserved"):
        return ntpath.isreserved(part)
    return PureWindowsPath(part).is_reserved()


@settings(max_examples=150)
@example(".")
@example("a/..\u202e/b")
@example("<\u0338.txt")
@example("x" * 300 + ".part")
@example("con .txt")
@example("con" + " " * 300 + "x.txt")
@example("nul." + "é" * 150)
@example("𐀀" * 100 + ".jpeg")
@given(PIECES)
def test_a_safe_name_stays_inside_and_is_the_same_again(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    try:
        name = safe_name(text)
    except Unsafe:
        return
    assert safe_name(name) == name
    assert unicodedata.is_normalized("NFC", name)
    for flavour in (PurePosixPath(name), PureWindowsPath(name)):
        assert not flavour.is_absolute()
        assert not flavour.drive
        assert not flavour.root
        assert ".." not in flavour.parts
    for part in name.split("/"):
        assert 0 < len(part.encode()) <= LONGEST_BYTES
        assert part == part.strip(" ").rstrip(".")
        assert not set(part) & set('<>:"|?*\\')
        assert not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in part)
        assert not reserved(part)
        assert not part.lower().endswith((".part", ".part.journal"))
    if name.count("/") < 5:
        folder = tmp_path_factory.getbasetemp() / "names"
        where = folder / name
        if not os.path.lexists(where):
            where.parent.mkdir(parents=True, exist_ok=True)
            where.with_name(where.name + ".part.journal").write_bytes(b"x")
            where.with_name(where.name + ".part.journal").replace(where)
            assert where.resolve().is_relative_to(folder.resolve())
            where.unlink()


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("a.txt", "a.txt"),
        ("data/2024/a.txt", "data/2024/a.txt"),
        ("data\\a.txt", "data/a.txt"),
        ("./a//b", "a/b"),
        ("File:Foo?.jpg", "File_Foo_.jpg"),
        ("name. . ", "name"),
        ("  x", "x"),
        ("CON", "_CON"),
        ("aux.tar.gz", "_aux.tar.gz"),
        ("com¹.log", "_com¹.log"),
        ("com10.log", "com10.log"),
        ("console", "console"),
        ("nul /x", "_nul/x"),
        ("cafe\u0301", "caf\u00e9"),
        ("exe\u202etxt.scr", "exetxt.scr"),
        ("a\0b\r\n", "ab"),
        ("film.part", "film_part"),
        ("film.PART.journal", "film.part_journal"),
        (".part", "_part"),
        ("-rf", "-rf"),
        (".hidden", ".hidden"),
        ("bad\ud800", "bad_"),
        ("caf\udce9/\udc80x", "café/x"),
        ("👩\u200d💻.png", "👩\u200d💻.png"),
    ],
)
def test_what_becomes_of_a_name(wanted: str, name: str) -> None:
    assert safe_name(wanted) == name


@pytest.mark.parametrize(
    "wanted",
    [
        *("", ".", "/", "...", " . ", "\u202e", "/etc/passwd", "\\x", "//host/share/x", "\\\\host\\share\\x"),
        *("..", "../x", "a/../../x", "a\\..\\x", "a/ .. /b", "C:\\x", "c:/x", "C:"),
    ],
)  # fmt: skip
def test_names_that_are_refused(wanted: str) -> None:
    with pytest.raises(Unsafe):
        safe_name(wanted)


def test_long_names_are_cut_before_the_extension() -> None:
    name = safe_name("ä" * 300 + ".tar.gz")
    assert name.endswith("ä.tar.gz")
    assert LONGEST_BYTES - 1 <= len(name.encode()) <= LONGEST_BYTES
    # What is too long for an extension is a part of the name.
    assert safe_name("x." + "y" * 300) == "x." + "y" * (LONGEST_BYTES - 2)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org/dir/file.tar.gz?x=1/2#3", "file.tar.gz"),
        ("https://example.org", "index.html"),
        ("https://example.org/dir/", "index.html"),
        ("https://example.org/?a=b.zip", "index.html"),
        ("https://example.org/..%2f..%2fetc%2fpasswd", "passwd"),
        ("https://example.org/..%5c..%5cboot.ini", "boot.ini"),
        ("https://example.org/%2e%2e", "index.html"),
        ("https://example.org/%00", "index.html"),
        ("https://example.org/C%3A%5Cx", "x"),
        ("https://example.org/Talk:Main", "Talk_Main"),
        ("https://example.org/%C3%A9%20x", "é x"),
        ("https://example.org/%E9.txt", "é.txt"),
        ("https://example.org/-rf", "_rf"),
        ("https://example.org/.gitignore", ".gitignore"),
        ("https://example.org/nul", "_nul"),
        ("file:///tmp/a%20b", "a b"),
        ("s3://bucket/key/x.bin", "x.bin"),
        ("http://[broken/x", "index.html"),
    ],
)
def test_names_from_urls(url: str, name: str) -> None:
    assert name_from_url(url) == name


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("attachment; filename=plain.txt", "plain.txt"),
        ('attachment; filename="with blanks.txt"', "with blanks.txt"),
        ("attachment; filename=with blanks.txt ; size=3", "with blanks.txt"),
        ('inline;FILENAME = "a;b=c.txt"', "a;b=c.txt"),
        (r'attachment; filename="a \"b\" c.txt"', "a _b_ c.txt"),
        ('attachment; filename="never closed.txt', "never closed.txt"),
        ("filename=no-type.txt", "no-type.txt"),
        ("attachment; filename=first.txt; filename=second.txt", "first.txt"),
        # RFC 8187
        ("attachment; filename*=UTF-8''%e2%82%ac%20rates.txt", "€ rates.txt"),
        ("attachment; filename*=utf-8'en'%e2%82%ac.txt", "€.txt"),
        ("attachment; filename*=iso-8859-1'en'%A3%20rates.txt", "£ rates.txt"),
        ("attachment; filename=\"plain.txt\"; filename*=UTF-8''better.txt", "better.txt"),
        ("attachment; filename*=UTF-8''better.txt; filename=plain.txt", "better.txt"),
        ("attachment; filename*=\"UTF-8''quoted.txt\"", "quoted.txt"),
        # broken ones are passed over
        ("attachment; filename=plain.txt; filename*=UTF-8''%zz.txt", "plain.txt"),
        ("attachment; filename=plain.txt; filename*=UTF-8''%ff.txt", "plain.txt"),
        ("attachment; filename=plain.txt; filename*=KOI8-R''x.txt", "plain.txt"),
        ("attachment; filename=plain.txt; filename*=x.txt", "plain.txt"),
        ("attachment; ;;=; filename=plain.txt", "plain.txt"),
        # not RFC 8187's: taken as it is
        ("attachment; filename=a%20b.txt", "a%20b.txt"),
        (LATIN, "naïve €.txt"),
        ("attachment; filename=caf\xe9.txt", "café.txt"),
        # never a folder, never hidden, never an option
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="/etc/passwd"', "passwd"),
        (r'attachment; filename="\\\\host\\share\\x.txt"', "x.txt"),
        ("attachment; filename*=UTF-8''..%2f..%2fetc%2fpasswd", "passwd"),
        ("attachment; filename=.bashrc", "bashrc"),
        ("attachment; filename=. -rf", "_rf"),
        ("attachment; filename=. .bashrc", "bashrc"),
        ("attachment; filename*=UTF-8''..; filename=plain.txt", "plain.txt"),
        ("attachment; filename=..", None),
        ("attachment; filename=", None),
        ('attachment; filename=""', None),
        ("attachment", None),
        ("inline; name=x", None),
        ("", None),
    ],
)
def test_names_from_content_disposition(header: str, name: str | None) -> None:
    assert name_from_disposition(header) == name


@settings(max_examples=100)
@example("\ud800")
@given(st.text(st.sampled_from(" ;=\"\\*'%/.-aé\0filename") | st.characters(), max_size=50))
def test_no_header_gives_a_name_that_is_not_safe(text: str) -> None:
    for header in (text, f"attachment; filename={text}", f"attachment; filename*=UTF-8''{text}"):
        name = name_from_disposition(header)
        if name is not None:
            assert safe_name(name) == name
            assert "/" not in name
            assert name[0] not in ".-"


def test_a_long_broken_header_is_read_in_no_time() -> None:
    # Each would take minutes if reading it were quadratic with such a length.
    assert name_from_disposition("a" * 200_000) is None
    assert name_from_disposition(";" * 200_000) is None
    assert name_from_disposition('x="' + "\\" * 200_001) is None


def test_claims_do_not_clash_on_any_system() -> None:
    names = Names()
    assert names.claim("a.tar.gz") == "a.tar.gz"
    assert names.claim("A.TAR.GZ") == "A-2.TAR.GZ"
    assert names.claim("a-2.tar.gz") == "a-2-2.tar.gz"
    assert names.claim("a.tar.gz") == "a-3.tar.gz"
    assert names.claim("Straße") == "Straße"
    assert names.claim("STRASSE") == "STRASSE-2"
    assert names.claim("sub/a.tar.gz") == "sub/a.tar.gz"
    assert names.claim("SUB/a.tar.gz") == "SUB/a-2.tar.gz"
    assert names.claim(".x") == ".x"
    assert names.claim(".x") == ".x-2"


def test_a_name_is_no_file_and_folder_at_once() -> None:
    names = Names()
    assert names.claim("data") == "data"
    assert names.claim("data/a") == "data-2/a"
    assert names.claim("data/b") == "data-2/b"
    assert names.claim("Data-2") == "Data-2-2"
    assert names.claim("x/y/z") == "x/y/z"
    assert names.claim("x/y") == "x/y-2"
    assert names.claim("x/y/w") == "x/y/w"


def test_claims_pass_over_what_is_taken_otherwise() -> None:
    there = {"a.txt", "a-2.txt"}
    assert Names().claim("a.txt", there.__contains__) == "a-3.txt"
    assert Names().claim("sub/a.txt", there.__contains__) == "sub/a.txt"


def test_numbered_names_stay_within_the_length() -> None:
    names = Names()
    long = safe_name("x" * 300 + ".txt")
    claimed = {names.claim(long) for _ in range(20)}
    assert len(claimed) == 20
    assert all(safe_name(name) == name and name.endswith(".txt") for name in claimed)


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(["a", "A", "a-2", "a/a", "A/b", "a/a/a", "b", "ß", "SS", "a-2/b"]), max_size=25)
)
def test_all_claims_can_be_files_side_by_side(wanted: list[str]) -> None:
    names = Names()
    claimed = [names.claim(name) for name in wanted]
    assert claimed == [one.claim(name) for one in [Names()] for name in wanted]
    folded = [unicodedata.normalize("NFC", name).upper().casefold() for name in claimed]
    assert len(set(folded)) == len(folded)
    folders = {str(parent) for name in folded for parent in PurePosixPath(name).parents}
    assert not folders & set(folded)


def test_many_of_one_name_from_many_threads() -> None:
    names, claimed, lock = Names(), [], threading.Lock()

    def claim() -> None:
        mine = [names.claim("same.bin") for _ in range(2500)]
        with lock:
            claimed.extend(mine)

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(claimed)) == 10_000
    assert set(claimed) == {"same.bin", *(f"same-{n}.bin" for n in range(2, 10_001))}
    assert Path(claimed[0]).suffix == ".bin"

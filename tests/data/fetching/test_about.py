"""What a leaf says of a named data set, held against what it may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medexp.data.fetching.about import RemoteFile, read_about
from medexp.errors import UserError

TERMS = {"licence": "CC0", "cite": "Somebody 2020", "page": "https://example.org/set"}
URL = "https://example.org/files/set.tar.gz"
WHERE = "dataset=set: about"


def _file(**keys: Any) -> RemoteFile:
    return read_about({**TERMS, "files": [{"url": URL, **keys}]}, WHERE).files[0]


def test_terms_and_files_are_read() -> None:
    md5 = "A" * 32
    files = [
        {"url": URL, "md5": md5, "unpack": "tar", "size": 5},
        {"url": URL, "sha256": "0" * 64, "to": "x.tar.gz", "size": 7},
    ]
    about = read_about({**TERMS, "get": "or by post", "files": files}, WHERE)
    assert (about.licence, about.cite, about.page, about.get) == (*TERMS.values(), "or by post")
    assert [file.sums for file in about.files] == [{"md5": "a" * 32}, {"sha256": "0" * 64}]
    assert about.size == 12


def test_a_size_that_is_not_known_for_all_is_not_known() -> None:
    assert read_about({**TERMS, "files": [{"url": URL, "size": 5}, {"url": URL, "to": "b.gz"}]}, WHERE).size is None
    assert read_about({**TERMS, "get": "by post"}, WHERE).size is None


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (URL, "set.tar.gz"),
        ("https://zenodo.org/records/1/files/a.npz?download=1", "a.npz"),
        ("https://example.org/Task%2009.tar#part", "Task 09.tar"),
        ("https://example.org/a%2F..%2F..%2Fevil%1b.zip", "evil_.zip"),
        ("https://example.org", "file"),
    ],
)
def test_a_file_is_named_by_its_address(url: str, name: str) -> None:
    assert _file(url=url).name == name


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ({"unpack": "tar"}, "."),
        ({"unpack": "tar", "to": "images"}, "images"),
        ({}, "set.tar.gz"),
        ({"to": "raw/"}, "raw/set.tar.gz"),
        ({"to": "raw/all.tar.gz"}, "raw/all.tar.gz"),
        ({"unpack": "gz"}, "set.tar"),
        ({"unpack": "gz", "to": "raw/"}, "raw/set.tar"),
        ({"url": "https://example.org/train-images-idx3-ubyte.gz", "unpack": "gz", "to": "images"}, "images"),
    ],
)
def test_a_file_has_a_place_below_the_root(keys: dict[str, str], place: str) -> None:
    assert _file(**keys).place == Path(place)


@pytest.mark.parametrize(
    ("files", "root", "one"),
    [
        ([{"url": "https://example.org/a.npz?download=1"}], "data/a.npz", True),
        ([{"url": "https://example.org/a.npz"}], "data/other.NPZ", True),
        ([{"url": "https://example.org/a.nii.gz", "unpack": "gz"}], "data/a.nii", True),
        ([{"url": "https://example.org/a.npz"}], "data/medmnist", False),
        ([{"url": "https://example.org/a.npz"}], "data/v1.0", False),
        ([{"url": URL, "unpack": "tar"}], "data/set.tar.gz", False),
        ([{"url": "https://example.org/a.npz"}, {"url": "https://example.org/b.npz"}], "data/a.npz", False),
    ],
)
def test_a_root_may_be_the_one_file_itself(files: list[dict[str, str]], root: str, one: bool) -> None:
    assert read_about({**TERMS, "files": files}, WHERE).is_one_file(Path(root)) is one


FAULTS: list[tuple[Any, str]] = [
    ("CC0", "about: is str 'CC0'; give a mapping of licence, cite, page, files, get"),
    ({**TERMS, "get": "x", "licens": "x"}, "about.licens: no such key; did you mean 'licence'"),
    ({**TERMS, "get": "x", "zzz": "x"}, "about.zzz: no such key; allowed: licence, cite, page, files, get"),
    ({**TERMS}, "about.get: is missing; give a sentence"),
    ({**TERMS, "get": 3}, "about.get: is int '3'; give text"),
    ({**TERMS, "get": " "}, "about.get: is empty"),
    ({**TERMS, "get": "x", "licence": None}, "about.licence: is missing"),
    ({**TERMS, "get": "x", "page": "example.org"}, "about.page: 'example.org' is no address"),
    ({**TERMS, "files": "x"}, "about.files: is str 'x'; give a list"),
    ({**TERMS, "files": ["x"]}, r"about.files\[0\]: is str 'x'; give {url, md5, unpack, to}"),
    ({**TERMS, "files": [{"url": URL}, {"url": f"{URL}?2"}]}, "about.files: set.tar.gz is the place of two files"),
    ({**TERMS, "files": [{"md5": "0" * 32}]}, r"about.files\[0\].url: is missing"),
]
FILE_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"url": "file:///etc/passwd"}, ".url: 'file:///etc/passwd' cannot be downloaded; addresses begin with https://"),
    ({"url": "ftp://example.org/a"}, ".url: 'ftp://example.org/a' cannot"),
    ({"url": "https:///a"}, ".url: 'https:///a' cannot"),
    ({"url": "https://example.org/a b"}, ".url: 'https://example.org/a b' cannot"),
    ({"url": "https://[::1/a"}, r".url: 'https://\[::1/a' cannot"),
    ({"url": "https://example.org/ä"}, ".url: 'https://example.org/ä' cannot"),
    ({"md5": "abc"}, ".md5: 'abc' is not 32 hexadecimal digits"),
    ({"md5": "g" * 32}, "is not 32 hexadecimal digits"),
    ({"md5": 12345678901234567890123456789012}, r".md5: is int '1234.*give text \(in quotes, where it is all digits\)"),
    ({"sha256": "0" * 32}, ".sha256: '0+' is not 64 hexadecimal digits"),
    ({"sha1": "0"}, ".sha1: no such key; did you mean 'sha256'"),
    ({"unpack": "tgz"}, ".unpack: no kind of archive 'tgz'; did you mean 'gz'"),
    ({"unpack": "rar"}, ".unpack: no kind of archive 'rar'.* allowed: zip, tar, gz"),
    ({"unpack": True}, ".unpack: is bool 'True'; give text"),
    ({"size": "1 GB"}, ".size: is str '1 GB'; give the number of bytes"),
    ({"size": True}, ".size: is bool"),
    ({"size": -1}, ".size: is int"),
    ({"to": "../x"}, ".to: '../x' does not lie below the root"),
    ({"to": "/x"}, ".to: '/x' does not lie below"),
    ({"to": "./"}, ".to: './' does not lie below"),
    ({"to": "images"}, ".to: 'images' would be a file without '.gz'; write 'images/' for a folder"),
]


@pytest.mark.parametrize(("node", "text"), FAULTS, ids=range(len(FAULTS)))
def test_a_fault_names_its_key(node: Any, text: str) -> None:
    with pytest.raises(UserError, match=f"dataset=set: {text}") as fault:
        read_about(node, WHERE)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(("keys", "text"), FILE_FAULTS, ids=range(len(FILE_FAULTS)))
def test_a_fault_of_a_file_names_its_key(keys: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text) as fault:
        _file(**keys)
    assert str(fault.value).startswith("dataset=set: about.files[0].")


def test_all_faults_are_said_at_once() -> None:
    with pytest.raises(UserError) as fault:
        read_about({"licence": 3, "files": [{"url": "x"}, {"url": URL, "colour": "red"}]}, WHERE)
    assert [line.split(": ")[1] for line in str(fault.value).splitlines()[1:]] == [
        *("about.licence", "about.cite", "about.page", "about.files[0].url", "about.files[1].colour")
    ]
    assert str(fault.value).startswith("5 problems in dataset=set: about\n")

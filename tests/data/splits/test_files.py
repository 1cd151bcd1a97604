"""Split files: nnU-Net's, a run's own, a CSV; every fault named with the file and all ids. Exclusion lists."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from medexp.data.records import Record
from medexp.data.splits.files import apply_file, excluded, without
from medexp.data.splits.make import make_split
from medexp.errors import Faults, UserError

NAMES = [f"la_{i:03d}" for i in range(10)]
RECORDS = [Record(name, ()) for name in NAMES]
OWN = {"train": NAMES[:6], "val": NAMES[6:8], "test": NAMES[8:]}


def written(folder: Path, content: Any, name: str = "split.json") -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def nnunet(folder: Path, names: list[str] = NAMES, folds: int = 5) -> str:
    entries = [
        {"train": [n for i, n in enumerate(names) if i % folds != k], "val": names[k::folds]} for k in range(folds)
    ]
    return written(folder, entries, "splits_final.json")


def table(rows: str, header: str = "case,split") -> str:
    return f"{header}\n{rows}"


def test_the_val_of_a_fold_of_nnunet_is_our_test_split_and_val_is_drawn_from_its_train(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = nnunet(tmp_path)
    with caplog.at_level("INFO"):
        splits = [make_split(RECORDS, seed=0, file=file, fold=k) for k in range(5)]
    assert [split["test"] for split in splits] == [NAMES[k::5] for k in range(5)]
    for split in splits:
        assert sorted(case for ids in split.values() for case in ids) == NAMES
        assert 1 <= len(split["val"]) < len(split["train"])
    assert f"{file}: the val cases of fold 3 are the test split; val is drawn from its train cases" in caplog.messages


def test_the_number_of_folds_is_that_of_the_file(tmp_path: Path) -> None:
    split = make_split(RECORDS, seed=0, file=nnunet(tmp_path, folds=10), fold=7, folds=5)
    assert split["test"] == ["la_007"]


@pytest.mark.parametrize(("fold", "seen"), [(None, "is not set"), (5, "5 is not one of them"), (-1, "-1 is not one")])
def test_a_fold_that_the_file_lacks_is_refused(fold: int | None, seen: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"split\.fold: {seen}.*splits_final.json holds 5 folds: set .*fold=0\.\.4"):
        make_split(RECORDS, seed=0, file=nnunet(tmp_path), fold=fold)


def test_the_split_of_a_run_is_taken_as_it_is(tmp_path: Path) -> None:
    assert make_split(RECORDS, seed=5, file=written(tmp_path, OWN)) == OWN
    assert make_split(RECORDS[::-1], seed=0, file=written(tmp_path, OWN)) == OWN


def test_a_table_is_taken_as_it_is_whatever_else_it_holds(tmp_path: Path) -> None:
    rows = "\r\n".join(f'{part},"{case}","a, b"' for part, cases in OWN.items() for case in cases[::-1])
    assert (
        make_split(RECORDS, seed=0, file=written(tmp_path, f"\ufeffsplit,case,note\r\n{rows}\r\n\r\n", "s.csv")) == OWN
    )


def test_val_is_drawn_where_the_file_has_none(tmp_path: Path) -> None:
    split = make_split(RECORDS, seed=0, file=written(tmp_path, {"train": NAMES[:8], "test": NAMES[8:]}))
    assert split["test"] == NAMES[8:]
    assert sorted(split["train"] + split["val"]) == NAMES[:8]
    assert split["val"]


def test_a_patient_stands_for_all_their_cases(tmp_path: Path) -> None:
    slices = [Record(f"{name}_{i:04d}", (), patient_id=name) for name in NAMES for i in range(3)]
    split = make_split(slices, seed=0, file=nnunet(tmp_path), fold=1)
    assert split["test"] == [f"{name}_{i:04d}" for name in ("la_001", "la_006") for i in range(3)]
    assert sum(map(len, split.values())) == 30


def test_a_file_goes_before_the_split_of_the_data_set_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = [Record(name, (), split="train") for name in NAMES[:9]] + [Record(NAMES[9], ())]
    file = written(tmp_path, OWN)
    with caplog.at_level("INFO"):
        assert make_split(records, seed=0, file=file) == OWN
    assert caplog.messages == [f"{file}: is used instead of the split that the data set comes with"]


@pytest.mark.parametrize("name", ["split.json", "split.csv"])
def test_a_file_of_one_split_has_no_folds(name: str, tmp_path: Path) -> None:
    content = OWN if name.endswith("json") else table("la_000,train")
    with pytest.raises(UserError, match=rf"split\.fold: 0, but .*{name} holds one split, no folds; set .*fold=null"):
        make_split(RECORDS, seed=0, file=written(tmp_path, content, name), fold=0)


def test_all_faults_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    patients = [Record(name, (), patient_id=f"p{i // 2}") for i, name in enumerate(NAMES)]
    wrong = {
        "train": ["la_000", "la_002", "gone", "la_002", "la_004"],
        "val": ["la_001", "lost"],
        "test": ["la_004", "la_003"],
    }
    with pytest.raises(Faults) as caught:
        make_split(patients, seed=0, file=written(tmp_path, wrong))
    assert caught.value.headline.startswith(
        f"{tmp_path / 'split.json'}: 6 faults in the split; the cases of the data set"
    )
    assert caught.value.problems == [
        "train: case gone is not in the data set",
        "train: case la_002 is named 2 times",
        "val: case lost is not in the data set",
        "one patient is in train (case la_000) and in val (case la_001)",
        "one patient is in train (case la_004) and in test (case la_004)",
        "one patient is in train (case la_002) and in test (case la_003)",
    ]


def test_the_faults_of_a_fold_are_told_in_the_words_of_nnunet(tmp_path: Path) -> None:
    file = written(tmp_path, [{"train": NAMES[:9], "val": ["la_009", "gone"]}])
    with pytest.raises(Faults) as caught:
        make_split(RECORDS, seed=0, file=file, fold=0)
    assert caught.value.problems == ["val: case gone is not in the data set"]


def test_cases_that_the_file_does_not_name_are_an_error_or_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = written(tmp_path, {**OWN, "train": NAMES[:4]})
    with pytest.raises(Faults, match="does not name 2 of 10 cases of the data set") as caught:
        make_split(RECORDS, seed=0, file=file)
    assert caught.value.problems == [
        f"case {case}: has no part in {file}; add it, or set dataset.split.unlisted=leave_out"
        for case in ("la_004", "la_005")
    ]
    assert make_split(RECORDS, seed=0, file=file, unlisted="leave_out") == {**OWN, "train": NAMES[:4]}
    assert caplog.messages == [f"{file}: does not name 2 of 10 cases; they are left out"]


def test_cases_that_were_left_out_of_the_data_set_may_be_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = written(tmp_path, OWN)
    with caplog.at_level("INFO"):
        split = make_split(RECORDS[1:], seed=0, file=file, left_out={"la_000", "la_other"})
    assert split == {**OWN, "train": NAMES[1:6]}
    assert caplog.messages == [f"{file}: 1 of its cases were left out of the data set"]


def test_a_part_whose_cases_were_all_left_out_is_not_drawn_anew(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="all cases of its test split were left out"):
        make_split(RECORDS[:8], seed=0, file=written(tmp_path, OWN), left_out=NAMES[8:])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"is not JSON \(.*\); it must be a JSON list of folds"),
        ("[" * 100_000, r"is not JSON"),
        ("", "is not JSON"),
        ([], "is an empty list; it must be"),
        (3, "is of type int; a split file is"),
        ([["la_000"]], "fold 0: is of type list; a split file is"),
        ([{"train": NAMES}], "fold 0: has no 'val'"),
        (
            [{"train": [1, 2], "val": "la_003"}],
            r"2 faults(.|\n)*fold 0: train: is not a list of case ids(.|\n)*fold 0: val: is",
        ),
        ({"train": NAMES, "vall": []}, r"no such part 'vall'; did you mean 'val'\?"),
        ({"train": NAMES, "val": {}}, "val: is not a list of case ids"),
        ({"train": NAMES[:8], "val": [], "test": NAMES[8:]}, "val: names no case; name some, or leave val out"),
        ({"val": NAMES[:8], "test": NAMES[8:]}, "train: names no case"),
    ],
)
def test_a_json_of_another_kind_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    file = written(tmp_path, content)
    with pytest.raises(UserError, match=message) as caught:
        make_split(RECORDS, seed=0, file=file, fold=0 if isinstance(content, list) and content else None)
    assert file in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no column 'case'"),
        ("case,part\nla_000,train\n", "no column 'split'; a split table has"),
        ("case,case,split\n", "two columns 'case'"),
        (
            table("la_000,valid\n,train\nla_002,"),
            r"row 2: case 'la_000', split 'valid'(.|\n)*row 3(.|\n)*row 4: .* split ''",
        ),
        (table("la_000,train,x\nla_001"), r"row 2: has more cells(.|\n)*row 3: has fewer"),
        (table('la_000,"train'), "cannot be read as a table"),
        (table(""), "train: names no case"),
    ],
)
def test_a_table_of_another_kind_is_refused(content: str, message: str, tmp_path: Path) -> None:
    file = written(tmp_path, content, "split.csv")
    with pytest.raises(UserError, match=message) as caught:
        make_split(RECORDS, seed=0, file=file)
    assert file in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.split\.file: .*none.json cannot be read \(No such file"):
        make_split(RECORDS, seed=0, file=str(tmp_path / "none.json"))
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        make_split(RECORDS, seed=0, file=str(tmp_path))
    (tmp_path / "latin.csv").write_bytes("case,split\nfür,train".encode("latin-1"))
    with pytest.raises(UserError, match="is not a text in UTF-8"):
        apply_file(RECORDS, tmp_path / "latin.csv", None)


@pytest.mark.real_data
def test_the_folds_of_a_real_data_set(real_data: Any, tmp_path: Path) -> None:
    root = real_data("msd_task04_hippocampus")
    names = sorted(path.name.removesuffix(".nii.gz") for path in root.rglob("labelsTr/[!.]*.nii.gz"))
    split = make_split([Record(name, ()) for name in names], seed=0, file=nnunet(tmp_path, names), fold=4)
    assert split["test"] == names[4::5]
    assert len(split["train"]) > len(split["val"]) > 0


def test_an_exclusion_list_is_one_case_a_line_with_comments(tmp_path: Path) -> None:
    text = "# written by medexp check\n\nla_000\n  la 001 \t # NaN voxels\nla#2\r\nla_000\n   # all\n"
    assert excluded(Path(written(tmp_path, text, "bad.txt"))) == {"la_000", "la 001", "la#2"}
    assert excluded(Path(written(tmp_path, "", "none.txt"))) == set()


def test_an_exclusion_list_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.exclude: .*gone.txt cannot be read \(No such file"):
        excluded(tmp_path / "gone.txt")
    (tmp_path / "image.gz").write_bytes(b"\x1f\x8b\xff\xfe")
    with pytest.raises(UserError, match=r"dataset\.exclude: .*image.gz is not a text"):
        excluded(tmp_path / "image.gz")


def test_excluded_cases_are_left_out() -> None:
    assert [record.case_id for record in without(RECORDS, {"la_003", "la_000"})] == [*NAMES[1:3], *NAMES[4:]]
    assert without(RECORDS, set()) == RECORDS


def test_a_stale_exclusion_list_and_one_of_all_cases_are_refused() -> None:
    with pytest.raises(Faults, match=re.escape("dataset.exclude: 2 of 3 cases are not in the data set")) as caught:
        without(RECORDS, {"lost", "gone", "la_001"})
    assert caught.value.problems == ["gone", "lost"]
    with pytest.raises(UserError, match="names all 10 cases"):
        without(RECORDS, set(NAMES))

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from medexp.data.phantom.anatomy import FOLLOWUPS
from medexp.data.sources.phantom import records
from medexp.errors import UserError

PATIENTS = 4


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "cases.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "data"
    records(folder, spatial_dims=2, patients=PATIENTS)
    return folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spatial_dims": 4}, "spatial_dims=4; allowed: 2, 3"),
        ({"patients": 0}, "patients=0; allowed"),
        ({"seed": -1}, "seed=-1; allowed"),
        ({"image": "clen"}, "image='clen'; allowed: image, second, clean; did you mean 'clean'"),
        ({"target": "presense"}, "target='presense'; allowed: presence, .*; did you mean 'presence'"),
    ],
)
def test_a_wrong_option_says_what_is_allowed(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        records(tmp_path / "p", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "p").exists()


def test_records_name_existing_files_patients_and_targets(root: Path) -> None:
    options = {"spatial_dims": 2, "patients": PATIENTS}
    cases = records(root, **options)
    assert [case.case_id for case in cases] == [row["case_id"] for row in rows(root)]
    assert len({case.case_id for case in cases}) == len(cases)
    assert {case.patient_id for case in cases} == {f"p{index:04d}" for index in range(PATIENTS)}
    assert {case.target for case in cases} == {"healthy", "lesion"}
    assert all(case.images[0].is_file() and case.label is not None and case.label.is_file() for case in cases)
    assert records(root, **options, image="second")[0].images == (root / "secondTr" / "p0000_s0.nii.gz",)


def test_numeric_targets_come_as_numbers(root: Path) -> None:
    options = {"spatial_dims": 2, "patients": PATIENTS}
    table = rows(root)
    assert [case.target for case in records(root, **options, target="lesion_count")] == [
        float(row["lesion_count"]) for row in table
    ]
    assert all(isinstance(case.target, float) for case in records(root, **options, target="lesion_volume_ml"))
    assert records(root, **options, target="boxes")[1].target == json.loads(table[1]["boxes"])
    assert len(records(root, **options, target="followup_volume_ml")[0].target) == FOLLOWUPS
    assert records(root, **options, target=None)[0].target is None

"""Follow-up series of the phantom: who came when is a matter of seed and case, and files stay as they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from medexp.data.phantom.anatomy import FOLLOWUPS
from medexp.data.phantom.followup import attended
from medexp.data.sources import phantom


def test_who_came_when_depends_on_seed_and_case_alone_and_lengths_vary() -> None:
    found = [attended(0, f"p{index:04d}_s0") for index in range(200)]
    assert found == [attended(0, f"p{index:04d}_s0") for index in range(200)]
    assert found != [attended(1, f"p{index:04d}_s0") for index in range(200)]
    assert all(times[-1] == FOLLOWUPS - 1 and times == sorted(set(times)) for times in found)
    lengths = Counter(map(len, found))
    assert set(lengths) == {2, 3, 4}
    assert lengths[4] > 15  # one choice of seven


def test_frames_values_and_times_of_a_study_belong_together(phantom_2d: Path) -> None:
    options = {"spatial_dims": 2, "patients": 12, "target": "followup_volume_ml"}
    whole = {r.case_id: r for r in phantom.records(phantom_2d, followup="all", **options)}  # type: ignore[arg-type]
    for record in phantom.records(phantom_2d, followup="varying", **options):  # type: ignore[arg-type]
        assert record.times is not None
        kept = [int(time) for time in record.times]
        assert [path.name for path in record.files] == [f"{record.case_id}_t{time}.nii.gz" for time in kept]
        assert record.target == [whole[record.case_id].target[time] for time in kept]
    still = phantom.records(phantom_2d, spatial_dims=2, patients=12)
    assert [record.case_id for record in still] == list(whole)
    assert all(len(record.images) == 1 and record.times is None for record in still)


def test_a_class_stays_that_of_the_study(phantom_2d: Path) -> None:
    found = phantom.records(phantom_2d, spatial_dims=2, patients=12, target="presence", followup="varying")
    assert {record.target for record in found} == {"healthy", "lesion"}

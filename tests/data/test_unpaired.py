"""Two sets of images that no patient belongs to both of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from medexp.data.order import Draw, EpochOrder
from medexp.data.records import Record
from medexp.data.unpaired import Unpaired, scored, sets, weights
from medexp.errors import UserError
from medexp.transforms.degradation import Degradation

MAKES = Degradation(inputs=[0], outputs=[1], unpaired=True)
A, B = Path("a.nii"), Path("b.nii")


def record(case: str, patient: str, *images: Path | None) -> Record:
    return Record(case, images, patient_id=patient)


class Cases:
    """Items that say which draw they are."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        place = torch.tensor([draw.epoch, draw.index, draw.repeat])
        return {"case_id": str(draw.index), "image": place, "reference": place + 0.5}


def test_no_patient_gives_both_images_and_those_who_lack_one_give_the_other() -> None:
    records = [record(f"p{i}_{scan}", f"p{i}", A, B) for i in range(6) for scan in range(2)]
    records += [record("only_a", "q", A, None), record("only_b", "r", None, B), record("neither", "s", None, None)]
    first, second = sets(records, MAKES, 0)
    groups = [{records[index].group for index in found} for found in (first, second)]
    assert groups[0] & groups[1] == set()
    assert groups[0] | groups[1] == {*(f"p{i}" for i in range(6)), "q", "r"}
    assert [len(found) for found in groups] == [4, 4]
    assert sets(records, MAKES, 0) == (first, second)
    assert any(sets(records, MAKES, seed) != (first, second) for seed in range(1, 9))


def test_an_epoch_draws_the_first_set_evenly_and_partners_from_the_second() -> None:
    first, second = [0, 2, 4], [1, 3, 5]
    cases: Any = Unpaired(Cases(6), second, seed=3)  # type: ignore[arg-type]
    draws = EpochOrder(6, 0, weights=weights(6, first)).draws()
    assert sorted(draw.index for draw in draws) == [0, 0, 2, 2, 4, 4]
    items = [cases[draw] for draw in draws]
    partners = [int(item["reference"][1]) for item in items]
    assert set(partners) <= set(second)
    assert [item["case_id"] for item in items] == [str(draw.index) for draw in draws]
    assert len({tuple(item["reference"].tolist()) for item in items}) == 6  # no patch is shown twice
    assert all(
        torch.equal(cases[draw]["reference"], item["reference"]) for draw, item in zip(draws, items, strict=True)
    )
    later = [int(cases[Draw(1, draw.index, draw.repeat)]["reference"][1]) for draw in draws]
    assert later != partners


def test_only_pairs_are_scored() -> None:
    parts = {
        "train": [record("a", "a", A, None)],
        "val": [record("b", "b", A, B), record("c", "c", None, B)],
        "test": [],
    }
    assert [case.case_id for case in scored(parts, MAKES)["val"]] == ["b"]
    assert scored(parts, Degradation(inputs=[0], outputs=[1])) == parts
    with pytest.raises(UserError, match=r"no case of val has channels \[0\] and \[1\]"):
        scored({**parts, "val": parts["val"][1:]}, MAKES)


def test_scans_of_one_patient_are_divided_where_there_is_no_other(caplog: pytest.LogCaptureFixture) -> None:
    found = sets([record("a", "p", A, B), record("b", "p", A, B)], MAKES, 0)
    assert sorted(map(len, found)) == [1, 1]
    assert "one training patient alone" in caplog.text


def test_sets_that_cannot_be_are_said() -> None:
    with pytest.raises(UserError, match=r"degradation\.outputs: no training case is left that gives channels \[1\]"):
        sets([record("a", "a", A, B)], MAKES, 0)
    with pytest.raises(UserError, match=r"degradation\.unpaired: needs other channels in than out"):
        Degradation(inputs=[0, 1], outputs=[1], unpaired=True)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medexp.data.phantom.anatomy import has_lesions
from medexp.data.phantom.covariates import covariates, outcome
from medexp.data.sources.phantom import records
from medexp.errors import UserError


def test_a_patient_has_the_same_covariates_however_many_there_are() -> None:
    assert covariates(0, 5) == covariates(0, 5)
    assert covariates(0, 5) != covariates(1, 5)


def test_outcome_hangs_on_lesions_and_age_and_some_do_not_say_theirs() -> None:
    rows = [(covariates(0, i), outcome(0, i) == "poor", has_lesions(0, i)) for i in range(2000)]
    ages = np.array([float(row["age"]) for row, _, _ in rows if row["age"] is not None])
    poor = np.array([bad for row, bad, _ in rows if row["age"] is not None])
    ill = np.array([lesion for row, _, lesion in rows if row["age"] is not None])
    assert 0.03 < 1 - len(ages) / len(rows) < 0.07
    assert ages[poor].mean() - ages[~poor].mean() > 5
    assert poor[ill].mean() - poor[~ill].mean() > 0.4
    assert abs(ages[ill].mean() - ages[~ill].mean()) < 1.5  # age says nothing of lesions


def test_the_source_gives_modalities_and_covariates(phantom_2d: Path) -> None:
    found = records(
        phantom_2d, spatial_dims=2, patients=12, image=["image", "second"], covariates=["age"], target="outcome"
    )
    assert [path.parent.name for path in found[0].files] == ["imagesTr", "secondTr"]
    assert found[0].covariates is not None
    assert {record.target for record in found} == {"good", "poor"}
    with pytest.raises(UserError, match="phantom: covariates='weight'; allowed: age, sex"):
        records(phantom_2d, spatial_dims=2, patients=12, covariates=["weight"])
    with pytest.raises(UserError, match="phantom: image='secnd'; allowed: image, second, clean; did you mean 'second'"):
        records(phantom_2d, spatial_dims=2, patients=12, image=["image", "secnd"])

"""Weaker label maps: they say nothing wrong, every object has its mark, and they depend on seed and case alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medexp.errors import UserError
from medexp.targets import IGNORED
from medexp.transforms.annotation import Annotation, Points, Scribbles, SomeClasses

CLASSES = ["background", "liver", "kidney", "lesion"]
GROUPS = [["liver", "lesion"], ["kidney"]]
MARKS = {"lines": Scribbles(), "points": Points(each=2), "thick": Scribbles(radius=1), "single": Points(radius=0)}


def a_map(dims: int = 2) -> np.ndarray:
    """A liver with a lesion in it, two kidneys."""
    label = np.zeros((24, 20, 6)[:dims], np.uint8)
    label[2:12, 2:12], label[5:8, 5:8] = 1, 3
    label[15:19, 3:6] = label[15:19, 12:16] = 2
    return label


@pytest.mark.parametrize("name", MARKS)
@pytest.mark.parametrize("dims", [2, 3])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_what_is_marked_is_right_and_every_object_is_marked(name: str, dims: int, seed: int) -> None:
    label = a_map(dims)
    made = MARKS[name](label, "case", "patient", seed)
    known = made != IGNORED
    assert made.dtype == np.uint8
    assert (made[known] == label[known]).all()
    assert 0 < known.mean() < 0.8
    for value in (1, 2, 3):
        parts, count = ndimage.label(label == value, np.ones((3,) * dims))
        assert all(known[parts == number].any() for number in range(1, count + 1))
    assert (made == 0).any()


@pytest.mark.parametrize(
    "annotate", [Scribbles(), Points(), SomeClasses(CLASSES, GROUPS)], ids=["lines", "points", "classes"]
)
def test_a_map_depends_on_seed_and_case_alone(annotate: Annotation) -> None:
    one, again = annotate(a_map(), "a", "p", 0), annotate(a_map(), "a", "p", 0)
    assert np.array_equal(one, again)
    others = [annotate(a_map(), f"case{number}", f"patient{number}", 0) for number in range(8)]
    assert any(not np.array_equal(one, other) for other in others)


def test_a_line_is_connected() -> None:
    label = np.zeros((30, 30), np.uint8)
    label[5:25, 5:10] = 1
    for seed in range(5):
        made = Scribbles()(label, "a", "p", seed)
        assert ndimage.label(made == 1, np.ones((3, 3)))[1] == 1


def test_an_object_of_one_voxel_is_marked_whole() -> None:
    label = np.zeros((9, 9), np.uint8)
    label[4, 4] = 2
    for annotate in (Scribbles(), Points()):
        assert annotate(label, "a", "p", 0)[4, 4] == 2


def test_what_the_files_leave_open_stays_open() -> None:
    label = a_map()
    label[:, :2] = IGNORED
    for annotate in (Scribbles(radius=1), Points(), SomeClasses(CLASSES, GROUPS)):
        assert (annotate(label, "a", "p", 0)[:, :2] == IGNORED).all()


def test_each_patient_has_the_classes_of_a_group_and_the_rest_may_be_any_other() -> None:
    annotate = SomeClasses(CLASSES, GROUPS)
    for patient in map(str, range(6)):
        group = annotate.group("case", patient, 0)
        made = annotate(a_map(), "case", patient, 0)
        kept = [1, 3] if group == 0 else [2]
        assert np.array_equal(made, np.where(np.isin(a_map(), kept), a_map(), 4 + group))


def test_patients_are_shared_out_evenly_and_all_scans_of_one_alike() -> None:
    annotate = SomeClasses(CLASSES, GROUPS)
    found = [annotate.group("a", str(patient), 0) for patient in range(200)]
    assert 70 < sum(found) < 130
    assert annotate.group("a", "p", 0) == annotate.group("b", "p", 0)


def test_taken_at_its_word_what_lacks_is_background() -> None:
    made = SomeClasses(CLASSES, GROUPS, absent="background")(a_map(), "a", "p", 0)
    assert made.max() < 4
    assert (made == 0).sum() > (a_map() == 0).sum()


def test_a_file_says_who_has_which_classes(tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("case,group\na,1\nb,0\n")
    annotate = SomeClasses(CLASSES, GROUPS, file=str(table))
    assert [annotate.group(case, "", 0) for case in "ab"] == [1, 0]
    assert annotate.all
    with pytest.raises(UserError, match="does not name case c; add it"):
        annotate(a_map(), "c", "", 0)
    table.write_text("case,group\na,2\n")
    with pytest.raises(UserError, match="case a is of group 2, there are 2"):
        SomeClasses(CLASSES, GROUPS, file=str(table))
    with pytest.raises(UserError, match="give a CSV with the columns case and group"):
        SomeClasses(CLASSES, GROUPS, file=str(tmp_path / "none.csv"))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SomeClasses(CLASSES, [["livr"]]), "did you mean 'liver'"),
        (lambda: SomeClasses(CLASSES, []), r"groups: \[\]"),
        (lambda: SomeClasses(CLASSES, GROUPS, absent="zero"), "absent: 'zero'; allowed: unknown, background"),  # type: ignore[arg-type]
        (lambda: Points(each=0), r"annotation\.each: 0; 1 or more"),
        (lambda: Scribbles(radius=-1), r"annotation\.radius: -1"),
    ],
)
def test_values_that_do_not_fit_are_named(make, said: str) -> None:
    with pytest.raises(UserError, match=said):
        make()

"""Bad input, from end to end: one check of a data set in which every case has a fault of its own names all of them.

Damage that one reader sees is tested beside that reader (tests/data/formats, tests/data/test_images.py).
"""

from __future__ import annotations

import gzip
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medexp.cli import main
from medexp.data.images import read_image, read_label
from medexp.data.records import Record
from medexp.data.sources import image_folder
from medexp.errors import UserError

Array = np.ndarray[Any, Any]
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
SIZE = (12, 10, 8)
PAGE = b"<!DOCTYPE html><html><body>Please sign in</body></html>" + b" " * 600
NET = ["model.channels=[4,8]", "model.strides=[2]", "inferer.divisible_by=2", "dataset.patch_size=[8,8,8]"]


def volume(dtype: Any = np.float32) -> Array:
    return np.random.default_rng(0).normal(100, 20, SIZE).astype(dtype)


def box(value: int = 1) -> Array:
    label = np.zeros(SIZE, np.uint8)
    label[2:6, 3:7, 2:5] = value
    return label


def packed(array: Array, affine: Array = AFFINE, **options: Any) -> bytes:
    """A .nii.gz."""
    return gzip.compress(nib.Nifti1Image(array, affine, **options).to_bytes(), mtime=0)


def plain(array: Array) -> bytes:
    return bytes(nib.Nifti1Image(array, AFFINE).to_bytes())


def header(offset: int, *values: float, kind: str = "<i2") -> bytes:
    """A .nii.gz with numbers of its header overwritten (offsets: nifti1.h)."""
    content, new = plain(volume()), np.asarray(values, dtype=kind).tobytes()
    return gzip.compress(content[:offset] + new + content[offset + len(new) :], mtime=0)


def with_voxel(value: float) -> bytes:
    array = volume()
    array[3, 4, 5] = value
    return packed(array)


def placed(*rows: tuple[float, ...]) -> Array:
    return np.asarray([*rows, (0, 0, 0, 1)], dtype=np.float64)


@dataclass(frozen=True)
class Bad:
    """One fault of one case: which file is at fault, what it holds, what is said."""

    name: str
    said: str
    image: bytes | None = None
    label: bytes | None = None
    suffix: str = ".nii.gz"

    @property
    def file(self) -> str:
        folder = "labelsTr" if self.label is not None else "imagesTr"
        return f"{folder}/{self.name}{'.nii.gz' if self.label is not None else self.suffix}"


RAW, GZIP = plain(volume()), packed(volume())
BAD = [
    Bad("zero_bytes", "is empty (0 bytes); copy it again", b"", suffix=".nii"),
    Bad("zero_bytes_gz", "is empty (0 bytes); copy it again", b""),
    *(Bad(f"cut_{n}", "has no whole header", RAW[:n], suffix=".nii") for n in (1, 4, 100, 347)),
    *(Bad(f"cut_{n}", "is truncated", RAW[:n], suffix=".nii") for n in (348, 352, 353, len(RAW) // 2, len(RAW) - 1)),
    *(Bad(f"cut_gz_{n}", "", GZIP[:n]) for n in (1, 2, 9, 10, 18)),
    *(Bad(f"cut_gz_{n}", "is truncated", GZIP[:n]) for n in (len(GZIP) // 3, len(GZIP) // 2, len(GZIP) - 9, len(GZIP) - 1)),
    Bad("label_cut", "is truncated", label=packed(box())[:-12]),
    Bad("not_gzip", "is damaged: Not a gzipped file", RAW),
    Bad("gzip_in_nii", "it is gzip: name it .nii.gz", GZIP, suffix=".nii"),
    Bad("web_page", "is a web page, not an image; download it again", PAGE),
    Bad("web_page_label", "is a web page, not an image; download it again", label=PAGE),
    Bad("header_only", "is truncated: 0 of 3840 bytes of voxels", gzip.compress(RAW[:352], mtime=0)),
    Bad("zero_axis", "its header claims the shape (0, 10, 8)", header(42, 0)),
    Bad("negative_axis", "its header claims the shape (-12, 10, 8)", header(42, -12)),
    Bad("bomb", "GiB; it is no scan", header(42, 30000, 30000, 30000)),
    Bad("bomb_in_proportion", "more than it holds; copy it again", header(42, 1500, 1500, 1500)),
    Bad("goes_on", "goes on beyond the 4192 bytes", gzip.compress(RAW + bytes(2**22), mtime=0)),
    Bad("singular_affine", "its affine is singular or not finite", header(280, 0, 0, 0, 0, kind="<f4")),
    Bad("nan_affine", "its affine is singular or not finite", header(280, np.nan, kind="<f4")),
    Bad("nan_voxel", "1 of 960 voxels are NaN or infinite", with_voxel(np.nan)),
    Bad("inf_voxel", "1 of 960 voxels are NaN or infinite", with_voxel(-np.inf)),
    Bad("complex", "holds complex64 voxels; real numbers are needed", packed(volume(np.complex64))),
    Bad("4d", "is 4D (12, 10, 8, 3) where 3D is expected", packed(np.stack([volume()] * 3, axis=-1))),
    Bad("2d", "is 2D (12, 10) where 3D is expected", packed(volume()[..., 0])),
    Bad("label_shape", "label shape (12, 10, 7) differs from image shape (12, 10, 8)", label=packed(box()[..., 1:])),
    Bad("label_turned", "its axes stand in another order", label=packed(box().transpose(2, 0, 1))),
    Bad("label_shifted", "label lies 3.0 voxels off the image (affines differ)", label=packed(
        box(), placed((2, 0, 0, 6), (0, 2, 0, 0), (0, 0, 5, 0)))),
    Bad("label_spacing", "label lies 7.0 voxels off the image (affines differ)", label=packed(
        box(), placed((2, 0, 0, 0), (0, 2, 0, 0), (0, 0, 10, 0)))),
    Bad("label_flipped", "(image RAS, label LAS)", label=packed(
        box(), placed((-2, 0, 0, 22), (0, 2, 0, 0), (0, 0, 5, 0)))),
    Bad("label_255", "label values 255 (48 voxels) are outside of 0..1 (dataset.classes: background, box)", label=packed(
        box(255))),
    Bad("label_negative", "label values -1 (48 voxels) are outside of 0..1", label=packed(-box().astype(np.int16))),
    Bad("label_half", "label values are not whole numbers (e.g. 0.5)", label=packed(box().astype(np.float32) / 2)),
    Bad("label_nan", "are NaN or infinite", label=packed(np.where(box() > 0, np.nan, 0).astype(np.float32))),
    Bad("label_4d", "where 3D is expected", label=packed(np.stack([box()] * 2, axis=-1))),
]  # fmt: skip
SOUND = [f"sound_{i}" for i in range(8)]


def decathlon(root: Path, bad: list[Bad]) -> Path:
    """A Decathlon folder of sound cases and of one case a fault."""
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    pairs = []
    for number, name in enumerate(SOUND):
        (root / f"imagesTr/{name}.nii.gz").write_bytes(packed(volume() + number))
        (root / f"labelsTr/{name}.nii.gz").write_bytes(packed(box()))
        pairs.append((f"imagesTr/{name}.nii.gz", f"labelsTr/{name}.nii.gz"))
    for number, fault in enumerate(bad):
        image, label = f"imagesTr/{fault.name}{fault.suffix}", f"labelsTr/{fault.name}.nii.gz"
        (root / image).write_bytes(packed(volume() + 100 + number) if fault.image is None else fault.image)
        (root / label).write_bytes(packed(box()) if fault.label is None else fault.label)
        pairs.append((image, label))
    entries = [{"image": f"./{image}", "label": f"./{label}"} for image, label in pairs]
    (root / "dataset.json").write_text(json.dumps({"training": entries}))
    return root


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@dataclass(frozen=True)
class Checked:
    root: Path
    code: int
    out: str
    errors: list[str]
    changed: bool
    written: list[Path]


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    """One check of all faults, in a folder whose name has blanks and letters beyond ASCII, which cannot be written to."""
    home = tmp_path_factory.mktemp("bad")
    root = decathlon(home / "Größe 1 (新) data", BAD)
    (home / "cwd").mkdir()
    before = contents(root)
    folders = [root, root / "imagesTr", root / "labelsTr"]
    for folder in folders:
        folder.chmod(0o555)
    out, error = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(error):
        patch.setenv("MEDEXP_CACHE", str(home / "cache"))
        patch.chdir(home / "cwd")
        words = ["dataset=msd", f"dataset.root='{root}'", "dataset.classes=[background,box]", *NET]
        code = main(["check", *words])
    for folder in folders:
        folder.chmod(0o755)
    return Checked(
        *(root, code, out.getvalue(), error.getvalue().splitlines()),
        *(contents(root) != before, sorted((home / "cwd").rglob("*"))),
    )


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_bad_file_has_one_line_that_names_case_file_and_fault(checked: Checked, bad: Bad) -> None:
    (line,) = [line for line in checked.errors if line.startswith(f"  case {bad.name}: ")]
    assert line.startswith(f"  case {bad.name}: {checked.root / bad.file}: ")
    assert bad.said in line


def test_all_bad_files_are_found_in_one_pass_and_nothing_is_changed_or_written(checked: Checked) -> None:
    assert checked.code == 2
    assert checked.errors[0] == f"medexp: {len(BAD)} faults in {len(BAD) + len(SOUND)} cases of {checked.root}"
    assert len(checked.errors) == 1 + len(BAD)
    assert not checked.changed
    assert checked.written == []


def test_a_sound_case_beside_bad_ones_is_not_blamed(checked: Checked) -> None:
    assert not [line for line in checked.errors if "sound" in line]


def table(root: Path, text: str, **options: str) -> list[str]:
    """Overrides that check pictures a table names."""
    (root / "labels.csv").write_text(text, encoding="utf-8")
    given = [f"dataset.source.{key}={value}" for key, value in options.items()]
    return [
        "experiment=classification/csv",
        f"dataset.root={root}",
        "dataset.classes=[a,b]",
        "dataset.image_size=[32,32]",
        *given,
    ]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("image,label\nx.png,a\n", {"target": "kind"}, "dataset.source.target: no column 'kind' in"),
        ("image,label\nx.png,a\nx.png,b,c\n", {}, "row 3: 3 cells, the header has 2"),
        ('image,label\n"x.png,a\n', {}, "cannot be read as a table: unexpected end of data"),
        ("image,label\nx.png,\n", {}, "row 2: column 'label' is empty"),
        ("image,label,id\nx.png,a,p\ny.png,b,p\n", {"case": "id"}, "1 case ids stand twice in"),
        ("image,label\n../x.png,a\n", {}, "'../x.png' does not lie below"),
        ("image,label\nloop.png,a\n", {}, "loop.png: no such file"),
    ],
    ids=["no column", "ragged row", "open quote", "empty cell", "duplicate id", "outside of the root", "symlink loop"],
)
def test_a_bad_table_is_named_with_its_row(
    tmp_path: Path, text: str, options: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("x.png", "y.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert main(["check", *table(tmp_path, text, **options)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not list(Path().iterdir())


def test_a_loop_of_links_and_a_folder_in_the_place_of_a_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").symlink_to(tmp_path / "b.nii.gz")
    (tmp_path / "b.nii.gz").symlink_to(tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match=r"case x: .*a\.nii\.gz: no such file"):
        read_image(Record("x", (tmp_path / "a.nii.gz",)), spatial_dims=3)
    (tmp_path / "c.nii").mkdir()
    with pytest.raises(UserError, match=r"case x: .*c\.nii: "):
        read_image(Record("x", (tmp_path / "c.nii",)), spatial_dims=3)


def test_a_link_loop_among_folders_is_not_followed_forever(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"")
        (tmp_path / name / "again").symlink_to(tmp_path, target_is_directory=True)
    assert len(image_folder.records(tmp_path)) == 2


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.uint16, np.float64])
def test_wide_numbers_are_read_as_what_they_are(tmp_path: Path, kind: Any) -> None:
    nib.save(nib.Nifti1Image(volume(kind), AFFINE, dtype=kind), tmp_path / "image.nii.gz")
    nib.save(nib.Nifti1Image(box().astype(kind), AFFINE, dtype=kind), tmp_path / "label.nii.gz")
    record = Record("x", (tmp_path / "image.nii.gz",), tmp_path / "label.nii.gz")
    scan, label = read_image(record, spatial_dims=3, channels=1), read_label(record, spatial_dims=3)
    np.testing.assert_array_equal(scan.array[0], volume(kind).astype(np.float32))
    assert scan.array.dtype == np.float32
    np.testing.assert_array_equal(label.array, box())
    assert label.array.dtype.kind == "i"


@pytest.mark.parametrize("name", ["Größe 1.nii.gz", "新しい 画像.nii.gz", "a'b\"c$d;e.nii.gz", "x" * 240 + ".nii.gz"])
def test_odd_names_are_read_and_said_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(packed(volume()))
    assert read_image(Record("x", (path,)), spatial_dims=3).array.shape == (1, *SIZE)
    path.write_bytes(packed(volume())[:-40])
    with pytest.raises(UserError, match="is truncated") as caught:
        read_image(Record("x", (path,)), spatial_dims=3)
    assert str(caught.value).startswith(f"case x: {path}: ")
    assert "\n" not in str(caught.value)


def test_ten_thousand_files_of_a_folder_are_listed(tmp_path: Path) -> None:
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
        for number in range(5000):
            (tmp_path / part / f"{number:05d}.png").touch()
    found = image_folder.records(tmp_path)
    assert len(found) == 10_000
    assert [record.case_id for record in found] == sorted(record.case_id for record in found)

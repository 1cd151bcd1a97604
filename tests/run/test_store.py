"""Runs that share a store: the same numbers as without one, prepared once, and made again only where something changed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medexp.cli import main
from medexp.errors import Faults, UserError
from medexp.run.train import start


def entries(store: Path) -> dict[Path, int]:
    return {path: path.stat().st_ino for path in (store / "cases").glob("??/*.case")}


def run(words: list[str], store: Path | None, folder: Path) -> dict[str, Any]:
    place = "null" if store is None else str(store)
    return start([*words, f"dataset.store={place}", f"run_dir={folder}"])


def test_a_run_from_the_store_equals_one_without_it(tiny_3d: list[str], tmp_path: Path) -> None:
    stored, plain = tmp_path / "stored", tmp_path / "plain"
    run(tiny_3d, tmp_path / "store", stored)
    run(tiny_3d, None, plain)
    assert (stored / "metrics.csv").read_text() == (plain / "metrics.csv").read_text()
    assert (stored / "per_case.csv").read_text() == (plain / "per_case.csv").read_text()
    main(["evaluate", str(stored), "--output", str(tmp_path / "again")])
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "again" / "per_case.csv"), pd.read_csv(stored / "per_case.csv")
    )


def test_the_second_run_prepares_nothing_and_augmentation_does_not_matter(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    run(tiny, store, tmp_path / "first")
    assert "preparing" in capsys.readouterr().out
    before = entries(store)
    run([*tiny, "augmentation=strong", "seed=1", "dataset.batch_size=2"], store, tmp_path / "second")
    assert "preparing" not in capsys.readouterr().out
    assert entries(store) == before


@pytest.mark.parametrize("changed", ["dataset.spacing=[2.0,2.0]", "dataset.normalize.nonzero=true"])
def test_one_changed_argument_of_the_preparation_makes_new_entries(
    changed: str, tiny: list[str], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    run(tiny, store, tmp_path / "first")
    before = entries(store)
    run([*tiny, changed], store, tmp_path / "second")
    after = entries(store)
    assert len(after) == 2 * len(before)
    assert before.items() <= after.items()


def test_a_changed_file_is_prepared_again_and_no_other(
    tmp_path: Path, layouts: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    root, store = layouts.msd(tmp_path / "msd", classes=2), tmp_path / "store"
    net = ["model.channels=[4,8]", "model.strides=[2]", "inferer.divisible_by=2", "trainer.max_epochs=1", "figures=0"]
    words = [
        "dataset=msd",
        f"dataset.root={root}",
        "dataset.classes=[background,box]",
        "dataset.patch_size=[8,8,8]",
        *net,
    ]
    run(words, store, tmp_path / "first")
    count = len(entries(store))
    path = root / "imagesTr" / "case_003.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + np.float32(1.0), image.affine), path)
    capsys.readouterr()
    run(words, store, tmp_path / "second")
    assert re.search(rf"preparing 1 of {count} cases", capsys.readouterr().out)
    assert len(entries(store)) == count + 1


def test_what_could_be_prepared_stays_and_the_next_run_goes_on(tmp_path: Path, layouts: Any) -> None:
    root, store = layouts.msd(tmp_path / "msd", classes=2), tmp_path / "store"
    words = ["dataset=msd", f"dataset.root={root}", "dataset.classes=[background,box]", "dataset.patch_size=[8,8,8]"]
    net = ["model.channels=[4,8]", "model.strides=[2]", "inferer.divisible_by=2", "trainer.max_epochs=1", "figures=0"]
    broken = root / "imagesTr" / "case_003.nii.gz"
    sound = broken.read_bytes()
    broken.write_bytes(sound[: len(sound) // 2])
    with pytest.raises(Faults, match="1 of 10 cases cannot be used"):
        run([*words, *net], store, tmp_path / "run")
    assert len(entries(store)) == 9
    assert not (tmp_path / "run").exists()
    broken.write_bytes(sound)
    run([*words, *net], store, tmp_path / "run")
    assert len(entries(store)) == 10


def test_a_disk_too_small_is_said_before_it_is_filled(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medexp.data.store import keep

    monkeypatch.setattr(keep.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(UserError, match=r"dataset.store: about .* are needed in .*, 10 B are free"):
        run(tiny, tmp_path / "store", tmp_path / "run")
    assert len(entries(tmp_path / "store")) == 1
    assert not (tmp_path / "run").exists()


def test_the_cache_verb_lists_verifies_and_prunes(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    assert main(["cache", "--folder", str(store)]) == 0
    assert "empty" in capsys.readouterr().out
    run(tiny, store, tmp_path / "run")
    capsys.readouterr()
    count = len(entries(store))
    assert main(["cache", "--folder", str(store)]) == 0
    assert re.search(rf"phantom_2d\s*│\s*{count}\s*│", capsys.readouterr().out)
    assert main(["cache", "verify", "--folder", str(store)]) == 0
    assert f"{count} entries are sound" in capsys.readouterr().out
    victim = next(iter(entries(store)))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    assert main(["cache", "verify", "--folder", str(store)]) == 2
    assert str(victim) in capsys.readouterr().err
    assert main(["cache", "prune", "--folder", str(store)]) == 0
    assert f"removed 1 of {count} entries" in capsys.readouterr().out
    assert main(["cache", "prune", "--older-than", "-1", "--folder", str(store)]) == 2
    assert main(["cache", "prune", "--all", "--folder", str(store)]) == 0
    assert entries(store) == {}


@pytest.mark.real_data
@pytest.mark.slow
def test_hippocampus_from_the_store_equals_hippocampus_without_it(
    real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    real_data("msd_task04_hippocampus")
    words = ["experiment=segmentation/hippocampus", "model=unet", "inferer=whole_by_8", "dataset.limit=6"]
    short = ["trainer.max_epochs=1", "trainer.precision=32-true", "figures=0"]
    run([*words, *short], tmp_path / "store", tmp_path / "stored")
    run([*words, *short], None, tmp_path / "plain")
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("stored", "plain")]
    assert summaries[0]["metrics"] == summaries[1]["metrics"]
    assert (tmp_path / "stored/metrics.csv").read_text() == (tmp_path / "plain/metrics.csv").read_text()

"""Images with covariates, from a table or BIDS to predictions."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from layouts import bids

from medexp import build
from medexp.config.compose import compose, resolve
from medexp.errors import Faults, UserError
from medexp.run import folder
from medexp.run.evaluate import evaluate
from medexp.run.predict import predict
from medexp.run.train import start

NET = ["model.net.channels=[4,4]", "model.features=8", "trainer.max_epochs=1", "figures=0", "dataset.batch_size=2"]
TOLD = "experiment=classification/phantom_covariates"


@pytest.fixture(scope="module")
def table(phantom_2d: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the phantom's folder with labels.csv: age, sex (one of them missing) and class of each case."""
    root = shutil.copytree(phantom_2d, tmp_path_factory.mktemp("table") / "phantom")
    with (root / "cases.csv").open(newline="") as file:
        cases = list(csv.DictReader(file))
    rows = [["image", "label", "patient", "age", "sex"]]
    for index, case in enumerate(cases):
        age = "" if index == 1 else str(40 + index)
        rows.append([case["image"], case["presence"], case["patient_id"], age, "FM"[index % 2]])
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("runs") / "told"
    data = ["dataset=csv", f"dataset.root={table}", "dataset.source.patient=patient", "dataset.covariates=[age,sex]"]
    classes = ["dataset.classes=[healthy,lesion]", "dataset.image_size=[32,32]"]
    return Path(start([TOLD, *data, *classes, *NET, f"run_dir={made}"])["run_dir"])


def test_what_training_said_is_settled_in_the_config(run: Path, table: Path) -> None:
    cfg = folder.load(run)
    known = cfg["dataset"]["covariates"]
    train = set(folder.read_json(run / folder.SPLIT)["train"])
    rows = pd.read_csv(table / "labels.csv")
    rows["case"] = [name.removesuffix(".nii.gz").replace("/", "_") for name in rows["image"]]
    ages = rows[rows["case"].isin(train)]["age"]
    assert known["age"] == pytest.approx({"mean": ages.mean(), "std": ages.std(ddof=0)}, abs=1e-5)
    assert known["sex"] == ["F", "M"]
    assert cfg["model"]["covariates"] == known


def test_a_run_is_evaluated_again_from_its_folder(run: Path, tmp_path: Path) -> None:
    before = folder.read_json(run / folder.SUMMARY)
    assert evaluate(run, output=tmp_path)["metrics"] == before["metrics"]


def test_predict_takes_them_from_a_table_and_else_the_mean_with_a_word(
    run: Path, table: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="medexp")
    told = pd.read_csv(predict(run, table / "labels.csv", tmp_path / "told.csv")).set_index("case_id")
    assert "1 of" in caplog.text
    assert "cases have no age: the mean of training stands in" in caplog.text
    caplog.clear()
    plain = pd.read_csv(predict(run, table / "imagesTr", tmp_path / "plain.csv")).set_index("case_id")
    assert f"{len(plain)} of {len(plain)} cases have no age" in caplog.text
    assert f"{len(plain)} of {len(plain)} cases have no sex" in caplog.text
    assert not (told["prob_lesion"].to_numpy() == plain["prob_lesion"].to_numpy()).any()
    rows = pd.read_csv(table / "labels.csv", dtype=str).fillna("")
    rows[["age", "sex"]] = ""
    rows.to_csv(table / "unknown.csv", index=False)
    unknown = pd.read_csv(predict(run, table / "unknown.csv", tmp_path / "unknown_out.csv"))
    assert unknown["prob_lesion"].tolist() == pytest.approx(plain["prob_lesion"].tolist(), abs=1e-6)
    with pytest.raises(UserError, match="--input: no column 'image' in"):
        (table / "odd.csv").write_text("img,age\nx.png,3\n")
        predict(run, table / "odd.csv", tmp_path / "odd.csv")


def test_the_batch_holds_them_encoded(run: Path) -> None:
    cfg = folder.load(run)
    data = build.datamodule(cfg)
    data.split = folder.read_json(run / folder.SPLIT)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch["covariates"].shape == (2, 5)
    assert torch.isfinite(batch["covariates"]).all()
    assert (batch["covariates"][:, 2:4].sum(dim=1) + batch["covariates"][:, 4]).tolist() == [1, 1]


def test_bids_reads_participants(tmp_path: Path) -> None:
    root = bids.write(tmp_path / "bids")
    given = [
        "experiment=segmentation/phantom",
        "dataset=bids",
        f"dataset.root={root}",
        "dataset.classes=[background,lesion]",
    ]
    data = build.datamodule(resolve(compose([*given, "dataset.covariates=[age,group]", "run_dir=x"])))
    found = {record.case_id: record.covariates for record in data.records()}
    assert found["sub-01_ses-1"] == {"age": "31", "group": "patient"}
    missing = build.datamodule(resolve(compose([*given, "dataset.covariates=[weight]", "run_dir=x"])))
    with pytest.raises(UserError, match=r"dataset\.covariates: no column 'weight' in"):
        missing.records()


def test_a_source_without_a_table_says_so(phantom: Path) -> None:
    given = ["experiment=segmentation/msd", f"dataset.root={phantom}", "dataset.classes=[a,b,c,d]", "run_dir=x"]
    data = build.datamodule(resolve(compose([*given, "dataset.covariates=[age]"])))
    with pytest.raises(
        (UserError, Faults), match=r"dataset\.covariates: age; tables \(csv\), BIDS and the phantom have them"
    ):
        data.records()

"""A release: prediction from it alone gives the bits of the run, and nothing in it says where or on whom it was trained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from medexp.cli import main
from medexp.errors import UserError
from medexp.run import folder
from medexp.run.evaluate import evaluate
from medexp.run.export import described, export
from medexp.run.predict import predict
from medexp.run.train import start


@pytest.fixture(scope="module")
def released(trained_3d: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(trained_3d, tmp_path_factory.mktemp("releases") / "organs")


def test_a_release_predicts_what_its_run_does_bit_by_bit(
    released: Path, trained_3d: Path, phantom: Path, tmp_path: Path
) -> None:
    alone = Path(shutil.copytree(released, tmp_path / "alone"))
    for model, output in ((trained_3d, "of_run"), (alone, "of_release")):
        words = ["--input", str(phantom / "imagesTr"), "--output", str(tmp_path / output)]
        assert main(["predict", str(model), *words]) == 0
    names = sorted(path.name for path in (tmp_path / "of_run").iterdir())
    assert len(names) == len(list((phantom / "imagesTr").iterdir()))
    for name in names:
        assert (tmp_path / "of_release" / name).read_bytes() == (tmp_path / "of_run" / name).read_bytes()


def test_classes_come_with_the_same_probabilities(phantom_2d: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    data = [f"dataset.root={phantom_2d}", "dataset.source.patients=12", "trainer.max_epochs=1"]
    start(["experiment=classification/phantom_presence_2d", "loss.pos_weight=[2.0]", *data, f"run_dir={run}"])
    export(run, tmp_path / "release", "last")
    for model, checkpoint in ((run, "last"), (tmp_path / "release", "best")):
        predict(model, phantom_2d / "imagesTr", tmp_path / f"{model.name}.csv", checkpoint)
    assert (tmp_path / "release.csv").read_text() == (tmp_path / "run.csv").read_text()
    assert len(pd.read_csv(tmp_path / "run.csv")) > 0
    assert not any(key.startswith("loss.") for key in load_file(tmp_path / "release/weights.safetensors"))
    assert folder.read_json(run / "summary.json")["checkpoint"] == "best"
    assert (
        OmegaConf.load(tmp_path / "release/model.yaml").results == {}
    )  # those of the best are not claimed for the last
    assert folder.weights(tmp_path / "release", "last").is_file()


def test_a_release_holds_weights_and_results_and_no_trace_of_the_data(
    released: Path, trained_3d: Path, phantom: Path
) -> None:
    assert sorted(path.name for path in released.iterdir()) == ["README.md", "model.yaml", "weights.safetensors"]
    weights = torch.load(trained_3d / folder.BEST, weights_only=True)["state_dict"]
    found = load_file(released / "weights.safetensors")
    assert found.keys() == {key for key in weights if key.startswith("net.")}
    assert all(torch.equal(value, weights[key]) for key, value in found.items())
    said: Any = OmegaConf.to_container(OmegaConf.load(released / "model.yaml"))
    summary = folder.read_json(trained_3d / "summary.json")
    assert said["results"]["metrics"]["dice"]["mean"] == summary["metrics"]["dice"]["mean"]
    cases = [case for ids in folder.read_json(trained_3d / "split.json").values() for case in ids]
    for path in released.iterdir():
        content = path.read_bytes()
        for trace in (str(trained_3d), str(phantom), str(phantom.parent), "/store", *cases):
            assert trace.encode() not in content, (path, trace)
    card = (released / "README.md").read_text()
    assert "medexp predict THIS_FOLDER" in card
    assert f"| dice | {summary['metrics']['dice']['mean']:.4g} |" in card


def test_the_data_set_is_cited_and_what_lists_cases_or_paths_is_left_out(
    trained_3d: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = folder.load(trained_3d)
    cfg["dataset"]["about"] = {"licence": "CC BY 4.0", "cite": "Somebody 2024", "get": "ask", "files": [{"url": "u"}]}
    cfg["dataset"]["source"] = {"_target_": "medexp.data.sources.phantom.records", "left_out": ["patient_7"]}
    cfg["dataset"] |= {"exclude": "/home/me/bad.txt", "covariates": []}
    cfg["inferer"]["device"] = "/home/me/device"
    with caplog.at_level("INFO"):
        said = described(cfg, trained_3d, "best")
    assert said["data"] == {"licence": "CC BY 4.0", "cite": "Somebody 2024"}
    assert not {"source", "exclude", "root", "split", "store", "about"} & said["dataset"].keys()
    assert "device" not in said["inferer"]
    assert "inferer.device is a path and is left out" in caplog.text
    layout = {
        "_target_": "medexp.data.sources.nifti_folder.records",
        "images": ["{case}/T1_*.nii.gz"],
        "label": "/data/{case}",
    }
    cfg["dataset"]["source"] = layout
    assert described(cfg, trained_3d, "best")["dataset"]["source"] == {k: layout[k] for k in ("_target_", "images")}
    cfg["model"]["channels"] = ["/home/me/channels"]
    with pytest.raises(UserError, match=r"model.channels\[0\]: '/home/me/channels' is a path of this machine"):
        described(cfg, trained_3d, "best")


def test_what_is_damaged_unsafe_or_of_another_kind_is_refused(
    released: Path, trained_3d: Path, phantom: Path, tmp_path: Path
) -> None:
    scan = next((phantom / "imagesTr").iterdir())
    copy = Path(shutil.copytree(released, tmp_path / "copy"))

    def refused(reason: str) -> None:
        with pytest.raises(UserError, match=reason):
            predict(copy, scan, tmp_path / "out")
        shutil.rmtree(copy)
        shutil.copytree(released, copy)

    weights, model = copy / "weights.safetensors", copy / "model.yaml"
    raw = bytearray(weights.read_bytes())
    raw[-9] ^= 1
    weights.write_bytes(raw)
    refused(r"weights.safetensors: does not match the SHA-256 in model.yaml")
    weights.unlink()
    refused(r"weights.safetensors: no such file; fetch the whole release")
    text = model.read_text()
    model.write_text(text.replace("format: 1", "format: 2"))
    refused(r"model.yaml: is of format 2, this medexp reads 1")
    model.write_text(text.replace("monai.networks.nets.UNet", "os.system"))
    refused(r"model.yaml: 'os.system' is outside of what a config may name")
    model.write_text("[1, 2]")
    refused("not a released model")
    model.write_text(text.replace("- 4\n  - 8", "- 4\n  - 16"))
    refused("holds another network")
    with pytest.raises(UserError, match="is there already; give another folder"):
        export(trained_3d, released)
    with pytest.raises(UserError, match="is a release of the best checkpoint alone"):
        predict(copy, scan, tmp_path / "out", "last")
    with pytest.raises(UserError, match="is a release already"):
        export(released, tmp_path / "again")
    with pytest.raises(UserError, match="does not say how such a data set is laid out"):
        evaluate(released, str(phantom), tmp_path / "scores")


def test_a_disk_that_is_full_leaves_no_release(
    trained_3d: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import disks

    with disks.small(tmp_path / "small", "64k") as disk:
        disks.fill(disk)
        assert main(["export", str(trained_3d), "--output", str(disk / "release")]) == 2
        assert not (disk / "release/model.yaml").exists()
    error = capsys.readouterr().err
    assert error.startswith("medexp: --output: cannot write to")
    assert len(error.strip().splitlines()) == 1

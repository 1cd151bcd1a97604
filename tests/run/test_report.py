"""The table of a summary repeats nothing, and says units and what a row means."""

from __future__ import annotations

from typing import Any

import pytest

from medexp.run.report import print_summary


def entry(mean: float, **parts: float) -> dict[str, Any]:
    return {"mean": mean, "per_class": {name: {"mean": value} for name, value in parts.items()}}


def lines(capsys: pytest.CaptureFixture[str], metrics: dict[str, Any], cases: int = 2) -> list[list[str]]:
    """Cells of the printed table, a list a line."""
    print_summary({"part": "test", "cases": cases, "checkpoint": "best", "metrics": metrics})
    text = capsys.readouterr().out.replace("┃", "│")
    return [[cell.strip() for cell in line.split("│") if cell.strip()] for line in text.splitlines()]


def test_the_network_stands_beside_its_baselines_once(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"psnr": entry(28, network=28, input=29), "mae": entry(0.2, network=0.2, input=0.3)}
    found = lines(capsys, {**metrics, "better": entry(0.25, input=0.25)})
    assert ["metric", "network", "input"] in found
    assert ["psnr (dB)", "28.0000", "29.0000"] in found
    assert ["mae (unit of the prepared image)", "0.2000", "0.3000"] in found
    assert ["better", "-", "0.2500"] in found
    assert found[-1] == ["better: share of the cases in which the network's PSNR is above that of the column"]


def test_what_no_baseline_has_is_of_the_network(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"auroc": entry(0.6, network=0.6, blur=0.4), "psnr": entry(10, healthy=11, anomalous=9)}
    found = lines(capsys, metrics)
    assert ["metric", "network", "blur", "healthy", "anomalous"] in found
    assert ["psnr (dB)", "10.0000", "-", "11.0000", "9.0000"] in found


def test_without_baselines_nothing_is_better(capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, {"psnr": entry(28, network=28), "better": {"mean": None, "per_class": {}}})
    assert not any(line and line[0].startswith("better") for line in found)


def test_classes_keep_the_mean_and_distances_are_in_mm(capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, {"dice": entry(0.5, liver=0.6, tumour=0.4), "hd95": entry(7, liver=6, tumour=8)}, cases=1)
    assert found[0] == ["test: 1 case (best)"]
    assert ["metric", "mean", "liver", "tumour"] in found
    assert ["hd95 (mm)", "7.0000", "6.0000", "8.0000"] in found


def test_rows_of_a_generative_run_are_samples(capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, {"fid": entry(2, samples=2, held_out=1)}, cases=64)
    assert found[0] == ["test: 64 samples (best)"]
    assert ["metric", "samples", "held_out"] in found
    assert ["fid", "2.0000", "1.0000"] in found


def test_the_error_of_values_has_no_unit_of_an_image(capsys: pytest.CaptureFixture[str]) -> None:
    assert ["mae", "3.0000"] in lines(capsys, {"mae": {"mean": 3.0}})

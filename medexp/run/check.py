"""`medexp check`: everything that can be known before training; nothing is trained, nothing repaired."""

from __future__ import annotations

from medexp.errors import Faults


def check(overrides: list[str]) -> int:
    """Composes and checks the config, reads every case to its end, and makes the split. Raises Faults with all errors."""
    from rich.console import Console

    from medexp import build
    from medexp.data.integrity import check_records
    from medexp.run.train import plan

    console = Console(highlight=False, soft_wrap=True)
    cfg = plan(overrides)
    console.print("config: sound")
    data = build.datamodule(cfg)
    records = data.records()
    mask = data.target == "mask"
    report = check_records(
        records, lambda record: data.preparation.read(record, with_label=mask), data.classes, data.target
    )
    for warning in report.warnings:
        console.print(f"warning: {warning}", markup=False)
    if report.errors:
        raise Faults(f"{len(report.errors)} faults in {len(records)} cases of {data.root}", report.errors)
    data.parts()
    console.print(f"data: {data.describe()}; {len(report.warnings)} warnings")
    return 0

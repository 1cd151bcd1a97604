"""Networks of bags: which data they read."""

from __future__ import annotations

VOLUMES, FLAT = "experiment=classification/phantom_presence", "experiment=classification/phantom_presence_2d"


def host(group: str, option: str, line: str) -> list[list[str]]:
    if group != "model":
        return []
    return {"mil_attention": [[VOLUMES]], "mil_scans": [["experiment=sequence/phantom_presence"]]}.get(option, [])


def model(option: str, line: str) -> list[list[str]]:
    if option == "mil_attention":
        return [[VOLUMES, f"model={option}"]]
    solid = [VOLUMES, f"model={option}", "model.patch_size=[16,16,16]"]
    return [[FLAT, f"model={option}"], solid] if option == "mil_patches" else []

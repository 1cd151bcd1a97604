"""`medexp bench start`, and what a training imports: nothing that its experiment does not use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from medexp.run.bench import start

# What a training adds to the libraries that it stands on: Hydra with its parsers, Lightning's file systems, tables of the
# terminal, the store's index.
NEEDED = {"hydra", "omegaconf", "antlr4", "yaml", "fsspec", "rich", "markdown_it", "mdurl", "pygments", "attr"}
LOADED = "import json, sys; print(json.dumps(sorted(sys.modules)))"
BUILD = """
from medexp import build
from medexp.config import compose
from medexp.config.check import check
from medexp.run import train, folder, evaluate, report, history
cfg = compose.resolve(compose.compose({words!r}))
check(cfg, "the config")
trainer, data, task, scorer = build.trainer(cfg), build.datamodule(cfg), build.task(cfg), build.scorer(cfg)
task.configure_optimizers()
"""


def loaded(code: str) -> set[str]:
    """Modules that a fresh process has after running this."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", f"{code}\n{LOADED}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def libraries() -> set[str]:
    """Modules that torch, Lightning and MONAI bring along, used or not."""
    return loaded(f"{start.LIBRARIES}\nimport torch._dynamo  # every torch optimizer imports it")


@pytest.mark.parametrize(
    "words",
    [
        ["experiment=segmentation/phantom"],
        ["experiment=classification/phantom_presence_2d", "callbacks=early_stopping"],
        ["experiment=segmentation/phantom_2d", "model=dynunet", "optimizer=sgd"],
    ],
    ids=lambda words: words[0].split("/")[1],
)
def test_a_training_imports_no_package_beyond_its_libraries(
    words: list[str], libraries: set[str], tmp_path: Path
) -> None:
    run = [*words, f"run_dir={tmp_path}"]
    added = loaded(BUILD.format(words=run)) - libraries
    packages = {name.split(".")[0] for name in added}
    outside = {name for name in packages if not name.startswith("_") and name not in sys.stdlib_module_names}
    assert outside - NEEDED <= {"medexp", "torch", "monai", "pytorch_lightning", "torchmetrics", "scipy", "numpy"}
    heavy = ("torchvision", "torch._inductor", "torch.onnx", "torchmetrics.", "scipy.", "wandb", "sklearn", "IPython")
    assert sorted(name for name in added if name.startswith(heavy)) == []


SAID = """import time: self [us] | cumulative | imported package
import time:       100 |        100 |   torch._C
import time:      2000 |       2100 | torch
a warning of somebody | else
import time:       400 |       2500 | monai.losses
import time:       500 |        500 |     torch.nn
"""


def test_import_times_are_summed_by_package() -> None:
    found = start.seconds_by_package(SAID)
    assert list(found.items()) == [("torch", 0.003), ("monai", 0.0)]

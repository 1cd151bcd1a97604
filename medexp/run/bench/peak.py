"""`python -m medexp.run.bench.peak FOLDER COUNT`: peak memory of drawing patches of COUNT volumes from a store."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import numpy as np

from medexp.data.cases import TrainCases
from medexp.data.order import EpochOrder
from medexp.data.store.entries import Store

SIZE, PATCH, DRAWS = (1, 128, 128, 128), (64, 64, 64), 200


def main() -> None:
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    store, rng = Store(folder), np.random.default_rng(0)
    entries = []
    for index in range(count):

        def make() -> tuple[dict[str, np.ndarray], dict[str, object]]:
            label = np.zeros(SIZE, np.uint8)
            label[:, 40:60, 40:60, 40:60] = 1
            places = np.argwhere(label[0])[:1000].astype(np.int32)
            image = rng.standard_normal(SIZE, dtype=np.float32).astype(np.float16)
            return {"image": image, "label": label, "places": places}, {"places": {"1": [0, 1000]}}

        entries.append(({"case_id": str(index)}, store.ensure(f"{index:032x}", make)))
    cases = TrainCases(entries, 0, PATCH, 0.5, None)
    order, done = EpochOrder(count, 0), 0
    for epoch in range(DRAWS):
        order.set_epoch(epoch)
        for draw in order:
            cases[draw]
            done += 1
        if done >= DRAWS:
            break
    sys.stdout.write(json.dumps({"peak_mb": round(peak() / 1e6, 1)}))


def peak() -> float:
    """Bytes of this process at its largest. (ru_maxrss begins with what the process that started this one held.)"""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) * 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # macOS: bytes


if __name__ == "__main__":
    main()

"""What a machine says of itself, and what is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medexp import performance
from medexp.performance import cores, fastest_precision, peak_memory, settle, use_threads


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A CPU without units for 16 bits, and no GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for flag in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, flag, lambda: False, raising=False)
    return monkeypatch


def gpus(machine: pytest.MonkeyPatch, *capabilities: tuple[int, int]) -> None:
    machine.setattr(torch.cuda, "is_available", lambda: True)
    machine.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    machine.setattr(torch.cuda, "get_device_capability", lambda index: capabilities[index])


def test_without_units_for_16_bits_it_is_32(machine: pytest.MonkeyPatch) -> None:
    assert fastest_precision("cpu") == fastest_precision("auto") == "32-true"


@pytest.mark.parametrize("flag", ["_is_avx512_bf16_supported", "_is_amx_tile_supported"])
def test_a_cpu_with_units_for_bfloat16_uses_them(flag: str, machine: pytest.MonkeyPatch) -> None:
    machine.setattr(torch.cpu, flag, lambda: True, raising=False)
    assert fastest_precision("cpu") == fastest_precision("auto") == "bf16-mixed"


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ([(9, 0)], "bf16-mixed"),
        ([(8, 0)], "bf16-mixed"),
        ([(7, 5)], "16-mixed"),
        ([(7, 0)], "16-mixed"),
        ([(6, 1)], "32-true"),
        ([(8, 6), (7, 5)], "16-mixed"),  # what all of them know
    ],
)
def test_a_gpu_decides_by_its_compute_capability(
    capabilities: list[tuple[int, int]], precision: str, machine: pytest.MonkeyPatch
) -> None:
    gpus(machine, *capabilities)
    assert fastest_precision("gpu") == fastest_precision("cuda") == fastest_precision("auto") == precision
    assert fastest_precision("cpu") == "32-true"  # a GPU that is there but not used


def test_on_metal_it_is_32_whatever_the_cpu_has(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(torch.backends.mps, "is_available", lambda: True)
    machine.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert fastest_precision("auto") == fastest_precision("mps") == "32-true"
    assert fastest_precision("cpu") == "bf16-mixed"


def test_auto_is_settled_before_it_is_written_down_and_what_was_chosen_stays(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    for given, settled in (("auto", "bf16-mixed"), ("32-true", "32-true"), (None, None)):
        node = {"accelerator": "cpu", "precision": given, "devices": 1}
        settle(node)
        assert node == {"accelerator": "cpu", "precision": settled, "devices": 1}


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Eight cores, nothing said in the environment; threads are written down instead of set."""
    threads = [99]
    monkeypatch.setattr(performance, "cores", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: threads.__setitem__(0, count))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[0])
    monkeypatch.setenv("OMP_NUM_THREADS", "0")
    monkeypatch.delenv("OMP_NUM_THREADS")  # so that what a test sets is taken back
    return monkeypatch


@pytest.mark.parametrize(
    ("ranks", "workers", "threads"), [(1, 0, 8), (1, 2, 6), (2, 0, 4), (2, 1, 3), (3, 0, 2), (1, 12, 1), (16, 0, 1)]
)
def test_ranks_and_workers_share_the_cores(
    ranks: int, workers: int, threads: int, eight_cores: pytest.MonkeyPatch
) -> None:
    assert use_threads(ranks, workers) == threads
    assert ranks * (threads + workers) <= 8 or threads == 1


def test_the_other_ranks_are_told_and_a_lone_process_leaves_the_environment_alone(
    eight_cores: pytest.MonkeyPatch,
) -> None:
    import os

    use_threads(1, 2)
    assert "OMP_NUM_THREADS" not in os.environ
    use_threads(2, 1)
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_what_the_user_set_stays(eight_cores: pytest.MonkeyPatch) -> None:
    eight_cores.setenv("OMP_NUM_THREADS", "5")
    assert use_threads(2, 3) == 99  # untouched: torch has read the variable itself


@pytest.mark.parametrize(
    ("quota", "share"), [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8), ("?", 8)]
)
def test_cores_are_those_of_the_affinity_and_the_containers_quota(
    quota: str, share: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    monkeypatch.setattr(performance, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert cores() == share


def test_peak_memory_grows_with_what_was_held() -> None:
    before = peak_memory(torch.device("cpu"))
    held = torch.ones(before // 4 + 25_000_000)  # 100 MB more than the peak so far, in float32
    after = peak_memory(torch.device("cpu"))
    del held
    assert after - before > 90e6
    assert peak_memory(torch.device("cpu")) - before > 90e6  # what has been stays


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU here")
def test_on_a_gpu_it_is_the_memory_of_tensors() -> None:
    device = torch.device("cuda:0")
    before = peak_memory(device)
    held = torch.ones(before // 4 + 25_000_000, device=device)
    assert peak_memory(device) - before > 90e6
    del held

from __future__ import annotations

import pytest

from nvc_engines import GPUS, gpu_for_backend, gpu_from_device, gpu_named
from nvc_errors import UsageError


def test_the_table_is_consistent() -> None:
    for name, gpu in GPUS.items():
        assert gpu.name == name
        assert name == name.lower()
        assert gpu.sm in {75, 80, 86, 87, 89, 90, 100, 120, 121}
        assert "tensorrt" in gpu.backends
        assert ("tensorrt-rtx" in gpu.backends) == (gpu.sm in {75, 80, 86, 89, 120, 121})
        assert gpu.note
    assert len({gpu.display_name for gpu in GPUS.values()}) == len(GPUS)


@pytest.mark.parametrize(
    ("name", "sm"),
    [
        *((name, 75) for name in ("rtx2070", "rtx2080", "t4")),
        *((name, 86) for name in ("rtx3050", "rtx3060", "rtx3080", "rtx3090", "a10", "a40")),
        *((name, 89) for name in ("rtx4060", "rtx4070", "rtx4080", "rtx4090", "l4", "l40")),
        *((name, 120) for name in ("rtx5070", "rtx5080", "rtx5090")),
        ("a100", 80),
        ("h100", 90),
        ("h200", 90),
        ("b200", 100),
        ("gb10", 121),
    ],
)
def test_compute_capabilities(name: str, sm: int) -> None:
    gpu = gpu_named(name)
    assert gpu.sm == sm
    assert gpu.capability == (sm // 10, sm % 10)


@pytest.mark.parametrize("name", ["RTX 2080", "rtx_2080", "Rtx-2080", "rtx2080"])
def test_spelling_does_not_matter(name: str) -> None:
    assert gpu_named(name).name == "rtx2080"


def test_an_unknown_gpu_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean 'rtx4090'"):
        gpu_named("rtx409")


def test_a_gpu_without_a_target_names_the_backend_that_has_one() -> None:
    assert gpu_for_backend("h100", "tensorrt").sm == 90
    with pytest.raises(UsageError, match="use tensorrt:h100"):
        gpu_for_backend("h100", "tensorrt-rtx")


@pytest.mark.parametrize(
    ("device", "capability", "name"),
    [
        ("NVIDIA GeForce RTX 2080", (7, 5), "rtx2080"),
        ("NVIDIA GeForce RTX 2080 Ti", (7, 5), "rtx2080ti"),
        ("NVIDIA GeForce RTX 3080 Laptop GPU", (8, 6), "rtx3080"),
        ("NVIDIA A100-SXM4-80GB", (8, 0), "a100"),
        ("NVIDIA A10", (8, 6), "a10"),
        ("NVIDIA L40S", (8, 9), "l40s"),
        ("NVIDIA H100 80GB HBM3", (9, 0), "h100"),
        ("NVIDIA H200", (9, 0), "h200"),
        ("NVIDIA RTX A6000", (8, 6), "a10"),
    ],
)
def test_a_device_is_found_in_the_table(
    device: str, capability: tuple[int, int], name: str
) -> None:
    gpu = gpu_from_device(device, capability)
    assert gpu is not None
    assert gpu.name == name


def test_an_unknown_capability_has_no_row() -> None:
    assert gpu_from_device("NVIDIA Tesla V100", (7, 0)) is None

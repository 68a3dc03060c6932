"""Pruning: groups that hold together, budgets that are met, checkpoints that rebuild the codec."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("torch_pruning", reason="needs nvc[export]")

from tiny_codec import TINY, TINY_OF_EVERY_FAMILY, random_codec
from torch import Tensor, nn
from training_clips import make_material

from nvc_errors import UsageError
from nvc_export.cli.main import run
from nvc_export.complexity import PAPER, complexity_from_codec
from nvc_export.pruning.budget import (
    CostModel,
    budget_from_text,
    channels_for_budget,
    convolutions_of,
    full_cost,
    paper_budget,
)
from nvc_export.pruning.dependencies import Subpixel, dependency_groups
from nvc_export.pruning.importance import Sampling, accumulate_gradients
from nvc_export.pruning.pruner import figures_of, prune_codec
from nvc_export.pruning.recovery import Recovery, recover, save_pruned
from nvc_export.pruning.trace import Prunable
from nvc_export.training_material import read_frames
from nvc_models.families import graphs_from_model
from nvc_models.swift.config import SWIFT_S
from nvc_models.tian2023 import Tian2023, preset
from nvc_models.training.data import PackedClips, pack
from nvc_models.training.stage import Stage
from nvc_models.training.trainer import load_model

SAMPLING = Sampling(batches=1, batch=1, crop=64)
USUAL = {"intra": "macs=85%", "inter": "macs=85%"}
BUDGETS = {"tiny-swift": {"intra": "macs=95%", "inter": "decoder_parameters=95%"}}
"""Budgets that are not the usual: most that a tiny swift codec computes with are fixed matrices."""
FIXED = 2 * 128 * 64 * 4
"""Numbers of the two fixed matrices of a swift codec's filter."""
STAGE = Stage("recovery", "joint", 2, 1, 2, 64, 1e-3, rounding="hard")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    pack(*make_material(folder), folder / "cache", read=read_frames)
    return folder / "cache"


@pytest.fixture(params=sorted(TINY))
def codec(request: pytest.FixtureRequest) -> Tian2023:
    model = random_codec(TINY[request.param], seed=3)
    assert isinstance(model, Tian2023)
    return model.eval()


@pytest.fixture(params=sorted(TINY_OF_EVERY_FAMILY))
def any_codec(request: pytest.FixtureRequest) -> Prunable:
    model: Prunable = random_codec(TINY_OF_EVERY_FAMILY[request.param], seed=3)
    return model.eval()


@torch.no_grad()
def decoded(codec: Prunable) -> list[Tensor]:
    """An intra frame and two inter frames, the second after a predicted one."""
    generator = torch.Generator().manual_seed(4)
    frames = [torch.rand(1, 3, 64, 64, generator=generator) for _ in range(3)]
    quality = torch.tensor([40.0])
    intra = codec.intra(frames[0], quality, rounding="hard")
    reference, found = codec.inter.reference_from_intra(intra.frame), [intra.frame]
    for frame in frames[1:]:
        result = codec.inter(frame, reference, quality, rounding="hard")
        reference = result.reference
        found.append(result.frame)
    return found


def silence(codec: Prunable) -> dict[str, list[int]]:
    """Set to zero whatever reads every other channel of a group; return these channels."""
    dead: dict[str, list[int]] = {}
    with dependency_groups(codec) as groups:
        assert len(groups) > 30
        for group in groups:
            dead[group.name] = list(range(1, group.size, 2))
            for item in group.handle:
                layer = item.dep.target.module
                conv = layer.conv if isinstance(layer, Subpixel) else layer
                reads = item.dep.handler.__name__.endswith("in_channels")
                if not (isinstance(conv, nn.Conv2d) and conv.groups == 1 and reads):
                    continue
                pairs = zip(item.idxs, item.root_idxs, strict=True)
                conv.weight.data[:, [i for i, root in pairs if root % 2]] = 0.0
    return dead


def test_channels_that_nobody_reads_go_without_a_trace(any_codec: Prunable) -> None:
    codec = any_codec
    names = [name for name, _ in codec.named_modules()]
    dead = silence(codec)
    expected, before = decoded(codec), figures_of(codec)
    with dependency_groups(codec) as groups:
        for group in groups:
            if dead[group.name]:
                group.handle.prune(idxs=dead[group.name])
    assert [name for name, _ in codec.named_modules()] == names
    for found, frame in zip(decoded(codec), expected, strict=True):
        torch.testing.assert_close(found, frame, rtol=0, atol=2e-5)
    for program, figures in figures_of(codec).items():
        # Of a tiny swift, most layers stay.
        share, fixed = (0.75, 0) if isinstance(codec, Tian2023) else (0.9, FIXED)
        left, all_of_them = figures["decoder_parameters"], before[program]["decoder_parameters"]
        assert left - fixed < share * (all_of_them - fixed)


def test_a_budget_is_met_and_the_checkpoint_rebuilds_the_codec(
    any_codec: Prunable, cache: Path, tmp_path: Path
) -> None:
    codec = any_codec
    full, gains = figures_of(codec), codec.inter.encode_gain.log_gain.shape
    accumulate_gradients(codec, PackedClips(cache), SAMPLING)
    texts = BUDGETS.get(codec.config.name, USUAL)
    budgets = {name: budget_from_text(text, full[name]) for name, text in texts.items()}
    reports = prune_codec(codec, budgets, multiple=1)
    assert {report.program for report in reports} == set(full)
    for report in reports:
        assert list(report.errors()) == [texts[report.program].partition("=")[0]]
        assert all(abs(error) < 0.02 for error in report.errors().values())
        assert report.before == full[report.program]
        assert report.after == figures_of(codec)[report.program]
    assert codec.config.channels
    assert codec.inter.encode_gain.log_gain.shape == gains
    assert codec.config.name.endswith("-pruned")
    save_pruned(tmp_path / "pruned.safetensors", codec, seed=1)
    again = load_model(tmp_path / "pruned.safetensors")
    assert isinstance(again, type(codec))
    for found, frame in zip(decoded(again), decoded(codec.eval()), strict=True):
        torch.testing.assert_close(found, frame, rtol=0, atol=0)


def test_a_program_without_a_budget_stays(codec: Tian2023, cache: Path) -> None:
    full = figures_of(codec)
    accumulate_gradients(codec, PackedClips(cache), SAMPLING)
    prune_codec(codec, {"inter": budget_from_text("macs=60%", full["inter"])}, multiple=1)
    now = figures_of(codec)
    # The intra decoder ends with the layer that makes the inter model's feature.
    assert now["intra"]["macs"] > 0.95 * full["intra"]["macs"]
    assert now["inter"]["macs"] < 0.65 * full["inter"]["macs"]


def test_the_channels_that_matter_least_for_their_cost_go(codec: Tian2023) -> None:
    for layer in codec.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.grad = torch.ones_like(layer.weight)
            layer.weight.data.fill_(1.0)
    level = codec.inter.flow.levels[3]
    first, second = level[0], level[2]  # type: ignore[index]
    size = first.out_channels
    first.weight.data[1:-1] = 1e-6
    second.weight.data[:, 1:-1] = 1e-6
    full = figures_of(codec)
    prune_codec(codec, {"inter": budget_from_text("macs=95%", full["inter"])}, multiple=1)
    assert 2 <= first.out_channels < size
    assert int((first.weight[:, 0, 0, 0] == 1.0).sum()) == 2
    assert int((second.weight[0, :, 0, 0] == 1.0).sum()) == 2


def test_recovery_repeats_and_teaches(cache: Path) -> None:
    codec, data = random_codec(TINY["tiny-separable"], seed=3), PackedClips(cache)
    assert isinstance(codec, Tian2023)
    start = deepcopy(codec.state_dict())
    runs = [
        recover(deepcopy(codec), data, Recovery(STAGE, weight), teacher=deepcopy(codec))
        for weight in (0.0, 0.0, 5.0)
    ]
    first, second, taught = (list(model.state_dict().values()) for model in runs)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, start.values(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, taught, strict=True))


@pytest.mark.parametrize("program", sorted(PAPER))
def test_the_paper_s_budget_is_within_reach_of_full(program: str) -> None:
    codec = Tian2023(preset("full"))
    costs = {cost.name: cost for cost in complexity_from_codec(graphs_from_model(codec))}
    with dependency_groups(codec) as groups:
        pass
    model = CostModel(convolutions_of(codec), costs[program], groups)
    assert full_cost(model)["macs"] == pytest.approx(costs[program].macs_per_pixel * 1280 * 768)
    budget = paper_budget(program)
    cost = model.cost(channels_for_budget(model, budget, {}, multiple=8))
    for name, limit in budget.limits.items():
        assert cost[name] == pytest.approx(limit, rel=0.03), name


def test_the_preset_has_the_paper_s_cost() -> None:
    for program, figures in figures_of(Tian2023(preset("paper"))).items():
        for name, limit in paper_budget(program).limits.items():
            assert figures[name] == pytest.approx(limit, rel=0.03), (program, name)


def test_configurations_keep_their_form() -> None:
    """Checkpoints from before pruning compare equal to what their presets write now."""
    for name in ("lite", "full"):
        data = preset(name).to_json()
        assert "channels" not in data
        assert "synthesis_widths" not in data["intra"]
    assert "channels" not in SWIFT_S.to_json()
    pruned = replace(SWIFT_S, channels={"inter.context.down": (96, 40)})
    for config in (*TINY.values(), preset("paper"), SWIFT_S, pruned):
        assert type(config).from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("macs", "not of the form"),
        ("speed=3", "not of the form"),
        ("macs=3T", "not of the form"),
        ("macs=0", "below"),
        ("parameters=130%", "below"),
    ],
)
def test_wrong_budgets_are_told(text: str, reason: str) -> None:
    full = {"macs": 1e9, "parameters": 1e6, "decoder_macs": 5e8, "decoder_parameters": 5e5}
    with pytest.raises(UsageError, match=reason):
        budget_from_text(text, full)
    assert budget_from_text("macs=0.5G, decoder_parameters=50%", full).limits == {
        "macs": 5e8,
        "decoder_parameters": 2.5e5,
    }


@pytest.mark.parametrize("name", ["tiny-separable", "tiny-swift"])
def test_the_command_prunes(
    name: str, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codec = random_codec(TINY_OF_EVERY_FAMILY[name], seed=3)
    save_pruned(tmp_path / "large.safetensors", codec, seed=1)
    output = tmp_path / "small.safetensors"
    command = ["prune", "--checkpoint", str(tmp_path / "large.safetensors"), "--data", str(cache)]
    command += ["--batches", "1", "--batch", "1", "--crop", "64", "-o", str(output)]
    few = ["--inter", BUDGETS.get(name, USUAL)["inter"], "--multiple", "1"]
    assert run([*command, *few, "--recover-steps", "1", "--distill", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [p["program"] for p in report["programs"]] == ["inter"]
    (error,) = report["programs"][0]["errors"].values()
    assert abs(error) < 0.02
    assert isinstance(load_model(output), type(codec))
    assert run([*command, *few]) == 2
    assert "exists" in capsys.readouterr().err
    assert run([*command, "-y"]) == 2
    assert "give a budget" in capsys.readouterr().err
    assert run([*command, "-y", "--paper", *few]) == 2
    capsys.readouterr()
    command[-1] = str(tmp_path / "tiny.safetensors")
    assert run([*command, "--inter", "macs=1%", "--multiple", "1"]) == 2
    assert "inter program cannot be pruned to macs of" in capsys.readouterr().err
    assert not (tmp_path / "tiny.safetensors").exists()


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--learning-rate", "-1", "learning_rate is -1.0, expected a number above 0"),
        ("--learning-rate", "0", "learning_rate is 0.0"),
        ("--distill", "-1", "--distill is -1, expected a number of 0 or more"),
        ("--crop", "65", "crop is 65, expected a multiple of 64"),
    ],
)
def test_what_fine_tuning_refuses_is_told_before_anything_is_done(
    option: str, value: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["prune", "--preset", "lite", "--data", "none", "--intra", "macs=70%"]
    command += ["--recover-steps", "1", option, value, "-o", str(tmp_path / "x")]
    assert run(command) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "code", "says"),
    [("none/small.safetensors", 1, "there is no folder"), ("", 2, "is a folder")],
)
def test_an_output_that_cannot_be_written_is_told_before_anything_is_done(
    output: str, code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["prune", "--preset", "lite", "--data", "none", "--intra", "macs=70%"]
    assert run([*command, "-o", str(tmp_path / output)]) == code
    assert says in capsys.readouterr().err

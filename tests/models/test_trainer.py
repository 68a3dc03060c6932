"""Training: exact resumption, wherever a run is broken off; what is trained; what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_codec import TINY, TINY_OF_EVERY_FAMILY, TINY_SWIFT, random_codec
from training_clips import make_cache

from nvc_errors import DamagedInputError, OutputError, UsageError
from nvc_models.families import FAMILIES
from nvc_models.swift import config as swift_presets
from nvc_models.tian2023 import Tian2023
from nvc_models.tian2023 import config as presets
from nvc_models.training import checkpoint as ckpt
from nvc_models.training import trainer as module
from nvc_models.training.data import BatchShape, PackedClips
from nvc_models.training.schedule import Schedule
from nvc_models.training.stage import Stage
from nvc_models.training.task import Task
from nvc_models.training.trainer import LOG_FILE, STATE_FILE, Trainer, TrainOptions, load_model

TIMES = {"hours", "step_s", "images_per_s"}


def stage(task: str, steps: int = 3, **changes: Any) -> Stage:
    frames = 1 if task == "intra" else 2
    first = Stage(f"{task}-stage", task, steps, 1, frames, 64, 1e-3, warmup_steps=2, ema=0.9)
    return replace(first, **changes)


SCHEDULE = Schedule("tiny-separable", 3, (stage("intra"), stage("joint", rounding="hard")))
STEPS_IN_ALL = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PackedClips:
    return PackedClips(make_cache(tmp_path_factory.mktemp("data")))


@pytest.fixture(autouse=True)
def tiny_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, config in TINY.items():
        monkeypatch.setitem(presets.PRESETS, name, config)
    monkeypatch.setitem(swift_presets.PRESETS, TINY_SWIFT.name, TINY_SWIFT)
    monkeypatch.setattr(module, "START_SHAPE", BatchShape(4, 2, 64))
    monkeypatch.setattr(module, "START_BATCHES", 2)


def make(folder: Path, data: PackedClips, schedule: Schedule = SCHEDULE, **options: Any) -> Trainer:
    settings = {"log_every": 1, "keep_freed_memory": False} | options
    on_log = settings.pop("on_log", lambda _: None)
    return Trainer(schedule, data, TrainOptions(folder, **settings), on_log=on_log)


def log_of(folder: Path) -> list[dict[str, Any]]:
    """Every figure of the log but those that clocks decide."""
    lines = [json.loads(line) for line in (folder / LOG_FILE).read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def assert_same_state(a: Path, b: Path) -> None:
    """Compare everything two checkpoints hold, bit by bit."""
    first, second = ckpt.load(a / STATE_FILE), ckpt.load(b / STATE_FILE)
    assert first.tensors.keys() == second.tensors.keys()
    different = [k for k, v in first.tensors.items() if not torch.equal(v, second.tensors[k])]
    assert different == []
    for metadata in (first.metadata, second.metadata):
        del metadata["elapsed_s"]
    assert first.metadata == second.metadata


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: PackedClips) -> Path:
    """Folder of a run in one go."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "tiny-separable", TINY["tiny-separable"])
        patch.setattr(module, "START_SHAPE", BatchShape(4, 2, 64))
        patch.setattr(module, "START_BATCHES", 2)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        make(folder, data).run()
        torch.set_num_threads(threads)
    return folder


def test_a_run_logs_every_step(whole: Path) -> None:
    log = log_of(whole)
    assert [line["total_steps"] for line in log] == list(range(1, STEPS_IN_ALL + 1))
    assert [line["stage"] for line in log] == ["intra-stage"] * 3 + ["joint-stage"] * 3
    assert all(line["loss"] > 0 for line in log)


@pytest.mark.parametrize("first", [2, 3, 4], ids=["in a stage", "between stages", "in the second"])
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, data: PackedClips, whole: Path, first: int
) -> None:
    stopped = make(tmp_path, data, stop_after_steps=first)
    stopped.run()
    assert (stopped.total_steps, stopped.finished) == (first, False)
    resumed = make(tmp_path, data)
    resumed.resume()
    assert resumed.total_steps == first
    resumed.run()
    assert resumed.finished
    assert log_of(tmp_path) == log_of(whole)
    assert_same_state(tmp_path, whole)


class Killed(BaseException):
    """What a kill looks like from within."""


def test_a_killed_run_goes_on_from_its_last_checkpoint(
    tmp_path: Path, data: PackedClips, whole: Path
) -> None:
    def kill(line: dict[str, Any]) -> None:
        if line["total_steps"] == 5:
            raise Killed

    with pytest.raises(Killed):
        make(tmp_path, data, save_every_s=-1.0, on_log=kill).run()
    with (tmp_path / LOG_FILE).open("a") as file:
        file.write('{"stage": "joint-st')
    assert ckpt.load(tmp_path / STATE_FILE).metadata["total_steps"] == 4
    resumed = make(tmp_path, data)
    resumed.resume()
    resumed.run()
    assert log_of(tmp_path) == log_of(whole)
    assert_same_state(tmp_path, whole)


def test_a_requested_stop_saves_after_the_current_step(
    tmp_path: Path, data: PackedClips, whole: Path
) -> None:
    trainer = make(tmp_path, data, on_log=lambda _: trainer.request_stop())
    trainer.run()
    assert trainer.total_steps == 1
    assert log_of(tmp_path) == log_of(whole)[:1]
    assert ckpt.load(tmp_path / STATE_FILE).metadata["total_steps"] == 1


def test_a_finished_run_has_nothing_left_to_do(
    tmp_path: Path, data: PackedClips, whole: Path
) -> None:
    trainer = make(tmp_path, data)
    trainer.resume(whole / STATE_FILE)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.run()
    assert trainer.finished
    assert all(torch.equal(v, before[k]) for k, v in trainer.model.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 4}, "seed 3, not 4"),
        ({"preset": "tiny-conv"}, "'tiny-separable', not 'tiny-conv'"),
    ],
)
def test_a_state_of_another_run_is_refused(
    tmp_path: Path, data: PackedClips, whole: Path, changes: dict[str, Any], message: str
) -> None:
    trainer = make(tmp_path, data, replace(SCHEDULE, **changes))
    with pytest.raises(UsageError, match=message):
        trainer.resume(whole / STATE_FILE)


def test_a_state_of_other_widths_is_refused(
    tmp_path: Path, data: PackedClips, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TINY["tiny-separable"]
    wider = replace(config, intra=replace(config.intra, hyper=5))
    monkeypatch.setitem(presets.PRESETS, "tiny-separable", wider)
    with pytest.raises(UsageError, match="other widths"):
        make(tmp_path, data).resume(whole / STATE_FILE)


def test_a_state_that_names_no_family_is_of_the_first(
    tmp_path: Path, data: PackedClips, whole: Path
) -> None:
    state = ckpt.load(whole / STATE_FILE)
    assert state.metadata["fingerprint"].pop("family") == "tian2023"
    ckpt.save(tmp_path / STATE_FILE, state)
    make(tmp_path, data).resume()
    assert load_model(tmp_path / STATE_FILE).config == TINY["tiny-separable"]


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on one CPU
def test_processes_that_prepare_batches_change_nothing(
    tmp_path: Path, data: PackedClips, whole: Path
) -> None:
    make(tmp_path, data, workers=2).run()
    assert log_of(tmp_path) == log_of(whole)
    assert_same_state(tmp_path, whole)


def test_a_swift_codec_is_trained_and_loaded(tmp_path: Path, data: PackedClips) -> None:
    stages = (stage("intra"), stage("inter", frames=3), stage("joint", intra_weight=0.2))
    make(tmp_path, data, Schedule(TINY_SWIFT.name, 3, stages)).run()
    assert [line["stage"] for line in log_of(tmp_path)][::3] == [s.name for s in stages]
    assert load_model(tmp_path / STATE_FILE).config == TINY_SWIFT


def test_what_writes_pictures_can_stay_while_the_entropy_model_learns(
    tmp_path: Path, data: PackedClips
) -> None:
    steps = 3
    trainer = make(
        tmp_path,
        data,
        Schedule(TINY_SWIFT.name, 3, (stage("joint", steps, picture_rate=0.0),)),
        stop_after_steps=steps,
    )
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.run()
    changed = {k for k, v in trainer.model.state_dict().items() if not torch.equal(v, before[k])}
    pictures = trainer.family.tasks["joint"].pictures(trainer.model)
    fixed = {id(p) for part in pictures for p in part.parameters()}
    names = {k: id(p) in fixed for k, p in trainer.model.named_parameters()}
    assert not any(names[k] for k in changed)
    assert {"inter.latent.heads.0.bias", "intra.latent.scale.base.bias"} <= changed


@pytest.mark.parametrize("lost", ["fingerprint", "step", "elapsed_s", "weights"])
def test_an_incomplete_state_is_damaged(
    tmp_path: Path, data: PackedClips, whole: Path, lost: str
) -> None:
    state = ckpt.load(whole / STATE_FILE)
    if lost == "weights":
        name = next(k for k in state.tensors if k.startswith("model."))
        del state.tensors[name]
    else:
        del state.metadata[lost]
    ckpt.save(tmp_path / STATE_FILE, state)
    with pytest.raises(DamagedInputError, match=STATE_FILE):
        make(tmp_path, data).resume()


def test_a_run_in_an_impossible_folder_is_an_output_error(
    tmp_path: Path, data: PackedClips
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        make(tmp_path / "file" / "run", data).run()


TASKS = [
    pytest.param(family.tasks[task], task, preset, id=f"{preset} {task}")
    for family, presets_of_family in (
        (FAMILIES["tian2023"], TINY),
        (FAMILIES["swift"], [TINY_SWIFT.name]),
    )
    for preset in sorted(presets_of_family)
    for task in family.tasks
]


@pytest.mark.parametrize(("task", "task_name", "name"), TASKS)
def test_every_task_gives_gradients_to_what_it_trains_and_nothing_else(
    data: PackedClips, task: Task, task_name: str, name: str
) -> None:
    model = random_codec(TINY_OF_EVERY_FAMILY[name]).train()
    trained = {id(p) for p in task.parameters(model)}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    frames = module.SequenceSampler(data, photo_share=0.0, seed=1).batch(0, BatchShape(2, 2, 64))
    result = task.step(model, frames, stage(task_name))
    result.loss.backward()
    touched = {id(p) for p in model.parameters() if p.grad is not None}
    assert touched <= trained
    assert len(touched) > 0.5 * len(trained)
    assert all(isinstance(figure, float) for figure in result.figures.values())


def test_the_averaged_weights_of_a_run_are_loaded(whole: Path) -> None:
    state = ckpt.load(whole / STATE_FILE)
    averaged, last = load_model(whole / STATE_FILE), load_model(whole / STATE_FILE, ema=False)
    assert not averaged.training
    assert averaged.config == TINY["tiny-separable"]
    for section, model in (("ema", averaged), ("model", last)):
        weights = model.state_dict()
        assert all(torch.equal(v, weights[k]) for k, v in state.section(section).items())
    name = "intra.analysis.last.weight"
    assert not torch.equal(averaged.state_dict()[name], last.state_dict()[name])


def test_a_checkpoint_of_something_else_is_no_codec(tmp_path: Path) -> None:
    ckpt.save(tmp_path / "x.safetensors", ckpt.Checkpoint({"model.a": torch.zeros(1)}, {}))
    with pytest.raises(DamagedInputError, match="no codec of a known family"):
        load_model(tmp_path / "x.safetensors")


def test_a_run_can_start_from_the_weights_of_another_preset(
    tmp_path: Path, data: PackedClips, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alike = replace(TINY["tiny-separable"], name="tiny-alike")
    monkeypatch.setitem(presets.PRESETS, alike.name, alike)
    joint = stage("joint", 1, learning_rate=1e-9, final_learning_rate=1e-9)
    trainer = make(tmp_path, data, Schedule(alike.name, 3, (replace(joint, frames=2),)))
    trainer.start_from(whole / STATE_FILE)
    trainer.run()
    averaged = ckpt.load(whole / STATE_FILE).section("ema")
    after = trainer.model.state_dict()
    assert all(torch.allclose(after[k], v, atol=1e-6) for k, v in averaged.items())
    assert trainer.total_steps == 1


def test_weights_that_were_trained_get_no_analytic_start(
    tmp_path: Path, data: PackedClips, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    tasks = FAMILIES["tian2023"].tasks
    task = replace(tasks["intra"], start=lambda *_: bool(started.append("intra")))
    monkeypatch.setitem(tasks, "intra", task)
    schedule = replace(SCHEDULE, stages=SCHEDULE.stages[:1])
    trainer = make(tmp_path / "on", data, schedule, stop_after_steps=1)
    trainer.start_from(whole / STATE_FILE)
    trainer.run()
    assert started == []
    make(tmp_path / "new", data, schedule, stop_after_steps=1).run()
    assert started == ["intra"]


def test_a_pruned_codec_goes_on_with_the_channels_it_has_left(
    tmp_path: Path, data: PackedClips
) -> None:
    config = TINY[SCHEDULE.preset]
    usual = {n: m for n, m in Tian2023(config).named_modules() if isinstance(m, torch.nn.Conv2d)}
    first, second = "intra.latent.hyper_encoder.0", "intra.latent.hyper_encoder.2"
    middle = usual[first].out_channels - 1
    channels = {
        first: (usual[first].in_channels, middle),
        second: (middle, usual[second].out_channels),
    }
    pruned = Tian2023(replace(config, name="pruned", channels=channels))
    start = tmp_path / "pruned.safetensors"
    fingerprint = {"family": "tian2023", "config": pruned.config.to_json()}
    weights = {f"ema.{k}": v for k, v in pruned.state_dict().items()}
    ckpt.save(start, ckpt.Checkpoint(weights, {"fingerprint": fingerprint}))

    trainer = make(tmp_path / "run", data, stop_after_steps=1)
    trainer.start_from(start)
    trainer.run()
    trained = load_model(tmp_path / "run" / STATE_FILE)
    assert trained.config.channels == channels
    trainer = make(tmp_path / "run", data)
    trainer.resume()
    trainer.run()
    assert trainer.total_steps == STEPS_IN_ALL

    broken = replace(config, channels={"intra.no_layer": (1, 1)}).to_json()
    ckpt.save(start, ckpt.Checkpoint(weights, {"fingerprint": {"config": broken}}))
    with pytest.raises(DamagedInputError, match="configuration does not fit"):
        make(tmp_path / "other", data).start_from(start)


def test_weights_of_other_widths_are_no_start(
    tmp_path: Path, data: PackedClips, whole: Path
) -> None:
    other = make(tmp_path, data, replace(SCHEDULE, preset="tiny-conv"))
    with pytest.raises(UsageError, match="does not fit preset 'tiny-conv'"):
        other.start_from(whole / STATE_FILE)

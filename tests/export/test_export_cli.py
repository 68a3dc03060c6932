"""`nvc-export`: exit codes, what is printed where, and a codec from clips to a bundle."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tiny_codec import TINY
from training_clips import make_cache, make_material

from nvc_export import bundle_writer
from nvc_export.cli.main import EXTRA_MODULES, run
from nvc_models.tian2023 import config as presets
from nvc_models.training import trainer as trainer_module
from nvc_models.training.data import BatchShape, PackedClips
from nvc_models.training.schedule import Schedule, Stage
from nvc_models.training.trainer import STATE_FILE, Trainer, TrainOptions

COMMANDS = ("pack-data", "train", "bundle", "prune", "profile")
SCHEDULE = """
preset = "tiny-separable"
[[stage]]
name = "intra"
task = "intra"
steps = 2
batch = 1
frames = 1
crop = 64
learning_rate = 1e-3
"""


@dataclass(frozen=True)
class Outcome:
    """What a run left behind."""

    code: int
    out: str
    err: str

    @property
    def error_line(self) -> str:
        """The only line on standard error."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


RunTool = Callable[..., Outcome]


@pytest.fixture
def nvc(capfd: pytest.CaptureFixture[str]) -> RunTool:
    """Run the tool in this process."""

    def call(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return call


@pytest.fixture(autouse=True)
def tiny_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, config in TINY.items():
        monkeypatch.setitem(presets.PRESETS, name, config)
    monkeypatch.setattr(trainer_module, "START_SHAPE", BatchShape(4, 2, 64))
    monkeypatch.setattr(trainer_module, "START_BATCHES", 1)
    monkeypatch.setattr(trainer_module, "keep_freed_memory", lambda: None)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cache(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """State of a run of one step."""
    stage = Stage("one", "intra", 1, 1, 1, 64, 1e-3)
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "tiny-separable", TINY["tiny-separable"])
        patch.setattr(trainer_module, "START_SHAPE", BatchShape(4, 2, 64))
        patch.setattr(trainer_module, "START_BATCHES", 1)
        options = TrainOptions(folder, keep_freed_memory=False)
        Trainer(Schedule("tiny-separable", 1, (stage,)), PackedClips(cache), options).run()
    return folder / STATE_FILE


@pytest.fixture
def schedule(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(SCHEDULE)
    return path


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"]])
def test_help_imports_no_heavy_library(arguments: list[str]) -> None:
    heavy = ("av", "numpy", "onnx", "onnxruntime", "safetensors", "torch")
    script = (
        "import sys; from nvc_export.cli.main import run\n"
        f"code = run({arguments!r})\n"
        f"print(sorted(set({heavy!r}) & set(sys.modules)), code, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr == "[] 0\n"
    assert done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_is_documented(name: str, nvc: RunTool) -> None:
    outcome = nvc(name, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"Usage: nvc-export {name}")
    document = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    assert f"## {name}" in document
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", outcome.out)) - {"--help"}
    assert [option for option in sorted(options) if f"`{option}" not in document] == []


def test_without_a_command_help_goes_to_stderr(nvc: RunTool) -> None:
    outcome = nvc()
    assert (outcome.code, outcome.out) == (2, "")
    assert "Commands:" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["transmogrify"], 2, "transmogrify"),
        (["train", "--config", "lite"], 2, "--data"),
        (["train", "--config", "none", "--data", "x", "-o", "y"], 2, "lite"),
        (["train", "--config", "lite", "--data", "x", "-o", "y", "--resume"], 2, "resume"),
        (["train", "--config", "lite", "--data", "none", "-o", "y"], 3, "pack"),
        (["train", "--config", "lite", "--data", "x", "-o", "y", "--device", "tpu"], 2, "tpu"),
        (["bundle", "--checkpoint", "none", "--name", "x", "-o", "x.nvcb"], 3, "none"),
        (["bundle", "--checkpoint", "none", "--name", "X", "-o", "x.nvcb"], 2, "'X'"),
        (["bundle", "--checkpoint", "x", "--name", "x", "-o", "no/x.nvcb"], 1, "no folder"),
        (["profile"], 2, "--preset"),
        (["profile", "--preset", "lite", "--checkpoint", "x"], 2, "--preset"),
        (["profile", "--preset", "huge"], 2, "lite"),
        (["profile", "--preset", "lite", "--size", "big"], 2, "1280x768"),
        (["profile", "--checkpoint", "none"], 3, "none"),
        (["pack-data", "--clips", "a", "--photos", "b", "-o", "c"], 3, "manifest.json"),
        (["pack-data", "--clips", "a", "--photos", "b", "-o", "c", "--classes", ","], 2, "A,B"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    code: int,
    named: str,
    nvc: RunTool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = nvc(*arguments)
    assert (outcome.code, outcome.out) == (code, ""), outcome.err
    assert named in outcome.error_line
    assert outcome.error_line.startswith("nvc-export")


@pytest.mark.parametrize("module", EXTRA_MODULES)
def test_a_missing_extra_says_what_to_install(
    module: str, nvc: RunTool, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = {
        "polygraphy": ["bundle", "--checkpoint", checkpoint, "--name", "x", "-o", tmp_path / "x"],
        "torch_pruning": ["prune", "--preset", "lite", "--data", "x", "-o", tmp_path / "x"],
    }.get(module, ["profile", "--preset", "lite"])
    for name in list(sys.modules):
        if name.partition(".")[0] in ("nvc_export", module):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    if module == "polygraphy":
        monkeypatch.setattr("nvc_export.bundle_writer.export_graph", lambda *_: b"")
        command.append("--quiet")
    outcome = nvc(*command)
    assert outcome.code == 2
    assert outcome.error_line.startswith(f"nvc-export: {module}")
    assert 'pip install "nvc[export]"' in outcome.error_line


def test_the_modules_of_the_extra_are_those_that_are_imported() -> None:
    roots = set()
    for path in (Path(__file__).parents[2] / "export").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                roots |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                roots.add((node.module or "").partition(".")[0])
    foreign = {root for root in roots - sys.stdlib_module_names if not root.startswith("nvc_")}
    always = {"numpy", "onnxruntime", "safetensors", "typer"}
    assert foreign - always == set(EXTRA_MODULES)


def test_packing_counts_what_it_packed_and_asks_before_overwriting(
    nvc: RunTool, tmp_path: Path
) -> None:
    clips, photos = make_material(tmp_path)
    arguments = ["pack-data", "--clips", clips, "--photos", photos, "-o", tmp_path / "cache"]
    outcome = nvc(*arguments, "--classes", "A")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err.splitlines()[-1].startswith("1 clips and 1 photographs, 6 frames")
    assert nvc(*arguments).code == 2
    again = nvc(*arguments, "-y", "--quiet")
    assert (again.code, again.err) == (0, "")
    assert len(PackedClips(tmp_path / "cache").clips) == 2


def test_training_stops_resumes_and_finishes(
    nvc: RunTool, schedule: Path, cache: Path, tmp_path: Path
) -> None:
    arguments = ["train", "--config", schedule, "--data", cache, "-o", tmp_path / "run"]
    first = nvc(*arguments, "--stop-after-steps", 1)
    assert (first.code, first.out) == (0, "")
    assert "stopped after 1 steps" in first.err
    refused = nvc(*arguments)
    assert refused.code == 2
    assert "--resume" in refused.error_line
    second = nvc(*arguments, "--resume", "--workers", 1)
    assert second.code == 0
    assert "resuming after 1 steps" in second.err
    assert "intra 2/2: loss " in second.err
    assert "finished after 2 steps" in second.err.splitlines()[-1]


def test_training_starts_from_the_weights_of_another_run(
    nvc: RunTool, schedule: Path, cache: Path, tmp_path: Path
) -> None:
    arguments = ["train", "--config", schedule, "--data", cache, "-o"]
    assert nvc(*arguments, tmp_path / "first").code == 0
    start = ("--start-from", tmp_path / "first" / "state.safetensors")
    second = nvc(*arguments, tmp_path / "second", *start)
    assert second.code == 0
    assert "finished after 2 steps" in second.err.splitlines()[-1]
    refused = nvc(*arguments, tmp_path / "second", *start, "--resume")
    assert refused.code == 2
    assert "leave out --start-from" in refused.error_line
    assert nvc(*arguments, tmp_path / "third", "--start-from", tmp_path / "none").code == 3


def test_training_on_a_gpu_that_is_not_there_exits_with_5(
    nvc: RunTool, schedule: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    outcome = nvc(
        *("train", "--config", schedule, "--data", cache, "-o", tmp_path / "r", "--device", "cuda")
    )
    assert outcome.code == 5
    assert "--device cpu" in outcome.error_line


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_a_signal_saves_before_the_tool_leaves(
    cache: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    path = tmp_path / "long.toml"
    path.write_text(SCHEDULE.replace("steps = 2", "steps = 1000000"))
    script = (
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1] / 'support')!r})\n"
        "import torch; torch.set_num_threads(1)\n"
        "from tiny_codec import TINY\n"
        "from nvc_models.tian2023 import config\n"
        "from nvc_models.training import trainer\n"
        "from nvc_models.training.data import BatchShape\n"
        "config.PRESETS.update(TINY)\n"
        "trainer.START_SHAPE, trainer.START_BATCHES = BatchShape(4, 2, 64), 1\n"
        "from nvc_export.cli.main import main; main()"
    )
    arguments = ["train", "--config", path, "--data", cache, "-o", tmp_path / "run"]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ, OMP_NUM_THREADS="1"),
    )
    log = tmp_path / "run" / trainer_module.LOG_FILE
    try:
        deadline = time.monotonic() + 120
        while not log.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, err
    assert "Traceback" not in err
    state = trainer_module.ckpt.load(tmp_path / "run" / STATE_FILE)
    assert state.metadata["total_steps"] >= 20


def test_a_bundle_is_made_of_a_checkpoint(
    nvc: RunTool, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {}

    def remember(codec: Any, options: Any, path: Path, **_: Any) -> Path:
        told.update(codec=codec, options=options)
        return path

    class Stub:
        digest = b"\x12" * 32

    card = tmp_path / "card.json"
    card.write_text('{"licence": "CC0"}')
    monkeypatch.setattr(bundle_writer, "bundle_from_codec", remember)
    monkeypatch.setattr("nvc_runtime.bundle.Bundle", lambda _: Stub)
    path = tmp_path / "x.nvcb"
    arguments = ["bundle", "--checkpoint", checkpoint, "--name", "tiny", "-o", path]
    outcome = nvc(*arguments, "--card", card, "--keyint", 8, "--epsilon", 0.002)
    assert outcome.code == 0, outcome.err
    assert outcome.out == f"{'12' * 32}  {path}\n"
    options = told["options"]
    assert (options.name, options.defaults.keyint, options.defaults.epsilon) == ("tiny", 8, 0.002)
    assert options.card == {"licence": "CC0"}
    weights = [p for g in told["codec"].graphs for p in g.module.parameters()]
    assert all((w == w.half().float()).all() for w in weights)


@pytest.mark.parametrize(
    ("text", "named"), [(None, "cannot be read"), ("{", "no JSON"), ("[]", "found list")]
)
def test_a_bad_card_is_a_usage_error(
    nvc: RunTool, checkpoint: Path, tmp_path: Path, text: str | None, named: str
) -> None:
    card = tmp_path / "card.json"
    if text is not None:
        card.write_text(text)
    path = tmp_path / "x.nvcb"
    outcome = nvc(
        *("bundle", "--checkpoint", checkpoint, "--name", "x", "-o", path, "--card", card)
    )
    assert outcome.code == 2
    assert named in outcome.error_line


def test_a_profile_shows_encoder_and_decoder_beside_the_paper(nvc: RunTool) -> None:
    outcome = nvc("profile", "--preset", "tiny-separable", "--size", "100x60")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("tiny-separable, 100x60, 8192 pixels")
    assert outcome.out.count("paper, 1280x768") == 2
    assert "252.60" in outcome.out


def test_a_profile_as_json(nvc: RunTool, checkpoint: Path) -> None:
    outcome = nvc("profile", "--checkpoint", checkpoint, "--size", "100x60", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    data = json.loads(outcome.out)
    document = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    assert (data["codec"], data["width"], data["height"]) == ("tiny-separable", 100, 60)
    assert data["padded_pixels"] == 8192
    for program in data["programs"]:
        total = sum(graph["macs"] for graph in program["graphs"])
        assert total == program["macs"] == round(program["macs_per_pixel"] * 8192)
        assert program["decoder"]["macs"] < program["macs"]
        for key in (*data, *program, *program["graphs"][0]):
            assert f"`{key}`" in document

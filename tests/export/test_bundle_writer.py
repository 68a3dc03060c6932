"""Bundles: what is written parses, is the same every time, and never takes the place of more."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from block_codec import block_files
from exported_codec import Exported

from nvc_errors import OutputError, UsageError
from nvc_export import bundle_writer
from nvc_export.bundle_writer import BundleOptions, bundle_from_codec, round_weights_to_half
from nvc_export.onnx_export import export_graph
from nvc_export.tables import HYPER_RADIUS, factorized_tables
from nvc_models.families import graphs_from_model
from nvc_models.graph import CodecGraph, CodecGraphs
from nvc_models.latent import QUALITIES, FactorizedPrior
from nvc_runtime import Bundle
from nvc_runtime.bundle import Defaults

Export = Callable[[CodecGraphs, CodecGraph, Mapping[str, str]], bytes]


@pytest.fixture
def reuse(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Take all graphs but the named ones from the bundle there is, to save minutes."""

    def install(*fresh: str) -> None:
        def export(codec: CodecGraphs, graph: CodecGraph, metadata: Mapping[str, str]) -> bytes:
            if graph.name in fresh:
                return export_graph(codec, graph, metadata)
            return exported.bundle.graph(graph.name).onnx

        monkeypatch.setattr(bundle_writer, "export_graph", export)

    return install


def test_a_bundle_says_what_it_was_given(exported: Exported) -> None:
    manifest, codec = exported.bundle.manifest, exported.codec
    assert (manifest.name, manifest.family) == (exported.options.name, codec.family)
    assert manifest.alignment == codec.alignment == 64
    assert manifest.qualities == QUALITIES
    assert asdict(manifest.defaults) == asdict(exported.options.defaults)
    assert set(manifest.graphs) == {graph.name for graph in codec.graphs}
    assert set(manifest.tables) == {*codec.shapes, *codec.factorized}
    assert manifest.sync is not None
    for name, table in codec.quality_vectors.items():
        for quality in (0, 31, 63):
            row = exported.bundle.quality_vector(name, quality)
            np.testing.assert_array_equal(row.reshape(-1), table[quality].numpy())


def test_only_encoder_graphs_may_read_the_source(exported: Exported) -> None:
    for program in ("intra", "inter"):
        for step in exported.codec.programs[program]["steps"]:
            if "run" in step and "frame" in exported.bundle.manifest.graphs[step["run"]].inputs:
                assert step["side"] == "encode"


def test_a_decoder_runs_no_more_graphs_than_coding_points_ask_for(exported: Exported) -> None:
    """The graphs of coding points that need no other in between are merged."""
    for name in ("intra", "inter"):
        steps = exported.codec.programs[name]["steps"]
        both = [step for step in steps if "side" not in step]
        assert all(("run" in a) != ("run" in b) for a, b in pairwise(both) if "run" in a)
        assert sum("run" in step for step in both) <= sum("code" in step for step in both)


def test_two_exports_give_the_same_bytes(
    exported: Exported, reuse: Callable[..., None], tmp_path: Path
) -> None:
    reuse("intra_prior", "intra_quantize_0")
    path = bundle_from_codec(exported.codec, exported.options, tmp_path / "again.nvcb")
    assert path.read_bytes() == exported.bundle.path.read_bytes()


def test_a_folder_is_the_same_bundle_as_an_archive(
    exported: Exported, reuse: Callable[..., None], tmp_path: Path
) -> None:
    reuse()
    folder = bundle_from_codec(exported.codec, exported.options, tmp_path / "folder")
    assert folder.is_dir()
    assert Bundle(folder).digest == exported.bundle.digest
    with zipfile.ZipFile(exported.bundle.path) as archive:
        names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
        assert set(archive.namelist()) == names
        assert archive.namelist() == sorted(archive.namelist())


def test_the_digest_is_that_of_weights_and_options(
    exported: Exported, reuse: Callable[..., None], tmp_path: Path
) -> None:
    reuse("intra_spatial")
    digests = {exported.bundle.digest}
    model = deepcopy(exported.model)
    with torch.no_grad():
        weight = next(model.intra.latent.spatial.parameters())
        weight.view(-1)[0] += 1e-3
    variants = [
        (graphs_from_model(model), exported.options),
        (exported.codec, replace(exported.options, name="other")),
        (exported.codec, replace(exported.options, card={"licence": "some"})),
    ]
    for number, (codec, options) in enumerate(variants):
        path = bundle_from_codec(codec, options, tmp_path / f"{number}.nvcb")
        digests.add(Bundle(path).digest)
    assert len(digests) == 1 + len(variants)


def test_every_byte_is_named_by_the_manifest(exported: Exported) -> None:
    with zipfile.ZipFile(exported.bundle.path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        for name in set(archive.namelist()) - {"manifest.json"}:
            data, entry = archive.read(name), manifest["files"].pop(name)
            assert entry == {
                "sha256": hashlib.sha256(data).hexdigest(),
                "size_bytes": len(data),
            }
    assert manifest["files"] == {}
    assert manifest["card"] == {"licence": "none"}


class ExportedError(AssertionError):
    """Raised if anything is exported although it could not be written."""


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise ExportedError

    monkeypatch.setattr(bundle_writer, "export_graph", fail)


@pytest.mark.usefixtures("no_export")
class TestRefusals:
    """All of them before the first graph is exported."""

    def test_an_existing_file_is_not_overwritten(self, exported: Exported, tmp_path: Path) -> None:
        path = tmp_path / "x.nvcb"
        path.write_bytes(b"precious")
        with pytest.raises(UsageError, match="-y"):
            bundle_from_codec(exported.codec, exported.options, path)
        assert path.read_bytes() == b"precious"

    def test_a_folder_of_other_things_is_never_removed(
        self, exported: Exported, tmp_path: Path
    ) -> None:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "thesis.txt").write_text("precious")
        with pytest.raises(UsageError, match="holds no bundle"):
            bundle_from_codec(exported.codec, exported.options, tmp_path / "home", overwrite=True)
        assert (tmp_path / "home" / "thesis.txt").read_text() == "precious"

    @pytest.mark.parametrize("name", ["x.nvcb", "x"])
    def test_an_archive_and_a_folder_do_not_replace_each_other(
        self, exported: Exported, tmp_path: Path, name: str
    ) -> None:
        path = tmp_path / name
        if name == "x":
            path.write_bytes(b"")
        else:
            path.mkdir()
        with pytest.raises(UsageError, match="kind of bundle"):
            bundle_from_codec(exported.codec, exported.options, path, overwrite=True)

    def test_a_missing_folder_is_an_output_error(self, exported: Exported, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="no folder"):
            bundle_from_codec(exported.codec, exported.options, tmp_path / "none" / "x.nvcb")

    def test_a_read_only_folder_is_an_output_error(
        self, exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bundle_writer.os, "access", lambda *_: False)
        with pytest.raises(OutputError, match="read-only"):
            bundle_from_codec(exported.codec, exported.options, tmp_path / "x.nvcb")


@pytest.mark.parametrize("name", ["x.nvcb", "x"])
def test_overwriting_replaces_the_bundle_and_leaves_nothing_else(
    exported: Exported, reuse: Callable[..., None], tmp_path: Path, name: str
) -> None:
    reuse()
    path = tmp_path / name
    for options in (replace(exported.options, name="first"), exported.options):
        bundle_from_codec(exported.codec, options, path, overwrite=True)
    assert Bundle(path).digest == exported.bundle.digest
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["x.nvcb", "x"])
def test_a_failure_while_writing_leaves_the_old_bundle(
    exported: Exported,
    reuse: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    reuse()
    path = tmp_path / name
    bundle_from_codec(exported.codec, exported.options, path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        bundle_from_codec(
            exported.codec, replace(exported.options, name="new"), path, overwrite=True
        )
    assert Bundle(path).digest == exported.bundle.digest
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_renamed_leaves_the_old_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, files = tmp_path / "x", block_files()
    bundle_writer._write(path, files)
    digest, rename = Bundle(path).digest, Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(OutputError, match="x: cannot be written: No space left"):
        bundle_writer._write(path, files | {"manifest.json": files["manifest.json"] + b"\n"})
    assert Bundle(path).digest == digest
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["", "Big", "a/b", "a" * 65, "a b"])
def test_an_impossible_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="name"):
        BundleOptions(name, Defaults(1, 1, 1, 0.1, 0.1))


@pytest.mark.parametrize(
    "changes",
    [
        {"quality": 64},
        {"quality": -1},
        {"keyint": -1},
        {"skip_level": -2},
        {"skip_level": 31},
        {"epsilon": 0.25},
        {"epsilon": float("nan")},
        {"pixel_epsilon": -0.1},
    ],
)
def test_impossible_defaults_are_refused(changes: dict[str, float]) -> None:
    defaults = replace(Defaults(32, 32, 9, 1e-3, 1e-2), **changes)
    with pytest.raises(UsageError, match="expected"):
        BundleOptions("x", defaults)


def test_rounded_weights_are_half_precision_numbers() -> None:
    model = torch.nn.Conv2d(3, 4, 3)
    before = model.weight.detach().clone()
    round_weights_to_half(model)
    assert model.weight.dtype == torch.float32
    assert torch.equal(model.weight, before.half().float())
    assert not torch.equal(model.weight, before)


def test_tables_of_a_hyperlatent_follow_its_prior_and_leave_it_alone() -> None:
    torch.manual_seed(1)
    prior = FactorizedPrior(3)
    before = {k: v.clone() for k, v in prior.state_dict().items()}
    tables = factorized_tables(prior)
    assert len(tables) == 3
    symbols = torch.arange(-HYPER_RADIUS, HYPER_RADIUS + 1.0)
    with torch.no_grad():
        masses = prior.probability(symbols.expand(3, 1, -1))[:, 0].numpy()
    for table, expected_row in zip(tables, masses, strict=True):
        found = table.frequencies / table.frequencies.sum()
        first = table.offset + HYPER_RADIUS
        expected = expected_row[first : first + table.frequencies.size - 1]
        assert expected.sum() > 0.9999
        np.testing.assert_allclose(found[:-1], expected, atol=2e-4)
    state = prior.state_dict()
    assert all(torch.equal(state[k], v) for k, v in before.items())
    assert all(v.dtype == torch.float32 for v in state.values())

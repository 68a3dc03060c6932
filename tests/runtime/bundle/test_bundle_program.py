"""Programs that encoder and decoder could not both follow are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from block_codec import block_manifest

from nvc_errors import BundleError
from nvc_runtime.bundle import CodeStep, Manifest, RunStep, parse_manifest
from nvc_runtime.bundle.program import PlaneNames

Json = dict[str, Any]


def parse(manifest: Json) -> Manifest:
    return parse_manifest(json.dumps(manifest).encode())


def test_steps_are_read_in_order() -> None:
    program = parse(block_manifest()).intra
    assert program.steps[0] == RunStep("intra_analysis", "encode")
    assert program.steps[1] == CodeStep("z", "hyper", "z", None)
    assert program.steps[2] == RunStep("intra_prior")
    assert program.steps[4] == CodeStep("part_0", "intra", "scale", "index_0")
    assert not program.steps[1].has_scale_prior


def graph_reads_what_comes_later(manifest: Json) -> None:
    steps = manifest["programs"]["intra"]["steps"]
    steps[2], steps[5] = steps[5], steps[2]


def decoder_depends_on_the_source_frame(manifest: Json) -> None:
    manifest["graphs"]["intra_prior"]["inputs"].append("frame")


def decoder_depends_on_an_encoder_tensor(manifest: Json) -> None:
    manifest["graphs"]["intra_synthesis"]["inputs"].append("y")


def quantizer_runs_in_the_decoder(manifest: Json) -> None:
    del manifest["programs"]["intra"]["steps"][3]["side"]


def latent_is_coded_before_it_exists(manifest: Json) -> None:
    steps = manifest["programs"]["intra"]["steps"]
    steps.insert(0, steps.pop(1))


def latent_is_coded_twice(manifest: Json) -> None:
    steps = manifest["programs"]["intra"]["steps"]
    steps.insert(5, steps[4])


def decoder_already_has_the_latent(manifest: Json) -> None:
    manifest["programs"]["intra"]["steps"][4]["code"] = "mean_0"


def index_exists_only_in_the_encoder(manifest: Json) -> None:
    manifest["graphs"]["quantize_0"]["outputs"].append("index_1")
    manifest["programs"]["intra"]["steps"][4]["index"] = "index_1"


def index_has_another_shape(manifest: Json) -> None:
    manifest["programs"]["intra"]["steps"][4]["index"] = "hyper"


def encoder_replaces_what_the_decoder_has(manifest: Json) -> None:
    manifest["graphs"]["quantize_0"]["outputs"].append("hyper")


def encoder_replaces_a_coded_latent(manifest: Json) -> None:
    manifest["graphs"]["quantize_1"]["outputs"].append("part_0")


def intra_reads_a_carried_tensor(manifest: Json) -> None:
    manifest["graphs"]["intra_prior"]["inputs"].append("ref_feature")


def carries_what_does_not_exist(manifest: Json) -> None:
    manifest["programs"]["intra"]["carry"]["ref_feature"] = "index_7"


def carries_what_only_the_encoder_has(manifest: Json) -> None:
    manifest["tensors"]["ref_feature"]["channels"] = 12
    manifest["programs"]["inter"]["carry"]["ref_feature"] = "y"


def carries_another_shape(manifest: Json) -> None:
    manifest["programs"]["inter"]["carry"]["ref_feature"] = "decoded"


def carries_a_quality_vector(manifest: Json) -> None:
    for program in manifest["programs"].values():
        program["carry"]["gain"] = 0


def carries_the_source_frame(manifest: Json) -> None:
    for program in manifest["programs"].values():
        program["carry"]["frame"] = "decoded"


def carries_a_number(manifest: Json) -> None:
    manifest["programs"]["intra"]["carry"]["ref_feature"] = 1


def carries_false(manifest: Json) -> None:
    manifest["programs"]["intra"]["carry"]["ref_feature"] = False


def programs_carry_different_tensors(manifest: Json) -> None:
    manifest["programs"]["intra"]["carry"]["hyper"] = 0


def output_is_the_source(manifest: Json) -> None:
    manifest["programs"]["intra"]["output"] = "frame"


def output_is_no_picture(manifest: Json) -> None:
    manifest["programs"]["intra"]["output"] = "feature"


def output_is_computed_by_the_encoder_only(manifest: Json) -> None:
    manifest["programs"]["intra"]["steps"][8]["side"] = "encode"


def unknown_graph(manifest: Json) -> None:
    manifest["programs"]["intra"]["steps"][2]["run"] = "prior"


def unknown_side(manifest: Json) -> None:
    manifest["programs"]["intra"]["steps"][2]["side"] = "decode"


def unknown_prior(manifest: Json) -> None:
    manifest["programs"]["intra"]["steps"][1]["prior"] = ["scale"]


def unknown_field_in_a_step(manifest: Json) -> None:
    manifest["programs"]["intra"]["steps"][1]["skip"] = True


def step_is_no_object(manifest: Json) -> None:
    manifest["programs"]["intra"]["steps"][1] = "z"


def factorized_prior_with_an_index(manifest: Json) -> None:
    manifest["programs"]["intra"]["steps"][1]["index"] = "index_0"


def scale_prior_without_an_index(manifest: Json) -> None:
    del manifest["programs"]["intra"]["steps"][4]["index"]


def section_of_the_container(manifest: Json) -> None:
    manifest["programs"]["intra"]["steps"][4]["section"] = "calibration"


def codes_a_quality_vector(manifest: Json) -> None:
    manifest["programs"]["intra"]["steps"][1]["code"] = "gain"


def too_many_scale_steps(manifest: Json) -> None:
    steps = manifest["programs"]["intra"]["steps"]
    steps[4:5] = [steps[4]] * 65


def sync_program_codes(manifest: Json) -> None:
    manifest["programs"]["sync"]["steps"] += manifest["programs"]["intra"]["steps"][1:2]


def sync_program_has_an_output(manifest: Json) -> None:
    manifest["programs"]["sync"]["output"] = "exact_frame"


def sync_program_reads_the_drifting_frame(manifest: Json) -> None:
    manifest["programs"]["sync"]["carry"]["ref_frame"] = "decoded"


def sync_program_reads_the_source_frame(manifest: Json) -> None:
    manifest["graphs"]["rebuild"]["inputs"] = ["frame"]


def sync_program_carries_less(manifest: Json) -> None:
    del manifest["programs"]["sync"]["carry"]["ref_feature"]


def intra_program_reads_the_exact_frame(manifest: Json) -> None:
    manifest["graphs"]["intra_prior"]["inputs"].append("exact_frame")


BROKEN: list[Callable[[Json], None]] = [
    graph_reads_what_comes_later,
    decoder_depends_on_the_source_frame,
    decoder_depends_on_an_encoder_tensor,
    quantizer_runs_in_the_decoder,
    latent_is_coded_before_it_exists,
    latent_is_coded_twice,
    decoder_already_has_the_latent,
    index_exists_only_in_the_encoder,
    index_has_another_shape,
    encoder_replaces_what_the_decoder_has,
    encoder_replaces_a_coded_latent,
    intra_reads_a_carried_tensor,
    carries_what_does_not_exist,
    carries_what_only_the_encoder_has,
    carries_another_shape,
    carries_a_quality_vector,
    carries_the_source_frame,
    carries_a_number,
    carries_false,
    programs_carry_different_tensors,
    output_is_the_source,
    output_is_no_picture,
    output_is_computed_by_the_encoder_only,
    unknown_graph,
    unknown_side,
    unknown_prior,
    unknown_field_in_a_step,
    step_is_no_object,
    factorized_prior_with_an_index,
    scale_prior_without_an_index,
    section_of_the_container,
    codes_a_quality_vector,
    too_many_scale_steps,
    sync_program_codes,
    sync_program_has_an_output,
    sync_program_reads_the_drifting_frame,
    sync_program_reads_the_source_frame,
    sync_program_carries_less,
    intra_program_reads_the_exact_frame,
]


@pytest.mark.parametrize("break_it", BROKEN, ids=lambda function: function.__name__)
def test_broken_program_is_refused(break_it: Callable[[Json], None]) -> None:
    manifest = block_manifest()
    parse(manifest)
    break_it(manifest)
    with pytest.raises(BundleError, match=r"program|graph"):
        parse(manifest)


def test_inter_program_may_read_what_is_carried_and_intra_may_replace_it() -> None:
    manifest = block_manifest()
    manifest["graphs"]["inter_synthesis"]["outputs"] += ["ref_feature"]
    assert parse(manifest).inter.output == "decoded"


def manifest_with_planes() -> Json:
    """Both programs compute luma and chroma, and from these what is shown."""
    manifest = block_manifest()
    manifest["tensors"] |= {
        "luma": {"channels": 1, "stride": 1},
        "chroma": {"channels": 2, "stride": 2},
        "shown": {"channels": 3, "stride": 1},
    }
    graphs = manifest["graphs"]
    file = graphs["rebuild"]["file"]
    graphs["split"] = {"file": file, "inputs": ["decoded"], "outputs": ["luma", "chroma"]}
    graphs["show"] = {"file": file, "inputs": ["luma", "chroma"], "outputs": ["shown"]}
    for name in ("intra", "inter"):
        program = manifest["programs"][name]
        program["steps"] += [{"run": "split"}, {"run": "show", "side": "show"}]
        program |= {"output": "shown", "planes": {"luma": "luma", "chroma": "chroma"}}
    return manifest


def test_planes_and_what_is_only_shown() -> None:
    program = parse(manifest_with_planes()).inter
    assert program.steps[-1] == RunStep("show", "show")
    assert not program.steps[-1].encode_only
    assert (program.output, program.planes) == ("shown", PlaneNames("luma", "chroma"))
    assert parse(block_manifest()).inter.planes is None


def what_is_shown_is_carried(manifest: Json) -> None:
    for name in ("intra", "inter"):
        manifest["programs"][name]["carry"]["ref_frame"] = "shown"


def what_is_shown_is_read_while_coding(manifest: Json) -> None:
    manifest["graphs"]["split"]["inputs"] = ["shown"]
    steps = manifest["programs"]["intra"]["steps"]
    steps[-2:] = steps[:-3:-1]


def showing_replaces_what_is_coded_from(manifest: Json) -> None:
    manifest["graphs"]["show"]["outputs"].append("luma")


def showing_reads_the_source_frame(manifest: Json) -> None:
    manifest["graphs"]["show"]["inputs"].append("frame")


def planes_have_another_shape(manifest: Json) -> None:
    manifest["programs"]["inter"]["planes"]["chroma"] = "luma"


def planes_do_not_exist(manifest: Json) -> None:
    manifest["programs"]["inter"]["steps"][-2:] = []


def planes_are_only_shown(manifest: Json) -> None:
    manifest["programs"]["intra"]["steps"][-2]["side"] = "show"


def planes_lack_chroma(manifest: Json) -> None:
    del manifest["programs"]["inter"]["planes"]["chroma"]


def planes_are_no_names(manifest: Json) -> None:
    manifest["programs"]["inter"]["planes"]["chroma"] = ["chroma"]


def sync_program_shows(manifest: Json) -> None:
    manifest["programs"]["sync"]["steps"][0]["side"] = "show"


def sync_program_has_planes(manifest: Json) -> None:
    manifest["programs"]["sync"]["planes"] = {"luma": "luma", "chroma": "chroma"}


@pytest.mark.parametrize(
    "break_it",
    [
        what_is_shown_is_carried,
        what_is_shown_is_read_while_coding,
        showing_replaces_what_is_coded_from,
        showing_reads_the_source_frame,
        planes_have_another_shape,
        planes_do_not_exist,
        planes_are_only_shown,
        planes_lack_chroma,
        planes_are_no_names,
        sync_program_shows,
        sync_program_has_planes,
    ],
    ids=lambda function: function.__name__,
)
def test_broken_planes_are_refused(break_it: Callable[[Json], None]) -> None:
    manifest = manifest_with_planes()
    break_it(manifest)
    with pytest.raises(BundleError, match="program"):
        parse(manifest)

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvc_engines import (
    ENGINE_OPTIONS,
    GPUS,
    EngineSpec,
    engine_names,
    parse_engine_spec,
)
from nvc_errors import UsageError


@st.composite
def specs(draw: st.DrawFn) -> EngineSpec:
    backend = draw(st.sampled_from(sorted(ENGINE_OPTIONS)))
    device = draw(st.sampled_from(sorted(ENGINE_OPTIONS[backend])))
    rules = ENGINE_OPTIONS[backend][device]
    if device == "<gpu>":
        device = draw(st.sampled_from([g.name for g in GPUS.values() if backend in g.backends]))
    names = draw(st.lists(st.sampled_from(sorted(rules)), unique=True)) if rules else []
    options = {}
    for name in names:
        values = rules[name].values
        options[name] = draw(
            st.sampled_from(values) if values else st.integers(1, 1024).map(str),
        )
    return EngineSpec(backend, device, options)


@given(specs())
def test_a_spec_survives_its_own_name_and_pickling(spec: EngineSpec) -> None:
    parsed = parse_engine_spec(str(spec))
    assert parsed == spec
    assert hash(parsed) == hash(spec)
    assert str(parsed) == str(spec)
    assert pickle.loads(pickle.dumps(spec)) == spec


@given(st.text(max_size=30))
def test_any_text_is_a_spec_or_a_usage_error(text: str) -> None:
    try:
        spec = parse_engine_spec(text)
    except UsageError:
        return
    assert parse_engine_spec(str(spec)) == spec


def test_options_are_sorted_and_read_only() -> None:
    spec = parse_engine_spec("ort:cpu, threads=2 , opt=basic")
    assert str(spec) == "ort:cpu,opt=basic,threads=2"
    with pytest.raises(TypeError):
        spec.options["opt"] = "all"  # type: ignore[index]


def test_gpu_names_are_made_canonical() -> None:
    assert str(parse_engine_spec("tensorrt-rtx:RTX-2080")) == "tensorrt-rtx:rtx2080"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("otr:cpu", "did you mean 'ort'?"),
        ("", "known: ort, openvino, torch, tensorrt-rtx, tensorrt"),
        ("ort", "write ort:device"),
        ("ort:cdua", "did you mean 'cuda'?"),
        ("openvino:cuda", "known: cpu"),
        ("ort:cpu,opts=all", "did you mean 'opt'?"),
        ("ort:cpu,opt=most", "expected all or extended or basic or none"),
        ("ort:cpu,opt", "not of the form name=value"),
        ("ort:cpu,", "not of the form name=value"),
        ("ort:cpu,opt=", "not of the form name=value"),
        ("ort:cpu,opt=all,opt=all", "given twice"),
        ("ort:cpu,threads=0", "an integer from 1 to 1024"),
        ("ort:cpu,threads=01", "an integer from 1 to 1024"),
        ("ort:cpu,threads=1025", "an integer from 1 to 1024"),
        ("ort:cuda,threads=2", "no option 'threads'"),
        ("torch:cpu,mkldnn=yes", "expected 0 or 1"),
        ("tensorrt-rtx", "needs a GPU"),
        ("tensorrt-rtx:rtx2800", "did you mean 'rtx2080'?"),
        ("tensorrt-rtx:h100", "use tensorrt:h100"),
    ],
)
def test_a_wrong_name_says_what_would_be_right(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_engine_spec(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_engine_name_is_listed() -> None:
    assert engine_names() == [
        "ort:cpu",
        "ort:cuda",
        "openvino:cpu",
        "torch:cpu",
        "torch:cuda",
        "tensorrt-rtx:<gpu>",
        "tensorrt:<gpu>",
    ]

"""Keys of trials, steps that fit into a time, decisions, and the report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("bjontegaard", reason="the tool's curves need nvc[bench]")
pytest.importorskip("matplotlib", reason="the tool's plots need nvc[bench]")

import architecture_search
from architecture import BASE, BASE_AGAIN, QUESTIONS, decide, trials_by_name
from architecture.training import PROBE_EVERY, steps_within

from nvc_export.complexity import complexity_from_codec
from nvc_models.families import graphs_from_model
from nvc_models.swift import Swift


def test_every_question_is_about_trials_and_every_trial_about_a_question() -> None:
    trials = trials_by_name((60, 120))
    asked = {name for q in QUESTIONS for name in (q.against, *q.variants)}
    assert asked == set(trials)
    assert len({trial.key() for trial in trials.values()}) == len(trials)


def test_all_trials_decode_inter_frames_at_about_the_same_cost() -> None:
    costs = {}
    for name, trial in trials_by_name((60, 120)).items():
        inter = complexity_from_codec(graphs_from_model(Swift(trial.config).eval()))[1]
        costs[name] = inter.decoder_macs_per_pixel
    assert all(abs(cost / costs[BASE] - 1) < 0.05 for cost in costs.values()), costs


def test_all_trials_have_the_same_time() -> None:
    for trial in trials_by_name((60, 120)).values():
        assert trial.legs[0].seconds == 60
        assert sum(leg.seconds for leg in trial.legs[1:]) == pytest.approx(120)


def test_keys_name_what_weights_depend_on() -> None:
    trial = trials_by_name((60, 120))[BASE]
    first, second = trial.legs
    renamed = replace(second, stage=replace(second.stage, name="other", steps=77))
    assert replace(trial, name="x", words="y", legs=(first, renamed)).key() == trial.key()
    changed = replace(second, stage=replace(second.stage, photo_share=0.9))
    assert replace(trial, legs=(first, changed)).key() != trial.key()
    assert replace(trial, legs=(first, changed)).key(1) == trial.key(1)
    assert replace(trial, seed=2).key(1) != trial.key(1)
    assert replace(trial, legs=(replace(first, analytic=False), second)).key(1) != trial.key(1)


def test_steps_within_takes_the_start_from_the_time() -> None:
    step_s, start_s = 0.25, 3.0
    first = 100 + start_s + PROBE_EVERY * step_s
    marks = [first + n * PROBE_EVERY * step_s for n in range(4)]
    assert steps_within(10.0, 100.0, marks) == (28, pytest.approx(0.25))
    assert steps_within(1.0, 100.0, marks)[0] == 1


@pytest.mark.parametrize(
    ("loss", "verdict"), [(1.019, "no difference"), (0.985, "no difference"), (1.03, "worse"),
                          (0.97, "better")],
)  # fmt: skip
def test_a_difference_counts_from_twice_the_noise(loss: float, verdict: str) -> None:
    found = decide(loss, 1.0, -1.0)
    assert found.verdict == verdict
    assert found.loss_change_percent == pytest.approx(100 * (loss - 1))


def test_answer_chooses_from_the_figures() -> None:
    rows: dict[str, dict[str, Any]] = {
        BASE: {"loss": 1.0},
        BASE_AGAIN: {"loss": 1.01},
        "fewer latents": {"loss": 0.9},
        "more latents": {"loss": 0.95},
    }
    question = next(q for q in QUESTIONS if "more latents" in q.variants)
    found = architecture_search.answer(question, rows)
    assert found is not None
    assert found["choice"] == "fewer latents"
    rows["fewer latents"]["loss"] = rows["more latents"]["loss"] = 0.99
    found = architecture_search.answer(question, rows)
    assert found is not None
    assert found["choice"] == BASE
    assert architecture_search.answer(question, {BASE: {"loss": 1.0}}) is None

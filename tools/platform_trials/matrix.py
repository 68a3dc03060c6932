"""Runs the platform matrix: opens the legs, encodes on each, decodes on each, judges the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from platform_legs import REFERENCE, Cache, Leg

from nvc_calib import PositionCoder, round_epsilon
from nvc_engines import Engine
from nvc_errors import EngineError, EngineUnavailableError, NvcError
from nvc_runtime.bundle import Bundle
from nvc_runtime.codec import EncoderSettings
from platform_trials.plan import MAIN, SMALL, MatrixPlan, estimate_s
from platform_trials.results import LegRecord, MatrixResult, Pair
from platform_trials.scene import Scene, load_scene
from platform_trials.trial import Stream, decode_stream, encode_scene, index_names, settings_for
from platform_trials.wrappers import RecordingEngine, RememberingEngine, digest_of_trace

PROBE_FRAMES = 2
Say = Callable[[str], None]


@dataclass
class _OpenLeg:
    leg: Leg
    engine: Engine
    runner: Engine
    record: LegRecord
    streams: list[Stream] = field(default_factory=list)

    def forget(self) -> None:
        if isinstance(self.runner, RememberingEngine):
            self.runner.forget()


def run_matrix(
    plan: MatrixPlan, legs: Sequence[Leg], bundle_path: Path, cache: Cache, say: Say
) -> MatrixResult:
    """Carry out a plan and return what was found; ``say`` gets a line for each step.

    Legs that this machine cannot run are skipped and listed with the reason. Raises ``UsageError``
    for a clip that does not fit; a leg that breaks down is a problem in the result.
    """
    started = time.perf_counter()
    run = _Run(plan, bundle_path, cache, say)
    try:
        run.open_legs(legs)
        run.encode()
        run.decode()
    finally:
        run.close()
    run.result.elapsed_s = time.perf_counter() - started
    run.result.judge()
    return run.result


class _Run:
    def __init__(self, plan: MatrixPlan, bundle_path: Path, cache: Cache, say: Say) -> None:
        self.plan, self.path, self.cache, self.say = plan, bundle_path, cache, say
        self.opened: list[_OpenLeg] = []
        bundle = Bundle(bundle_path)
        self.result = MatrixResult(plan, bundle.name, bundle.digest.hex())
        self.result.epsilon = effective_epsilon(bundle, plan.settings)
        self.scenes = {
            MAIN: load_scene(MAIN, plan.clip, plan.size, plan.frames),
            SMALL: load_scene(SMALL, plan.clip, plan.small_size, plan.small_frames),
        }
        self.result.source = self.scenes[MAIN].source

    @property
    def legs(self) -> list[Leg]:
        return [entry.leg for entry in self.opened]

    def open_legs(self, legs: Sequence[Leg]) -> None:
        """Open and fingerprint the legs, one after the other, then say what is to come."""
        for leg in legs:
            try:
                self._open_leg(leg)
            except EngineError as error:
                if leg.name == REFERENCE:
                    raise
                broken = not isinstance(error, EngineUnavailableError)
                self.result.legs.append(LegRecord(leg, reason=str(error)))
                self.say(f"{leg.name}: {'breaks down' if broken else 'skipped'}: {error}")
                if broken:
                    self.result.problems.append(f"leg {leg.name} breaks down: {error}")
        times = {entry.leg.name: entry.record.frame_s for entry in self.opened}
        seconds = estimate_s(self.plan, self.legs, times)
        self.result.estimate_s = seconds
        pairs = sum(self.plan.scene_of_pair(a, b) is not None for a in self.legs for b in self.legs)
        self.say(
            f"plan: {len(self.opened)} legs, {pairs} pairs, GOP "
            f"{' and '.join(map(str, self.plan.gops))}, calibration "
            f"{', '.join(coder.value for coder in self.plan.coders)}; about {seconds / 60:.1f} min"
        )

    def _open_leg(self, leg: Leg) -> None:
        start = time.perf_counter()
        engine = leg.open(self.cache)
        entry = _OpenLeg(leg, engine, engine, LegRecord(leg, info=engine.info))
        entry.record.set_up_s = time.perf_counter() - start
        try:
            self._fingerprint(entry)
        except EngineError:
            engine.close()
            raise
        self.opened.append(entry)
        self.result.legs.append(entry.record)

    def _fingerprint(self, entry: _OpenLeg) -> None:
        """Hash the indices of a short probe, twice; time a frame of the leg's own scene."""
        probe = self.scenes[SMALL].head(PROBE_FRAMES)
        record = entry.record
        bundle = Bundle(self.path)
        digests = [self._probe(bundle, entry.engine, probe)[0] for _ in range(2)]
        record.digest, record.repeats = digests[0], digests[0] == digests[1]
        if record.repeats:
            entry.runner = RememberingEngine(entry.engine)
        own = self.scenes[self.plan.scene_of_encoder(entry.leg)].head(PROBE_FRAMES)
        self._probe(bundle, entry.engine, own)
        record.frame_s = self._probe(bundle, entry.engine, own)[1] / PROBE_FRAMES
        self.say(
            f"{entry.leg.name}: {entry.leg.title}; probe {record.digest[:12]}"
            f"{'' if record.repeats else ' (does not repeat)'}, {record.frame_s:.2f} s a frame"
        )

    def _probe(self, bundle: Bundle, engine: Engine, scene: Scene) -> tuple[str, float]:
        """Encode a scene; return the digest of its indices and the seconds its graphs took."""
        recorder = RecordingEngine(engine, index_names(bundle))
        settings = settings_for(self.plan.settings, 0, PositionCoder.NONE)
        stream = encode_scene(bundle, recorder, "probe", scene, settings, keep=True)
        return digest_of_trace(stream.trace), stream.report.elapsed.transform_s

    def encode(self) -> None:
        """Let every leg encode its scenes."""
        self._in_parallel(self._encode_leg, self.opened)
        for entry in self.opened:
            self.result.streams += entry.streams

    def _encode_leg(self, entry: _OpenLeg) -> None:
        plan, bundle = self.plan, Bundle(self.path)
        start = time.perf_counter()
        for name in plan.scenes_of_encoder(entry.leg, self.legs):
            for gop in plan.gops:
                for coder in plan.coders:
                    settings = settings_for(plan.settings, gop, coder)
                    keep = coder is plan.drift_coder
                    entry.streams.append(
                        encode_scene(
                            bundle,
                            entry.runner,
                            entry.leg.name,
                            self.scenes[name],
                            settings,
                            keep=keep,
                        )
                    )
        entry.forget()
        self.say(f"{entry.leg.name}: encoded, {time.perf_counter() - start:.0f} s")

    def decode(self) -> None:
        """Let every leg decode the streams it gets."""
        self._in_parallel(self._decode_leg, self.opened)
        order = {leg.name: number for number, leg in enumerate(self.legs)}
        self.result.pairs.sort(key=lambda pair: (order[pair.encoder], order[pair.decoder]))

    def _decode_leg(self, entry: _OpenLeg) -> None:
        bundle = Bundle(self.path)
        start = time.perf_counter()
        for source in self.opened:
            scene = self.plan.scene_of_pair(source.leg, entry.leg)
            for stream in source.streams:
                if stream.scene == scene:
                    decoding = decode_stream(bundle, entry.runner, stream)
                    self.result.pairs.append(Pair(stream, entry.leg.name, decoding))
            entry.forget()
        self.say(f"{entry.leg.name}: decoded, {time.perf_counter() - start:.0f} s")

    def _in_parallel(self, task: Callable[[_OpenLeg], None], entries: Iterable[_OpenLeg]) -> None:
        """Run ``task`` for every leg, slow ones first; one that fails becomes a problem."""

        def guarded(entry: _OpenLeg) -> None:
            try:
                task(entry)
            except NvcError as error:
                self.result.problems.append(f"leg {entry.leg.name} broke down: {error}")
                self.say(self.result.problems[-1])

        ordered = sorted(entries, key=lambda entry: -entry.record.frame_s * entry.leg.cost)
        with ThreadPoolExecutor(self.plan.jobs) as pool:
            for future in [pool.submit(guarded, entry) for entry in ordered]:
                future.result()

    def close(self) -> None:
        """Close every leg."""
        for entry in self.opened:
            entry.forget()
            entry.engine.close()


def effective_epsilon(bundle: Bundle, settings: EncoderSettings) -> float:
    """Return the epsilon that an encoder with these settings writes into its streams."""
    given = settings.epsilon
    return round_epsilon(bundle.manifest.defaults.epsilon if given is None else given)

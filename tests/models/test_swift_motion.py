"""Motion of the swift family: compensation against plain indexing, search against known motion."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from tiny_codec import moving_picture
from torch import Tensor
from torch.nn import functional as F

from nvc_models.swift.motion import (
    CUBIC,
    EIGHT,
    SIX,
    Compensation,
    Positions,
    Taps,
    VectorTransform,
    bent_taps,
    linear_taps,
)
from nvc_models.swift.motion_cost import SearchStep
from nvc_models.swift.motion_search import MotionSearch
from nvc_models.swift.planes import (
    CHANNELS,
    planes_from_blocks,
    planes_from_rgb,
)

MIDDLE = torch.tensor([32.0])
TAPS = pytest.mark.parametrize("taps", [4, 6, 8])
COMPENSATION = pytest.mark.parametrize(
    ("taps", "overlap"), [(taps, overlap) for taps in (4, 6, 8) for overlap in (False, True)]
)
CUBIC_TAPS, SIX_TAPS, EIGHT_TAPS = (partial(bent_taps, b) for b in (CUBIC, SIX, EIGHT))
HOW: dict[str, Callable[[Positions, Tensor], Tensor]] = {
    "whole": Positions.whole,
    "linear": Positions.linear,
    "4 taps": partial(Positions.bent, bends=CUBIC),
    "6 taps": partial(Positions.bent, bends=SIX),
    "8 taps": partial(Positions.bent, bends=EIGHT),
}


def texture(height: int, width: int) -> Tensor:
    """A smooth random picture (1, 1, H, W) in [0, 1]."""
    noise = torch.rand(1, 1, height // 8, width // 8, generator=torch.Generator().manual_seed(3))
    return F.interpolate(noise, size=(height, width), mode="bicubic").clamp(0, 1)


def constant(dx: float, dy: float, height: int, width: int) -> Tensor:
    """The same vector for every block, (1, 2, H/8, W/8)."""
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, height // 8, width // 8)


def moved(planes: Tensor, vectors: Tensor, how: str, side: int = 8) -> Tensor:
    """Planes (B, C, H, W) moved by vectors (B, 2, H/side, W/side), as planes again."""
    positions = Positions(planes.shape[-2:], vectors[:, :1], vectors[:, 1:], side)
    return F.pixel_shuffle(HOW[how](positions, planes).flatten(1, 3), side)


@pytest.mark.parametrize("side", [8, 4])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (6, 0), (0, -5), (-3, 8), (500, -500)])
def test_whole_pixels_are_copied_and_the_border_repeats(
    side: int, how: str, dx: int, dy: int
) -> None:
    height, width = 8 * side, 16 * side
    planes = torch.rand(2, 2, height, width)
    vectors = constant(dx, dy, 64, 128).expand(2, -1, -1, -1)
    rows = (torch.arange(height) + dy).clamp(0, height - 1)
    columns = (torch.arange(width) + dx).clamp(0, width - 1)
    assert torch.equal(moved(planes, vectors, how, side), planes[:, :, rows][..., columns])


def test_every_block_follows_its_own_vector() -> None:
    plane = torch.rand(1, 1, 32, 32)
    vectors = torch.randint(-9, 10, (1, 2, 4, 4)).float()
    found = moved(plane, vectors, "whole")
    for i in range(4):
        for j in range(4):
            dx, dy = (int(v) for v in vectors[0, :, i, j])
            rows = (torch.arange(8) + 8 * i + dy).clamp(0, 31)
            columns = (torch.arange(8) + 8 * j + dx).clamp(0, 31)
            block = found[0, 0, 8 * i : 8 * i + 8, 8 * j : 8 * j + 8]
            assert torch.equal(block, plane[0, 0, rows][:, columns])


def test_a_fraction_lies_between_its_neighbours() -> None:
    plane = texture(64, 64)
    found = moved(plane, constant(0.25, 0.5, 64, 64), "linear")
    between = 0.5 * (plane[:, :, :-1] + plane[:, :, 1:])
    between = 0.75 * between[..., :-1] + 0.25 * between[..., 1:]
    torch.testing.assert_close(found[..., :-1, :-1], between)


@pytest.mark.parametrize(("bends", "count"), [(CUBIC, 4), (SIX, 6), (EIGHT, 8)])
def test_some_rows_and_columns_of_blocks_are_those_of_all(
    bends: tuple[tuple[float, float], ...], count: int
) -> None:
    plane, vectors = torch.rand(1, 1, 32, 48), torch.randint(-40, 41, (1, 2, 4, 6)) / 4
    positions = Positions((32, 48), vectors[:, :1], vectors[:, 1:], 8)
    whole = positions.bent(plane, bends)
    some = positions.bent(plane, bends, rows=(4, 8), columns=(1, 3))
    assert len(bent_taps(bends, vectors)) == count
    assert torch.equal(some, whole[:, :, 4:8, 1:3])


def test_four_taps_are_keys_kernel_a_little_sharper() -> None:
    a, fraction = -0.625, torch.linspace(0, 1, 33, dtype=torch.float64)

    def kernel(distance: Tensor) -> Tensor:
        s = distance.abs()
        near = (a + 2) * s**3 - (a + 3) * s**2 + 1
        return torch.where(s <= 1, near, a * (s**3 - 5 * s**2 + 8 * s - 4))

    expected = torch.stack([kernel(fraction - place) for place in (-1, 0, 1, 2)])
    torch.testing.assert_close(torch.stack(CUBIC_TAPS(fraction)), expected)


@pytest.mark.parametrize(
    ("taps", "kept"), [(SIX_TAPS, (0.99, 0.92)), (EIGHT_TAPS, (0.995, 0.96))], ids=["6", "8"]
)
def test_more_taps_amplify_no_frequency_and_keep_more_of_them(
    taps: Callable[[Tensor], Taps], kept: tuple[float, float]
) -> None:
    """Frequencies as shares of the highest; what amplifies lets drift grow from frame to frame."""
    weights = torch.stack(taps(torch.linspace(0, 1, 5, dtype=torch.float64)))
    places = torch.arange(len(weights), dtype=torch.float64)
    frequencies = torch.linspace(0, 1, 129, dtype=torch.float64)
    waves = torch.exp(1j * torch.pi * frequencies[:, None] * places)
    gain = (waves @ weights.to(waves.dtype)).abs()
    cubic = torch.stack(CUBIC_TAPS(torch.tensor([0.5])))[:, 0].double()
    cubic_gain = (waves[:, : len(cubic)] @ cubic.to(waves.dtype)).abs()
    assert gain.max() < 1.002
    for share, least in zip((0.5, 0.625), kept, strict=True):
        number = round(share * 128)
        assert gain[number].min() > least
        assert gain[number].min() > cubic_gain[number]


@pytest.mark.parametrize("how", ["4 taps", "6 taps", "8 taps"])
def test_straight_lines_are_moved_within_a_fortieth_of_a_pixel(how: str) -> None:
    x = torch.arange(64.0)
    plane = (0.3 * x).view(1, 1, 1, 64) + (-0.5 * x).view(1, 1, 64, 1)
    middle = moved(plane, constant(0.5, -0.5, 64, 64), how)[..., 8:-8, 8:-8]
    torch.testing.assert_close(middle, plane[..., 8:-8, 8:-8] + 0.4, rtol=0, atol=1e-4)
    for quarter in (0.25, -1.75, 2.75):
        across = moved(plane, constant(quarter, 0.0, 64, 64), how) - plane
        down = moved(plane, constant(0.0, quarter, 64, 64), how) - plane
        assert (across[..., 8:-8, 8:-8] / 0.3 - quarter).abs().max() < 0.025
        assert (down[..., 8:-8, 8:-8] / -0.5 - quarter).abs().max() < 0.025


@pytest.mark.parametrize("taps", [linear_taps, CUBIC_TAPS, SIX_TAPS, EIGHT_TAPS])
def test_weights_sum_to_one_and_meet_where_the_whole_number_changes(
    taps: Callable[[Tensor], Taps],
) -> None:
    fraction = torch.linspace(0, 1, 33)
    weights = torch.stack(taps(fraction))
    torch.testing.assert_close(weights.sum(0), torch.ones(33))
    torch.testing.assert_close(weights[1:, -1], weights[:-1, 0])
    torch.testing.assert_close(weights.flip(0, 1), weights)


def test_vectors_have_a_gradient() -> None:
    vectors = constant(0.4, 0.4, 64, 64).clone().requires_grad_()
    moved(texture(64, 64), vectors, "4 taps").square().mean().backward()
    assert vectors.grad is not None
    assert vectors.grad.abs().min() > 0


def test_vectors_are_whole_numbers_of_quarters_and_come_back_bit_for_bit() -> None:
    transform, vectors = VectorTransform(), torch.randint(-400, 401, (2, 2, 6, 8)) / 4.0
    coefficients = transform(vectors)
    assert coefficients.shape == (2, 8, 3, 4)
    assert torch.equal(coefficients, coefficients.round())
    assert torch.equal(transform.inverse(coefficients), vectors)


def test_blocks_that_move_together_have_one_coefficient_each_way() -> None:
    vectors = torch.randint(-40, 41, (2, 2, 6, 8)) / 4.0
    coefficients = VectorTransform()(F.interpolate(vectors, scale_factor=2.0))
    assert torch.equal(coefficients[:, :2], 4.0 * vectors)
    assert not coefficients[:, 2:].any()


def test_where_movement_grows_evenly_the_last_block_is_foretold() -> None:
    rows, columns = torch.arange(6.0)[:, None], torch.arange(8.0)[None]
    vectors = torch.stack((columns + 2 * rows, -3 * columns + rows))[None]
    coefficients = VectorTransform()(vectors)
    across, down = coefficients[:, 2:4], coefficients[:, 4:6]
    assert torch.equal(across, torch.tensor([4.0, -12.0]).view(1, 2, 1, 1).expand_as(across))
    assert torch.equal(down, torch.tensor([8.0, 4.0]).view(1, 2, 1, 1).expand_as(down))
    assert not coefficients[:, 6:].any()


@TAPS
@pytest.mark.parametrize(("dx", "dy"), [(0.0, 0.0), (3.0, -2.0), (0.5, 0.25), (-14.0, 9.0)])
def test_search_finds_a_pan(dx: float, dy: float, taps: int) -> None:
    reference = texture(192, 192)
    frame = moved(reference, constant(dx, dy, 192, 192), f"{taps} taps")
    vectors = MotionSearch(taps)(frame.expand(1, 3, -1, -1), reference - 0.5, SearchStep()(MIDDLE))
    middle = vectors[0, :, 4:-4, 4:-4].flatten(1).median(1).values
    assert torch.equal(middle, torch.tensor([dx, dy]))
    left = (moved(reference, vectors, f"{taps} taps") - frame)[..., 32:-32, 32:-32].abs().mean()
    assert left <= 0.1 * (reference - frame)[..., 32:-32, 32:-32].abs().mean()


def test_search_tells_two_movements_apart_within_a_latent_position() -> None:
    generator = torch.Generator().manual_seed(5)
    reference = F.interpolate(torch.rand(1, 1, 64, 64, generator=generator), scale_factor=2.0)
    vectors = constant(0, 0, 128, 128).clone()
    vectors[:, 0, :, 7:] = 6.0
    frame = moved(reference, vectors, "whole")
    found = MotionSearch(4)(frame.expand(1, 3, -1, -1), reference - 0.5, SearchStep()(MIDDLE))
    assert (found == vectors).all(1)[:, 2:-2, 2:-2].float().mean() > 0.95


@TAPS
def test_search_leaves_a_still_picture_alone(taps: int) -> None:
    frame = moving_picture(1, 128, 128)
    assert not MotionSearch(taps)(frame, planes_from_rgb(frame)[0], SearchStep()(MIDDLE)).any()


def test_of_vectors_that_cost_the_same_search_takes_none() -> None:
    frame, reference = torch.full((1, 3, 64, 128), 0.7), torch.full((1, 1, 64, 128), -0.2)
    assert not MotionSearch(4)(frame, reference, SearchStep()(MIDDLE)).any()


def test_vectors_are_quarter_pixels_and_smoother_where_bits_are_dear() -> None:
    reference = texture(128, 128)
    frame = moved(reference, constant(1.5, -0.75, 128, 128), "4 taps")
    frame = (frame + 0.03 * torch.randn(frame.shape)).expand(1, 3, -1, -1)
    changes = []
    for quality in (0.0, 63.0):
        step = SearchStep()(torch.tensor([quality]))
        vectors = MotionSearch(4)(frame, reference - 0.5, step)
        assert torch.equal(4.0 * vectors, torch.round(4.0 * vectors))
        changes.append(float(vectors.diff(dim=2).abs().mean() + vectors.diff(dim=3).abs().mean()))
    assert changes[0] < 0.2 * changes[1]


@COMPENSATION
def test_compensation_without_motion_is_the_frame_in_blocks(taps: int, overlap: bool) -> None:
    planes = planes_from_rgb(moving_picture(1, 64, 128))
    blocks = Compensation(taps, overlap=overlap)(*planes, torch.zeros(1, 2, 8, 16))
    assert blocks.shape == (1, CHANNELS, 8, 16)
    torch.testing.assert_close(planes_from_blocks(blocks), planes)


@TAPS
def test_compensation_moves_luma_and_chroma_alike(taps: int) -> None:
    luma, chroma = planes_from_rgb(moving_picture(1, 64, 128))
    vectors = torch.randint(-40, 41, (1, 2, 8, 16)) / 4
    blocks = planes_from_blocks(Compensation(taps, overlap=False)(luma, chroma, vectors))
    expected = moved(luma, vectors, f"{taps} taps"), moved(chroma, vectors / 2, "linear", 4)
    torch.testing.assert_close(blocks, expected)


@COMPENSATION
def test_a_constant_picture_stays_constant_whatever_moves(taps: int, overlap: bool) -> None:
    luma, chroma = torch.full((1, 1, 64, 128), 0.3), torch.full((1, 2, 32, 64), -0.2)
    vectors = torch.randint(-400, 401, (1, 2, 8, 16)) / 4
    found = planes_from_blocks(Compensation(taps, overlap=overlap)(luma, chroma, vectors))
    torch.testing.assert_close(found, (luma, chroma))


@pytest.mark.parametrize(("taps", "dx", "dy"), [(4, 1.25, -7.5), (6, 3.0, -70.0)])
def test_blocks_that_move_together_are_moved_as_without_overlap(
    taps: int, dx: float, dy: float
) -> None:
    planes = torch.rand(1, 1, 64, 128) - 0.5, torch.rand(1, 2, 32, 64) - 0.5
    vectors = constant(dx, dy, 64, 128)
    plain, blended = (Compensation(taps, overlap=o)(*planes, vectors) for o in (False, True))
    torch.testing.assert_close(blended, plain)


@TAPS
def test_overlap_blends_what_the_neighbours_vectors_give(taps: int) -> None:
    luma, chroma = torch.rand(1, 1, 32, 48) - 0.5, torch.rand(1, 2, 16, 24) - 0.5
    vectors = torch.randint(-12, 13, (1, 2, 4, 6)).float()
    found = planes_from_blocks(Compensation(taps, overlap=True)(luma, chroma, vectors))
    around = F.pad(vectors, (1, 1, 1, 1), mode="replicate")

    def moved_by(down: int, right: int) -> Tensor:
        theirs = around[:, :, 1 + down : 5 + down, 1 + right : 7 + right]
        return moved(luma, theirs, "whole")

    def blend(own: Tensor, first: Tensor, second: Tensor, places: Tensor) -> Tensor:
        """What the nearer of two neighbours adds; least in the middle of a block."""
        from_edge = (torch.minimum(places % 8, 7 - places % 8) + 0.5) / 8
        other = torch.where(places % 8 < 4, first, second)
        return Compensation.SHARE * (1 - 2 * from_edge) * (other - own)

    own = moved_by(0, 0)
    down = blend(own, moved_by(-1, 0), moved_by(1, 0), torch.arange(32)[:, None])
    across = blend(own, moved_by(0, -1), moved_by(0, 1), torch.arange(48)[None])
    assert down.abs().mean() > 0.01
    torch.testing.assert_close(found[0], own + down + across)
    torch.testing.assert_close(found[1], moved(chroma, vectors / 2, "linear", 4))

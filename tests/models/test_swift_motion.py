"""Motion of the swift family: vectors, search against known motion, compensation."""

from __future__ import annotations

import pytest
import torch
from moved_planes import constant, moved, moved_chroma, texture
from tiny_codec import moving_picture
from torch import Tensor
from torch.nn import functional as F

from nvc_models.swift.interpolation import QuarterRows
from nvc_models.swift.motion import Compensation, VectorTransform
from nvc_models.swift.motion_cost import SearchStep
from nvc_models.swift.motion_search import MotionSearch
from nvc_models.swift.planes import CHANNELS, planes_from_blocks, planes_from_rgb

MIDDLE = torch.tensor([32.0])
OVERLAP = pytest.mark.parametrize("overlap", [False, True])


def found_by_search(frame: Tensor, reference: Tensor, quality: Tensor = MIDDLE) -> Tensor:
    """Vectors (1, 2, H/8, W/8) from luma to luma, (1, 1, H, W) in [0, 1]."""
    step = SearchStep()(quality)
    found: Tensor = MotionSearch()((frame - 0.5) / step, QuarterRows((reference - 0.5) / step))
    return found


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


@pytest.mark.parametrize(("dx", "dy"), [(0.0, 0.0), (3.0, -2.0), (0.5, 0.25), (-14.0, 9.0)])
def test_search_finds_a_pan(dx: float, dy: float) -> None:
    reference = texture(192, 192)
    frame = moved(reference, constant(dx, dy, 192, 192))
    vectors = found_by_search(frame, reference)
    middle = vectors[0, :, 4:-4, 4:-4].flatten(1).median(1).values
    assert torch.equal(middle, torch.tensor([dx, dy]))
    left = (moved(reference, vectors) - frame)[..., 32:-32, 32:-32].abs().mean()
    assert left <= 0.1 * (reference - frame)[..., 32:-32, 32:-32].abs().mean()


def test_search_tells_two_movements_apart_within_a_latent_position() -> None:
    generator = torch.Generator().manual_seed(5)
    reference = F.interpolate(torch.rand(1, 1, 64, 64, generator=generator), scale_factor=2.0)
    vectors = constant(0, 0, 128, 128).clone()
    vectors[:, 0, :, 7:] = 6.0
    frame = moved(reference, vectors)
    found = found_by_search(frame, reference)
    assert (found == vectors).all(1)[:, 2:-2, 2:-2].float().mean() > 0.95


def test_search_leaves_a_still_picture_alone() -> None:
    still = planes_from_rgb(moving_picture(1, 128, 128))[0] + 0.5
    assert not found_by_search(still, still).any()


def test_of_vectors_that_cost_the_same_search_takes_none() -> None:
    frame, reference = torch.full((1, 1, 64, 128), 0.7), torch.full((1, 1, 64, 128), 0.3)
    assert not found_by_search(frame, reference).any()


def test_vectors_are_quarter_pixels_and_smoother_where_bits_are_dear() -> None:
    reference = texture(128, 128)
    frame = moved(reference, constant(1.5, -0.75, 128, 128))
    frame = frame + 0.03 * torch.randn(frame.shape)
    changes = []
    for quality in (0.0, 63.0):
        vectors = found_by_search(frame, reference, torch.tensor([quality]))
        assert torch.equal(4.0 * vectors, torch.round(4.0 * vectors))
        changes.append(float(vectors.diff(dim=2).abs().mean() + vectors.diff(dim=3).abs().mean()))
    assert changes[0] < 0.2 * changes[1]


@OVERLAP
def test_compensation_without_motion_is_the_frame_in_blocks(overlap: bool) -> None:
    planes = planes_from_rgb(moving_picture(1, 64, 128))
    blocks = Compensation(overlap=overlap)(*planes, torch.zeros(1, 2, 8, 16))
    assert blocks.shape == (1, CHANNELS, 8, 16)
    torch.testing.assert_close(planes_from_blocks(blocks), planes)


def test_compensation_moves_luma_and_chroma_alike() -> None:
    luma, chroma = planes_from_rgb(moving_picture(1, 64, 128))
    vectors = torch.randint(-40, 41, (1, 2, 8, 16)) / 4
    blocks = planes_from_blocks(Compensation(overlap=False)(luma, chroma, vectors))
    expected = moved(luma, vectors), moved_chroma(chroma, vectors / 2)
    torch.testing.assert_close(blocks, expected)


@OVERLAP
def test_a_constant_picture_stays_constant_whatever_moves(overlap: bool) -> None:
    luma, chroma = torch.full((1, 1, 64, 128), 0.3), torch.full((1, 2, 32, 64), -0.2)
    vectors = torch.randint(-400, 401, (1, 2, 8, 16)) / 4
    found = planes_from_blocks(Compensation(overlap=overlap)(luma, chroma, vectors))
    torch.testing.assert_close(found, (luma, chroma))


@pytest.mark.parametrize(("dx", "dy"), [(1.25, -7.5), (3.0, -70.0)])
def test_blocks_that_move_together_are_moved_as_without_overlap(dx: float, dy: float) -> None:
    planes = torch.rand(1, 1, 64, 128) - 0.5, torch.rand(1, 2, 32, 64) - 0.5
    vectors = constant(dx, dy, 64, 128)
    plain, blended = (Compensation(overlap=o)(*planes, vectors) for o in (False, True))
    torch.testing.assert_close(blended, plain)


def test_overlap_blends_what_the_neighbours_vectors_give() -> None:
    luma, chroma = torch.rand(1, 1, 32, 48) - 0.5, torch.rand(1, 2, 16, 24) - 0.5
    vectors = torch.randint(-12, 13, (1, 2, 4, 6)).float()
    found = planes_from_blocks(Compensation(overlap=True)(luma, chroma, vectors))
    around = F.pad(vectors, (1, 1, 1, 1), mode="replicate")

    def moved_by(down: int, right: int) -> Tensor:
        theirs = around[:, :, 1 + down : 5 + down, 1 + right : 7 + right]
        return moved(luma, theirs)

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
    torch.testing.assert_close(found[1], moved_chroma(chroma, vectors / 2))

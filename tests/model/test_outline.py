"""Outlines: where edges are and which way they run, the same of a picture and its mirror image.

.venv/bin/python -m pytest tests/model/test_outline.py
"""

import pytest
import torch

from mmclf.model.identity import OUTLINE_DIM
from mmclf.model.outline import CELLS, DIRECTIONS, outlines


def draw(count=4, side=96, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def cells_of(found):
    return found.view(len(found), DIRECTIONS, CELLS, CELLS)


def test_an_upright_edge_is_found_where_it_is():
    """Black to the left of a line at a quarter of the width: gradients run across there, and nowhere else."""
    picture = torch.zeros(1, 3, 128, 128, dtype=torch.uint8)
    picture[..., 40:] = 255
    [cells] = cells_of(outlines(picture))
    across = cells[0]
    # and in the mirror image
    assert (across[:, [2, 5]] > 0.4).all()
    cells[0][:, [2, 5]] = 0
    assert cells.abs().max() == 0


def test_a_level_edge_runs_the_other_way():
    picture = torch.zeros(1, 3, 128, 128, dtype=torch.uint8)
    picture[..., 40:, :] = 255
    [cells] = cells_of(outlines(picture))
    # half of a half turn lies between two of nine directions
    assert (cells[[4, 5], 2] > 0.4).all()
    assert cells[:, [0, 1, 3, 4, 5, 6, 7]].abs().max() == 0


def test_a_slope_is_found_with_its_mirror_image():
    across, down = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="xy")
    picture = ((across + down) * 2).to(torch.uint8).expand(1, 3, 64, 64).contiguous()
    [cells] = cells_of(outlines(picture))
    counts = cells[:, 1:-1, 1:-1].mean(dim=(1, 2))
    # an eighth of a turn is 2.25 of nine directions, and mirrored 6.75
    assert sorted(counts.topk(4).indices.tolist()) == [2, 3, 6, 7]
    assert float(counts[2]) == pytest.approx(float(counts[7]), abs=1e-4)


def test_a_mirror_image_has_the_same_and_another_picture_another():
    pictures = draw()
    found = outlines(pictures)
    assert found.shape == (4, OUTLINE_DIM)
    assert found.dtype == torch.float32
    torch.testing.assert_close(outlines(pictures.flip(3)), found, atol=1e-5, rtol=0)
    assert (found[0] - found[1]).abs().max() > 0.05


def test_half_the_contrast_hardly_matters_and_a_blank_picture_has_none():
    edge = torch.zeros(1, 3, 128, 128, dtype=torch.uint8)
    edge[..., 40:] = 255
    torch.testing.assert_close(outlines(edge // 2), outlines(edge), atol=0.05, rtol=0)
    assert outlines(torch.full((1, 3, 32, 32), 77, dtype=torch.uint8)).abs().max() == 0
    assert outlines(draw()).view(4, DIRECTIONS, -1).norm(dim=1).max() <= 1


def test_each_is_the_same_in_any_company():
    pictures = draw(6)
    together = outlines(pictures)
    for number in range(6):
        assert torch.equal(outlines(pictures[number : number + 1])[0], together[number])


def test_no_pictures_have_no_outlines():
    assert outlines(torch.empty(0, 3, 32, 32, dtype=torch.uint8)).shape == (0, OUTLINE_DIM)

"""Batches picked, permuted and scaled in one pass are those of torch's operations, bit for bit."""

import pytest
import torch

from synsim.kernels import pixels
from synsim.tasks import Examples

P = 784


def numbers(*shape, below, seed=0):
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(seed))


def orders(*shape):
    return torch.stack(
        [torch.randperm(P, generator=torch.Generator().manual_seed(k)) for k in range(shape[0])]
    ).reshape(*shape, P)


def examples(places, dtype=torch.float32):
    images = numbers(500, 28, 28, below=256).byte()
    offset, scale = torch.tensor(33.3184), torch.tensor(78.5675)
    return Examples(images, numbers(500, below=10), offset, scale, orders=places, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("places", "shape"), [((4, 1), (4, 100)), ((1,), (4, 100)), ((1,), (100,)), ((3, 1), (3, 300))]
)
def test_bits_are_those_of_the_steps_one_by_one(places, shape, dtype, threads, monkeypatch):
    data, index = examples(orders(*places), dtype), numbers(*shape, below=500, seed=1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert pixels.serves(data.images, index.numel() * P, dtype)
        fused, labels = data.batch(index)
        monkeypatch.setattr(pixels, "LEAST", 10**12)
        apart, same = data.batch(index)
    finally:
        torch.set_num_threads(before)
    assert fused.dtype == dtype
    assert fused.equal(apart)
    assert labels.equal(same)


@pytest.mark.parametrize("wrong", [500, -1])
def test_an_image_that_is_not_there_is_refused_as_by_torch(wrong, monkeypatch):
    data, index = examples(orders(1)), numbers(100, below=500)
    index[70] = wrong
    with pytest.raises(ValueError, match="index must lie from 0 to 499"):
        data.batch(index)
    monkeypatch.setattr(pixels, "LEAST", 10**12)
    with pytest.raises(ValueError, match="index must lie from 0 to 499"):
        data.batch(index)


def test_what_the_loop_does_not_serve_is_left_to_torch():
    images = numbers(500, 28, 28, below=256).byte()
    few, many = 10, pixels.LEAST
    assert not pixels.serves(images, few, torch.float32)
    assert not pixels.serves(images.float(), many, torch.float32)
    assert not pixels.serves(images, many, torch.float16)
    assert not pixels.serves(images.transpose(1, 2), many, torch.float32)
    assert not pixels.serves(images.to("meta"), many, torch.float32)

"""Release as a random process: the right frequencies, independent, the same bits on every path."""

import math
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

import synsim
from synsim import kernels, streams
from synsim.kernels import Constants, cpu, dispatch, reference

VECTORS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
N = 1_000_000
SMALL = 1e-4
"""Two-sided level of a test at a fixed seed; each of some dozens is expected to pass."""


def words(keys):
    return keys.numpy().astype(np.uint32)


def masks(p, seed=3, draws=1, sites=1, shape=(1000, 1000), name=None):
    layer = synsim.BernoulliLinear(shape[1], shape[0], p=p, sites=sites)
    layer.seed([seed], "layer" if name is None else name)
    found = []
    for draw in range(draws):
        with synsim.frozen(layer, draw):
            layer.draw()
            found.append(layer.mask.flatten().numpy())
    return found if draws > 1 else found[0]


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_philox_meets_its_published_vectors(counter, key, expected):
    assert tuple(int(w) for w in streams.philox([torch.tensor(c) for c in counter], key)) == expected
    fused = cpu.philox.py_func(*[np.uint64(c) for c in counter], *[np.uint64(k) for k in key])
    assert tuple(int(w) for w in fused) == expected


def test_the_fused_philox_is_the_reference():
    bits = np.empty(128 * 3, np.uint16)
    cpu.fill_bits(bits, 3, 5, 1, 7, 0, 2, 9, np.uint64(11), np.uint64(12))
    keys = torch.tensor([[11, 12]])
    slow = streams.release_bits(keys, 128 * 8, site=2, example=torch.tensor([7]), draw=9)[0, 0]
    assert (slow[128 * 5 :].numpy() == bits).all()


@pytest.mark.parametrize("p", [0.05, 0.25, 0.5, 0.9353])
def test_frequencies_are_those_of_p(p):
    released = int(masks(p).sum())
    exact = math.ceil(float(np.float32(p)) * 65536) / 65536
    assert abs(exact - p) < 2**-16
    assert stats.binomtest(released, N, exact).pvalue > SMALL


def test_p_of_one_always_releases():
    assert masks(1.0).all()


def test_several_sites_are_binomial():
    counts = np.bincount(masks(0.25, sites=5), minlength=6)
    expected = stats.binom.pmf(range(6), 5, 0.25) * N
    assert stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > SMALL


def correlation(a, b):
    a, b = a.astype(float) - a.mean(), b.astype(float) - b.mean()
    z = (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()) * math.sqrt(len(a))
    return 2 * stats.norm.sf(abs(z))


def test_no_correlation_across_draws_layers_and_seeds():
    first, second = masks(0.3, draws=2)
    assert correlation(first, second) > SMALL
    assert correlation(first, masks(0.3, name="other")) > SMALL
    assert correlation(first, masks(0.3, seed=4)) > SMALL


@pytest.mark.parametrize("lag", [1, 2, 16, 32, 127, 128, 1000])
def test_no_correlation_across_elements(lag):
    drawn = masks(0.3)
    assert correlation(drawn[:-lag], drawn[lag:]) > SMALL


def test_no_correlation_across_sites_and_examples():
    keys = streams.keys("train", [3], "layer")
    bits = [
        streams.release_bits(keys, N // 10, site=s, example=torch.tensor([e]), draw=0)[0, 0].numpy()
        for s, e in ((0, 0), (1, 0), (0, 1))
    ]
    assert correlation(bits[0], bits[1]) > SMALL
    assert correlation(bits[0], bits[2]) > SMALL
    assert correlation(bits[1], bits[2]) > SMALL


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sites", [1, 3])
@pytest.mark.parametrize("count", [5, 128, 1000, 9000])
def test_numba_and_torch_give_the_same_masks_and_strengths(dtype, sites, count):
    keys = streams.keys("train", [3, 4, 5], "layer")
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, count, generator=generator, dtype=dtype)
    p = 0.05 + 0.95 * torch.rand(3, count, generator=generator, dtype=dtype)
    assert kernels.path(weight) == "numba"
    fast = kernels.release(weight, p, keys, words(keys), sites, 6, 9)
    slow = reference.release(weight, p, keys, sites, 6, 9)
    assert torch.equal(fast[1], slow[1])
    assert torch.equal(fast[0], slow[0])
    gradient = torch.randn(3, count, generator=generator, dtype=dtype)
    passed = reference.mask_gradient(gradient, p, fast[1], sites)
    assert torch.equal(kernels.mask_gradient(gradient.clone(), p, fast[1], sites), passed)


def test_several_threads_give_the_same_masks():
    keys = streams.keys("train", [3, 4], "layer")
    weight, before = torch.randn(2, 700_001), torch.get_num_threads()
    p = torch.full_like(weight, 0.4)
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(kernels.release(weight, p, keys, words(keys), 1, 0, 1))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert torch.equal(found[0][0], other[0])
        assert torch.equal(found[0][1], other[1])


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("penalised", [False, True])
def test_numba_and_torch_learn_the_same(hard, penalised):
    generator = torch.Generator().manual_seed(1)
    shape = (2, 3001)
    weight, gradient, extra = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3))
    p = 0.25 + 0.75 * torch.rand(shape, generator=generator, dtype=torch.float64)
    columns = [[0.1, 0.2], [0.01, 0], [0.07, 0.1], [0.05, 0.2], [0.5, 1], [0.25, 0.3], [1, 0.9], [0.93, 2], [0, 1]]
    constants = Constants(torch.tensor(columns, dtype=torch.float64), True, hard)
    slow = [weight.clone(), p.clone()]
    reference.learn(*slow, gradient, extra if penalised else None, constants)
    kernels.learn(weight, p, gradient, extra if penalised else None, constants)
    assert torch.allclose(weight, slow[0], rtol=1e-14, atol=0)
    assert torch.allclose(p, slow[1], rtol=1e-14, atol=0)


def test_fused_kernels_serve_what_they_know(monkeypatch):
    w = torch.zeros(3, 4)
    assert kernels.path(w) == kernels.path(w, w.clone()) == kernels.path(w.double()) == "numba"
    for tensors in ((w.t(),), (w.bfloat16(),), (w.to("meta"),), (w, w.t()), (w, w.double())):
        assert kernels.path(*tensors) == "torch"
    assert dispatch.compiled(w.t())
    assert dispatch.compiled(w.long(), torch.float64)
    assert not any(map(dispatch.compiled, (w.half(), w.long(), w.to("meta"))))
    # What a tensor of a GPU says of itself.
    there = SimpleNamespace(dtype=torch.float32, is_contiguous=lambda: True, is_cpu=False, is_cuda=True)
    for has, chosen in ((True, "triton"), (False, "torch")):
        monkeypatch.setattr(dispatch, "_has_triton", lambda has=has: has)
        assert kernels.path(there, there) == chosen
    assert not dispatch.compiled(there)


def test_triton_gives_the_same_masks_and_steps():
    pytest.importorskip("triton", reason="Triton is not installed; it comes with CUDA builds of torch")
    code = """
import torch
from synsim import streams
from synsim.kernels import Constants, gpu, reference
g = torch.Generator().manual_seed(0)
keys = streams.keys("train", [3, 4], "layer")
for sites in (1, 3):
    w = torch.randn(2, 1500, generator=g); p = 0.05 + 0.95 * torch.rand(2, 1500, generator=g)
    out, count = torch.empty_like(w), torch.empty_like(w, dtype=torch.uint8)
    gpu.release(w, p, keys, sites, 6, 9, out, count)
    slow = reference.release(w, p, keys, sites, 6, 9)
    assert torch.equal(count, slow[1]) and torch.allclose(out, slow[0], rtol=1e-6)
    table = torch.rand(9, 2, generator=g, dtype=torch.float64)
    for hard in (False, True):
        a, b = (w.clone(), p.clone()), (w.clone(), p.clone())
        constants = Constants(table, True, hard)
        gpu.learn(*a, out, None, constants); reference.learn(*b, out, None, constants)
        assert torch.allclose(a[0], b[0], rtol=1e-5) and torch.allclose(a[1], b[1], rtol=1e-5)
"""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_draws_the_masks_of_the_cpu():
    one, other = (synsim.mlp([100, 60, 10], seed=4, replicas=2, device=device) for device in ("cpu", "cuda"))
    x = torch.randn(7, 100)
    one(x), other(x.cuda())
    for name, layer in synsim.synapses(one).items():
        assert torch.equal(layer.mask, synsim.synapses(other)[name].mask.cpu())
        assert torch.equal(layer.weight, synsim.synapses(other)[name].weight.cpu())


def test_permutations_are_uniform():
    rows = streams.permutation(streams.keys("order", range(20_000)), 5)
    assert torch.equal(rows.sort(1).values, torch.arange(5).expand(20_000, 5))
    for position in range(5):
        counts = torch.bincount(rows[:, position], minlength=5).numpy()
        assert stats.chisquare(counts).pvalue > SMALL


def test_uniform_numbers_are_uniform():
    drawn = streams.uniform(streams.keys("init", [1]), N)[0].numpy()
    assert stats.kstest(drawn, "uniform").pvalue > SMALL
    assert 0 <= drawn.min() < drawn.max() < 1


def test_keys_differ_by_purpose_seed_and_name():
    found = {streams.key(a, b, c) for a in ("train", "eval") for b in (1, 2) for c in ("", "0", "2")}
    assert len(found) == 12

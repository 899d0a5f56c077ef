"""Axes between example and inputs: tokens, which share the mask of their pass or of their example."""

import pytest
import torch
from torch import nn

import synsim
from synsim import meters

DOUBLE = torch.float64
B, T, I, O = 4, 3, 6, 5  # noqa: E741


def layer(scope="batch", replicas=None, p=0.4, bias=True):
    made = synsim.BernoulliLinear(I, O, p=p, bias=bias, scope=scope, replicas=replicas, dtype=DOUBLE)
    synsim.seed(made, 7)
    return made


def tokens(*lead):
    return torch.rand(*lead, I, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)


@pytest.mark.parametrize("shape", [(), (B,), (B, T), (B, T, 2)], ids=str)
def test_p_of_one_is_a_linear_layer_bit_for_bit(shape) -> None:
    made, plain = layer(p=1.0), nn.Linear(I, O, dtype=DOUBLE)
    plain.weight, plain.bias = made.weight, made.bias
    assert torch.equal(made(tokens(*shape)), plain(tokens(*shape)))


@pytest.mark.parametrize("replicas", [None, 2])
def test_one_mask_holds_for_all_tokens_of_a_pass(replicas) -> None:
    lead = () if replicas is None else (replicas,)
    made, x = layer(replicas=replicas), tokens(*lead, B, T, 2)
    out = made(x)
    transmitted = made.strength.detach() * made.mask
    bias = made.bias if replicas is None else made.bias[:, None, None, None]
    pattern = "oi,btui->btuo" if replicas is None else "roi,rbtui->rbtuo"
    assert torch.allclose(out, torch.einsum(pattern, transmitted, x) + bias, rtol=1e-12)
    assert made.draws == 1


@pytest.mark.parametrize("replicas", [None, 2])
def test_the_tokens_of_an_example_share_its_mask(replicas) -> None:
    lead = () if replicas is None else (replicas,)
    made, x = layer("sample", replicas), tokens(*lead, B, T)
    out = made(x)
    for b in range(B):
        strength = made.strength.detach() * made.draw_mask(b)
        pattern = "oi,ti->to" if replicas is None else "roi,rti->rto"
        bias = made.bias if replicas is None else made.bias[:, None]
        shown = x[b] if replicas is None else x[:, b]
        found = out[b] if replicas is None else out[:, b]
        assert torch.allclose(found, torch.einsum(pattern, strength, shown) + bias, rtol=1e-12)


def test_events_of_every_token_are_released_apart() -> None:
    made = layer("event")
    x = (tokens(B, T) > 0.5).to(DOUBLE)
    out = made(x)
    rows = x.transpose(0, 1).flatten(0, 1)
    synsim.seed(made, 7)
    assert torch.equal(out.transpose(0, 1).flatten(0, 1), made(rows, T))


@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_gradients_are_those_of_the_sum_over_tokens(scope) -> None:
    made, x = layer(scope), tokens(B, T)
    weights = torch.rand(B, T, O, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    (made(x) * weights).sum().backward()
    scales = made.scales(B if scope == "sample" else 1)[:, 0]
    by_hand = torch.einsum("bto,bti,boi->oi", weights, x, scales.expand(B, O, I))
    assert torch.allclose(made.weight.grad, by_hand, rtol=1e-12)


class Model(nn.Module):
    def __init__(self, scope):
        super().__init__()
        self.a, self.b = layer(scope), synsim.BernoulliLinear(O, 3, p=0.6, scope=scope, dtype=DOUBLE)
        synsim.seed(self, 7)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x))).mean(1)


@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_the_fisher_information_is_that_of_a_loop(scope) -> None:
    net, x = Model(scope), tokens(B, T)
    with synsim.expected(net):
        found = synsim.importance.make("fisher").estimate(net, x)
        expected = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
        for b in range(B):
            scores = net(x[b : b + 1])[0].log_softmax(0)
            for score in scores:
                gradients = torch.autograd.grad(score, list(net.parameters()), retain_graph=True)
                for total, gradient in zip(expected.values(), gradients, strict=True):
                    total += score.detach().exp() * gradient**2 / B
    for name, value in found.items():
        assert torch.allclose(value, expected[name], rtol=1e-10), name


def test_transmission_counts_every_token() -> None:
    net, x = nn.Sequential(layer(bias=False), nn.Flatten(1)), tokens(B, T)
    found = meters.transmission(net, x, samples=1)
    per_image = x.sum(1).mean(0)
    assert float(found.spikes) == pytest.approx(float(per_image.sum()))
    assert float(found.vesicles) == pytest.approx(float((net[0].p * per_image).sum()))
    assert float(found.strength) == pytest.approx(float((net[0].weight.detach().abs() * per_image).sum()))


def test_wrong_inputs_are_refused_in_words() -> None:
    with pytest.raises(
        ValueError, match=r"expects inputs of shape \[B, 6\], got \[4, 2, 3\]. Flatten the images first"
    ):
        layer()(torch.rand(4, 2, 3, dtype=DOUBLE))
    with pytest.raises(ValueError, match=r"steps and factor go with rows \[T · B, 6\]"):
        layer()(tokens(B, T), steps=2)
    with pytest.raises(ValueError, match=r"expects inputs of shape \[B, 6\] or \[2, B, 6\]"):
        layer(replicas=2)(tokens(B, T))

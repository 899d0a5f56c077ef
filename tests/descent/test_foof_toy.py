"""The example by which the source explains descent on neurons: two inputs whose gradients conflict."""

import torch
from torch import nn

import synsim


def half_squares(out: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (out - targets).square().sum() / 2


def test_one_step_meets_both_targets_where_gradient_descent_raises_the_second_loss():
    x = torch.tensor([[3.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    targets = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    net = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    nn.init.zeros_(net.weight)
    rule = synsim.FOOF(net, 1.0, 1e-13, average=0.0, warmup=0)
    with rule.watch():
        out = net(x)
    rule.backward(half_squares(out, targets), out)
    torch.testing.assert_close(net.weight.grad, torch.tensor([[-2.0, -1.0]], dtype=torch.float64))
    rule.step()
    torch.testing.assert_close(net.weight.detach(), torch.tensor([[-1.0, 4.0]], dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(net(x).detach(), targets, atol=1e-9, rtol=0)

    step = 0.1 * torch.tensor([[2.0, 1.0]], dtype=torch.float64)
    before, after = (half_squares(x[1:] @ w.T, targets[1:]) for w in (torch.zeros_like(step), step))
    assert after > before

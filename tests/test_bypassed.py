"""Weights that something uses without calling their layer: no synapse fails there, and that is said."""

import warnings

import pytest
import torch
from torch import Tensor, nn

import synsim
from synsim import meters
from synsim.training import fit

X, Y = torch.randn(12, 5, 8, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
CONSTANTS = {"lr": 0.1, "p_up": 0.05, "p_down": 0.05, "g_lim": 1e-3}


class Attentive(nn.Module):
    """Attention whose output layer was replaced, which torch uses without calling it."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.attention.out_proj = synsim.BernoulliLinear(8, 8, p=p, bias=True)
        self.head = synsim.BernoulliLinear(8, 3, p=0.5)
        self.resting = synsim.BernoulliLinear(8, 3, p=0.5)
        synsim.seed(self, 0)

    def forward(self, x: Tensor) -> Tensor:
        rows = x if x.ndim == 3 else x.unsqueeze(1)
        return self.head(self.attention(rows, rows, rows, need_weights=False)[0].mean(1))


class Encoder(nn.Module):
    """A layer of a Transformer, one token a row, which torch runs fused in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.layer.linear1 = synsim.BernoulliLinear(8, 16, p=0.5, bias=True)
        self.layer.linear2 = synsim.BernoulliLinear(16, 8, p=0.5, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


@pytest.mark.parametrize("measure", [meters.accuracy, meters.mutual_information, synsim.lesion_curve])
@pytest.mark.filterwarnings("ignore:lesions silence")
def test_meters_say_whose_synapses_never_failed(measure) -> None:
    with pytest.warns(UserWarning, match=r"layer 'attention.out_proj' of the network drew no mask") as caught:
        measure(Attentive(), X, Y)
    assert {found.filename for found in caught} == {__file__}


def test_the_fused_layer_of_torch_is_noticed() -> None:
    fused = nn.Sequential(Encoder(), nn.Flatten(1))
    with pytest.warns(UserWarning, match=r"layers '0.layer.linear1', '0.layer.linear2' of the network drew no mask"):
        meters.accuracy(fused, X, torch.zeros(12, dtype=torch.int64))


def test_what_rests_draws_or_always_releases_is_no_matter() -> None:
    quiet = [Attentive(p=1.0), synsim.MultiHead(synsim.mlp([8, 4]), [synsim.mlp([4, 3]) for _ in range(2)])]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        meters.accuracy(quiet[0], X, Y)
        meters.accuracy(quiet[1], X[:, 0], Y, head=1)
        with synsim.expected(net := Attentive()):
            meters.accuracy(net, X, Y)


def test_the_rule_says_so_at_its_first_step() -> None:
    net = Attentive()
    rule = synsim.PresynapticSGD(net, **CONSTANTS)
    synsim.cross_entropy(net(X), Y).backward()
    with pytest.warns(
        UserWarning, match=r"layer 'attention.out_proj' of the network drew no mask while others"
    ) as caught:
        rule.step()
    assert {found.filename for found in caught} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        synsim.cross_entropy(net(X), Y).backward()
        rule.step()


def test_so_does_fit_with_any_optimiser() -> None:
    images = torch.randint(256, (12, 2, 4), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    tasks = synsim.tasks.single(synsim.data.Dataset("made", images, Y, images, Y, 3, 255, (0.5,), (0.3,)))
    net = Attentive()
    with (
        pytest.warns(UserWarning, match=r"layer 'attention.out_proj' of the network drew no mask in these passes"),
        pytest.warns(UserWarning, match=r"layer 'attention.out_proj' of the network drew no mask while others"),
    ):
        fit(net, torch.optim.Adam(net.parameters()), tasks, seeds=[0], steps=1, batch=4)

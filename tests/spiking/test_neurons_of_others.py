"""Networks of examples/spiking: neurons of other libraries between our synapses, in a loop that holds one mask."""

import copy
import importlib
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

import synsim

FOLDER = Path(synsim.__file__).resolve().parent.parent / "examples" / "spiking"


@pytest.fixture(params=["snntorch", "norse"])
def example(request):
    pytest.importorskip(request.param)
    importlib.import_module(request.param)
    return runpy.run_path(str(FOLDER / f"with_{request.param}.py"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_step_of_a_pass_has_the_same_mask(example):
    net = synsim.networks.initialised(example["Net"](), 3)
    x = torch.rand(5, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = net(x)
        plain = copy.deepcopy(net)
        for name, layer in synsim.synapses(net).items():
            linear = nn.Linear(layer.in_features, layer.out_features, bias=False)
            linear.weight.copy_(layer.weight * layer.mask / layer.p)
            setattr(plain, name, linear)
        # The copy has none of the synapses, only the encoder: its latest spikes.
        with synsim.frozen(plain):
            assert torch.allclose(plain(x), out, rtol=1e-4, atol=1e-5)
    assert float(out.abs().max()) > 0.01
    assert all(layer.draws == 1 for layer in synsim.synapses(net).values())
    assert not torch.allclose(net(x), out)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_they_learn(example, capsys):
    assert example["main"](epochs=1) > 0.2
    assert "% of the test images" in capsys.readouterr().out

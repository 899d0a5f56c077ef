"""snnTorch's neurons between synapses that fail: a loop over time written by hand, with one mask for all of its steps.

Run it with `python examples/spiking/with_snntorch.py`; it needs `pip install snntorch`.
"""

import snntorch
import torch
from snntorch import surrogate
from torch import Tensor, nn

import synsim

WINDOW, STEP = 25.0, 1.0
"""How long an image is shown, and a step, in ms."""


class Net(nn.Module):
    """Two layers of synapses, a population that fires, and a leaky readout."""

    def __init__(self, p: float = 0.5, scope: str = "batch") -> None:
        super().__init__()
        self.encoder = synsim.spiking.PoissonRates(200.0, window=WINDOW, dt=STEP)
        self.into = synsim.BernoulliLinear(64, 60, p=p, scope=scope)
        self.out = synsim.BernoulliLinear(60, 10, p=p, scope=scope)
        self.hidden = snntorch.Leaky(beta=0.9, threshold=0.5, spike_grad=surrogate.fast_sigmoid(slope=10))
        self.readout = snntorch.Leaky(beta=0.9, reset_mechanism="none")

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, 10] of images [B, 64] with pixels in [0, 1]: the mean membrane of the readout."""
        v, read, total = self.hidden.init_leaky(), self.readout.init_leaky(), torch.zeros(1, 1, device=x.device)
        with synsim.held(self):
            spikes_in = self.encoder(x)
            for now in spikes_in:
                spikes, v = self.hidden(self.into(now), v)
                _, read = self.readout(self.out(spikes), read)
                total = total + read
        return total / len(spikes_in)


def main(epochs: int = 4) -> float:
    """Train on the digits by the presynaptic rule.

    Args:
        epochs: passes over the data.

    Returns:
        Accuracy on the test images.
    """
    task = synsim.tasks.single(synsim.data.load("digits"), pixels="unit")
    net = synsim.networks.initialised(Net(), 0)
    rule = synsim.PresynapticSGD(net, lr=0.05, p_up=0.07, p_down=0.07, g_lim=1e-3)
    history = synsim.training.fit(net, rule, task, seeds=[0], epochs=epochs, batch=20)
    accuracy = float(history.accuracy[0, -1, -1])
    print(f"snnTorch's neurons: {100 * accuracy:.1f} % of the test images; mean p {float(net.into.p.mean()):.3f}")
    return accuracy


if __name__ == "__main__":
    main()

"""norse's neurons between synapses that fail, in a recurrent network: a loop over time by hand, one mask for all steps.

Run it with `python examples/spiking/with_norse.py`; it needs `pip install norse`.
"""

import torch
from norse.torch import LIBoxCell, LIBoxParameters, LIFBoxCell, LIFBoxParameters
from torch import Tensor, nn

import synsim

WINDOW, STEP = 25.0, 1.0
"""How long an image is shown, and a step, in ms."""


class Net(nn.Module):
    """Synapses into a population that fires, among its neurons, and to a leaky readout."""

    def __init__(self, p: float = 0.5, scope: str = "batch") -> None:
        super().__init__()
        self.encoder = synsim.spiking.PoissonRates(200.0, window=WINDOW, dt=STEP)
        self.into = synsim.BernoulliLinear(64, 60, p=p, scope=scope)
        self.among = synsim.BernoulliLinear(60, 60, p=p, scope=scope)
        self.out = synsim.BernoulliLinear(60, 10, p=p, scope=scope)
        fires = LIFBoxParameters(tau_mem_inv=torch.tensor(100.0), v_th=torch.tensor(0.5), alpha=torch.tensor(10.0))
        self.hidden = LIFBoxCell(p=fires, dt=STEP / 1000)
        self.readout = LIBoxCell(p=LIBoxParameters(tau_mem_inv=torch.tensor(100.0)), dt=STEP / 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, 10] of images [B, 64] with pixels in [0, 1]: the mean membrane of the readout."""
        spikes, v, read = x.new_zeros(len(x), 60), None, None
        total = x.new_zeros(len(x), 10)
        with synsim.held(self):
            spikes_in = self.encoder(x)
            for now in spikes_in:
                # norse's input is a current: a jump of v is τ / dt times as large.
                spikes, v = self.hidden(10 * (self.into(now) + self.among(spikes)), v)
                membrane, read = self.readout(10 * self.out(spikes), read)
                total = total + membrane
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
    rule = synsim.PresynapticSGD(net, lr=0.02, p_up=0.07, p_down=0.07, g_lim=1e-3)
    history = synsim.training.fit(net, rule, task, seeds=[0], epochs=epochs, batch=20)
    accuracy = float(history.accuracy[0, -1, -1])
    print(f"norse's neurons: {100 * accuracy:.1f} % of the test images; mean p {float(net.among.p.mean()):.3f}")
    return accuracy


if __name__ == "__main__":
    main()

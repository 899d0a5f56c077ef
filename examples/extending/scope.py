"""A release scope of your own: in an example, all synapses of an input neuron release together, or none does.

A scope says in one function which sites release where; layers, networks, meters and importances take it by its name.
Run it: python examples/extending/scope.py
"""

import torch
from torch import Tensor

import synsim
from synsim.synapses import scopes


@scopes.register(synsim.BernoulliLinear)
class Axon(scopes.PerExample):
    """One number per input neuron and example decides, instead of one per synapse: failures of conduction."""

    name = "axon"

    def counts(self, p: Tensor, keys: Tensor, sites: int, rows: Tensor, draw: int) -> Tensor:
        """Count releases.

        Args:
            p: release probabilities [R, O, I].
            keys: of the streams, int64 [R, 2].
            sites: release sites per synapse.
            rows: int64 [E], indices of examples.
            draw: number of the draw.

        Returns:
            uint8 [E, R, O, I].
        """
        # 16 bits for each input, [E, R, I], shared by all of its synapses. Nothing is written in place, so that
        # torch.func can go through.
        bits = [scopes.release_bits(keys, p.shape[-1], site=site, example=rows, draw=draw) for site in range(sites)]
        return torch.stack([each.unsqueeze(2) < p * 65536 for each in bits]).sum(0, dtype=torch.uint8)


if __name__ == "__main__":
    net = synsim.mlp([64, 40, 10], p=0.5, scope="axon", seed=1)
    x, y = torch.rand(200, 64, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 10
    synsim.cross_entropy(net(x), y).backward()
    masks = torch.stack([net[0].draw_mask(example) for example in range(200)]).double()
    together = bool((masks == masks[:, :1]).all())
    print(f"released: {float(masks.mean()):.3f} of p = 0.5; all synapses of an axon together: {together}")
    fisher = synsim.importance.make("fisher", view="sampled", samples=2, block=50).estimate(net, x)
    print(f"accuracy: {float(synsim.meters.accuracy(net, x, y)):.3f}; Fisher of {len(fisher)} weights")

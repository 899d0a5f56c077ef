"""
Can my own network fail too?
============================

Any model's linear layers and convolutions become synapses by `convert`, and learn when to fail beside any
optimiser. Shown is how often the synapses of each layer of a small convolutional network release after learning
the digits.
"""

import torch
from torch import nn

import synsim
from synsim import plots

digits = synsim.tasks.single(synsim.data.load("digits"))[0]
plain = nn.Sequential(
    nn.Unflatten(-1, (1, 8, 8)), nn.Conv2d(1, 8, 3), nn.ReLU(),
    nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10),
)  # fmt: skip
net = synsim.convert(plain, p=0.5)
adam = torch.optim.AdamW(net.parameters(), lr=1e-3)
synsim.plastic(adam, net, p_up=0.07, p_down=0.07, g_lim=1e-3)
for epoch in range(8):
    order = synsim.tasks.epoch_order([0], task=0, epoch=epoch, count=len(digits.train))
    for index in synsim.tasks.batches(order, 20):
        x, y = digits.batch(index[0])
        adam.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        adam.step()
print(f"accuracy: {float(synsim.meters.accuracy(net, digits.test, digits.test.y)):.3f}")
with plots.style():
    made, (ax,) = plots.figure(width=4.5)
    centres = torch.linspace(0.05, 0.95, 10)
    for number, (name, layer) in enumerate(synsim.synapses(net).items()):
        shares = torch.histc(layer.p, 10, 0.0, 1.0)[None] / layer.p.numel()
        plots.histogram(ax, centres, shares, f"{type(layer).__name__} {name}", number)
    ax.set(xlabel="release probability p", ylabel="share of the synapses")
    ax.legend()
made

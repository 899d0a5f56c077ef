"""
What does a failing synapse do to a spike?
==========================================

A synapse releases with probability p and is then as strong as w̄ / p, so that its mean is w̄, whatever p may be.
"""

import torch

import synsim

net = synsim.mlp([1, 1], p=0.25, replicas=200)
with torch.no_grad():
    net[0].weight.fill_(0.5)
print(net(torch.ones(200, 1, 1)).mean())

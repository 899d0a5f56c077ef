"""A network is put back as it was, whatever its forward pass writes."""

import random
from collections import Counter, OrderedDict, deque

import numpy as np
import torch
from torch import nn

from synsim._kept import kept, kept_generators


class Busy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.count, self.last, self.log = 0, None, [1]
        self.parts = {"shapes": [(0,)], "seen": {2}}
        self.queue, self.counter, self.order = deque([1], maxlen=3), Counter(a=2), OrderedDict(a=1, b=2)
        self.array, self.tensor = np.zeros(2), torch.zeros(2)
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.count += 1
        self.last = self.layer(x)
        self.log.append(x)
        self.parts["shapes"].append(x.shape)
        self.parts["seen"].add(3)
        self.parts["new"] = 1
        self.queue.extend([2, 3, 4])
        self.counter.update("ab")
        self.order.move_to_end("a")
        self.array += 1
        self.tensor += 1
        self.tensor = self.tensor + 1
        self.mean.data.add_(1)
        self.mean = self.mean + x.mean()
        self.steps += 1
        self.extra = x
        self.register_buffer("late", x)
        self.layer.surprise = 1
        return self.last + torch.rand(2)


def test_everything_a_forward_pass_writes_is_undone():
    net = Busy()
    net.layer.eval()
    before = {**vars(net)}
    buffers, objects = dict(net.named_buffers()), [net.log, net.parts, net.parts["shapes"], net.queue, net.order]
    state = torch.get_rng_state()
    with kept(net):
        net(torch.ones(4, 3))
        net.train()
        torch.vmap(net.layer)(torch.ones(4, 3))
        assert net.count == 1
    assert torch.equal(torch.get_rng_state(), state)
    assert vars(net).keys() == before.keys()
    assert dict(net.named_buffers()).keys() == buffers.keys()
    assert all(one is buffers[name] and not one.any() for name, one in net.named_buffers())
    assert not hasattr(net.layer, "surprise")
    assert (net.training, net.layer.training) == (True, False)
    assert (net.count, net.last, net.log) == (0, None, [1])
    assert net.parts == {"shapes": [(0,)], "seen": {2}}
    assert (net.queue, net.queue.maxlen) == (deque([1]), 3)
    assert net.counter == Counter(a=2)
    assert list(net.order) == ["a", "b"]
    assert not net.array.any()
    assert not net.tensor.any()
    assert net.tensor is before["tensor"]
    now = [net.log, net.parts, net.parts["shapes"], net.queue, net.order]
    assert all(a is b for a, b in zip(now, objects, strict=True))


def test_it_is_undone_after_an_error_too():
    net = Busy()
    try:
        with kept(net):
            net(torch.ones(4, 3))
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert (net.count, float(net.steps), float(net.mean.sum())) == (0, 0, 0)


def test_a_tensor_that_was_resized_has_its_shape_again():
    net = nn.Linear(2, 2)
    net.kept = torch.arange(3.0)
    with kept(net):
        net.kept.resize_(6).fill_(7)
    assert net.kept.tolist() == [0, 1, 2]


def test_generators():
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    with kept_generators():
        torch.rand(3)
        random.random()
        np.random.random(3)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    assert random.getstate() == before[0]
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), before[1], strict=True))  # noqa: NPY002

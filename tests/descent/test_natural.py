"""The natural gradient of any network against the dense inverse, its batches, replicas, and what it refuses."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import synsim
from synsim._names import named_parameters
from synsim.curvature.labels import seeds_of
from synsim.descent.outputs import sampled
from synsim.losses import class_logits, replica_cross_entropy

B = 5


def plain(bias=False):
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 5, bias=bias), nn.Tanh(), nn.Linear(5, 3, bias=bias)), (4,), 3


def convolutional():
    torch.manual_seed(4)
    layers = [nn.Conv2d(2, 4, 2, groups=2), nn.Tanh(), nn.Conv2d(4, 2, 2, padding=1, bias=False), nn.Tanh()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(18, 3)), (2, 3, 3), 3


def stochastic():
    return synsim.mlp([4, 6, 3], p=0.5, bias=True, seed=2), (4,), 3


def replicated():
    return synsim.mlp([4, 6, 3], p=0.5, bias=True, replicas=2, seed=2), (4,), 3


def single_output():
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)), (4,), 2


NETS = {
    "plain": plain,
    "biases": lambda: plain(True),
    "convolutions": convolutional,
    "masks": stochastic,
    "replicas": replicated,
    "one output": single_output,
}


def made(name, seed=0):
    net, shape, classes = NETS[name]()
    numbers = torch.Generator().manual_seed(seed)
    x = torch.randn(B, *shape, generator=numbers, dtype=torch.float64)
    return net.double(), x, torch.randint(0, classes, (B,), generator=numbers)


def pass_of(rule, net, x, y):
    rule.zero_grad()
    with rule.watch():
        logits = net(x)
    losses = replica_cross_entropy(logits, y)
    rule.backward(losses, logits)
    return losses, logits


def flat(tensors, r, replicas):
    return torch.cat([(t if replicas is None else t[r]).flatten() for t in tensors])


def roots_of(logits, labels, seeds, draw):
    """Weighted gradients of the logits of every example, [K, (R,) B, C], written out label by label."""
    if labels == "sampled":
        return sampled(logits, "categorical", seeds, "descent/natural", draw)[None]
    z = class_logits(logits.detach())
    p = z.softmax(-1)
    each = [p[..., c : c + 1].sqrt() * (p - F.one_hot(torch.tensor(c), z.shape[-1])) for c in range(z.shape[-1])]
    return torch.stack(each)[..., -logits.shape[-1] :]


def dense(net, x, labels, draw, blocks, layers):
    """The Fisher [R, n, n] of the latest pass: one backward pass per example and label, the whole matrix."""
    names = [name for name, _ in named_parameters(net)]
    parameters, replicas = dict(named_parameters(net)), synsim.networks.replicas_of(net)
    with synsim.frozen(net):
        logits = net(x)
    roots = roots_of(logits, labels, seeds_of(net, 0), draw).detach()
    found = []
    for r in range(replicas or 1):
        total = 0
        for root in roots:
            for i in range(B):
                own = logits[i] @ root[i] if replicas is None else logits[r, i] @ root[r, i]
                column = flat(torch.autograd.grad(own, list(parameters.values()), retain_graph=True), r, replicas)
                total = total + torch.outer(column, column) / B
        if blocks:
            owners = torch.cat(
                [
                    torch.full((parameters[n].numel() // (replicas or 1),), layers.index(n.rpartition(".")[0]))
                    for n in names
                ]
            )
            total = total * (owners[:, None] == owners)
        found.append(total)
    return found


@pytest.mark.parametrize("blocks", [False, True], ids=["whole", "blocks"])
@pytest.mark.parametrize("labels", ["sampled", "exact"])
@pytest.mark.parametrize("name", NETS)
def test_the_move_is_that_of_the_dense_inverse(name, labels, blocks):
    for seed, damping in enumerate((1e-4, 1.0)):
        net, x, y = made(name, seed)
        rule = synsim.NaturalGradient(net, 1.0, damping, labels=labels, blocks=blocks, batch="same")
        pass_of(rule, net, x, y)
        moves, parameters = rule.moves(), dict(named_parameters(net))
        layers = list(dict.fromkeys(n.rpartition(".")[0] for n in parameters))
        replicas = synsim.networks.replicas_of(net)
        for r, fisher in enumerate(dense(net, x, labels, 0, blocks, layers)):
            gradient = flat([p.grad for p in parameters.values()], r, replicas)
            expected = torch.linalg.solve(fisher + damping * torch.eye(len(gradient), dtype=torch.float64), gradient)
            found = flat([moves[n] for n in parameters], r, replicas)
            assert float((found - expected).norm() / expected.norm()) <= 1e-10


@pytest.mark.parametrize("blocks", [False, True], ids=["whole", "blocks"])
@pytest.mark.parametrize("name", NETS)
def test_conjugate_gradients_move_as_the_root_does(name, blocks):
    for damping in (1e-4, 1.0):
        moves = []
        for tolerance in (None, 1e-12):
            net, x, y = made(name)
            options = {"labels": "exact", "blocks": blocks, "batch": "same", "tolerance": tolerance}
            rule = synsim.NaturalGradient(net, 1.0, damping, memory=64 if tolerance is None else 1e-9, **options)
            pass_of(rule, net, x, y)
            moves.append(torch.cat([each.flatten() for each in rule.moves().values()]))
        exact, close = moves
        assert float((close - exact).norm() / exact.norm()) <= 1e-8


def test_gaussian_outputs_make_the_generalised_gauss_newton_matrix():
    net, x, _ = made("biases")
    rule = synsim.NaturalGradient(net, 1.0, 0.1, labels="exact", likelihood="gaussian", batch="same")
    with rule.watch():
        out = net(x)
    rule.backward(out.square().sum(-1).mean() / 2, out)
    jacobian = torch.stack(
        [flat(torch.autograd.grad(net(x)[i, c], list(net.parameters())), 0, None) for i in range(B) for c in range(3)]
    )
    fisher = jacobian.t() @ jacobian / B
    gradient = flat([p.grad for p in net.parameters()], 0, None)
    expected = torch.linalg.solve(fisher + 0.1 * torch.eye(len(gradient), dtype=torch.float64), gradient)
    found = flat(list(rule.moves().values()), 0, None)
    assert float((found - expected).norm() / expected.norm()) <= 1e-10


def stepped(net, rule, x, y, estimate=None):
    if estimate is not None:
        rule.estimate(estimate)
    pass_of(rule, net, x, y)
    rule.step()
    return [p.detach().clone() for p in net.parameters()]


def test_an_independent_batch_of_the_same_images_is_the_same_batch():
    made_by = []
    for batch in ("same", "independent"):
        net, x, y = made("biases")
        rule = synsim.NaturalGradient(net, 0.1, 0.1, batch=batch)
        made_by.append(stepped(net, rule, x, y, x if batch == "independent" else None))
    for a, b in zip(*made_by, strict=True):
        assert float((a - b).detach().abs().max()) <= 1e-14


def test_the_previous_batch_is_that_of_the_step_before_with_its_parameters():
    net, x, y = made("biases")
    _, _, z = made("biases", 1)
    twin = copy.deepcopy(net)
    previous = synsim.NaturalGradient(net, 0.1, 0.1, batch="previous", labels="exact")
    independent = synsim.NaturalGradient(twin, 0.1, 0.1, labels="exact")
    stepped(net, previous, x, y)
    independent.estimate(x)
    pass_of(independent, twin, x, y)
    independent.step()
    # The Fisher of the first batch at the first parameters, for the gradient of the second.
    start, _, _ = made("biases")
    now = copy.deepcopy(twin.state_dict())
    twin.load_state_dict(start.state_dict())
    independent.estimate(x)
    twin.load_state_dict(now)
    second = torch.randn(B, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    pass_of(independent, twin, second, z)
    independent.step()
    stepped(net, previous, second, z)
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        assert float((a - b).detach().abs().max()) <= 1e-13


def test_the_first_images_of_a_batch_make_the_fisher():
    net, x, y = made("biases")
    few = synsim.NaturalGradient(net, 0.1, 0.1, batch="same", images=2, labels="exact")
    pass_of(few, net, x, y)
    independent = synsim.NaturalGradient(net, 0.1, 0.1, images=2, labels="exact")
    independent.estimate(x[:2])
    net.zero_grad()
    pass_of(independent, net, x, y)
    for name, move in few.moves().items():
        assert float((move - independent.moves()[name]).abs().max()) <= 1e-13


def test_replicas_are_single_networks():
    sweep = {"lr": torch.tensor([0.1, 0.2, 0.3]), "damping": torch.tensor([0.01, 0.1, 1.0])}
    together = synsim.mlp([4, 6, 3], p=0.7, replicas=3, seed=1).double()
    alone = [synsim.mlp([4, 6, 3], p=0.7, seed=seed).double() for seed in (1, 2, 3)]
    rules = [synsim.NaturalGradient(together, **sweep, momentum=0.9, batch="previous")]
    rules += [
        synsim.NaturalGradient(net, float(sweep["lr"][r]), float(sweep["damping"][r]), momentum=0.9, batch="previous")
        for r, net in enumerate(alone)
    ]
    numbers = torch.Generator().manual_seed(0)
    for _ in range(4):
        x = torch.randn(B, 4, generator=numbers, dtype=torch.float64)
        y = torch.randint(0, 3, (B,), generator=numbers)
        for net, rule in zip([together, *alone], rules, strict=True):
            stepped(net, rule, x, y)
    for r, net in enumerate(alone):
        for a, b in zip(together.parameters(), net.parameters(), strict=True):
            assert float((a[r] - b).detach().abs().max()) <= 1e-6


@pytest.mark.parametrize("batch", ["previous", "same"])
def test_a_rule_that_is_restored_goes_on_to_the_bit(batch, tmp_path):
    def start():
        net = synsim.mlp([4, 6, 3], p=0.5, replicas=2)
        return net, synsim.NaturalGradient(net, 0.1, 0.1, momentum=0.5, batch=batch)

    (net, rule), numbers = start(), torch.Generator().manual_seed(0)
    batches = [(torch.randn(B, 4, generator=numbers), torch.randint(0, 3, (B,), generator=numbers)) for _ in range(6)]
    for x, y in batches[:3]:
        stepped(net, rule, x, y)
    torch.save({"net": net.state_dict(), "rule": rule.state_dict()}, tmp_path / "half.pt")
    other, second = start()
    kept = torch.load(tmp_path / "half.pt", weights_only=True)
    other.load_state_dict(kept["net"])
    second.load_state_dict(kept["rule"])
    for x, y in batches[3:]:
        stepped(net, rule, x, y)
        stepped(other, second, x, y)
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_state_does_not_grow():
    net, x, y = made("plain")
    rule = synsim.NaturalGradient(net, 0.1, 0.1, batch="previous")
    sizes = []
    for _ in range(3):
        stepped(net, rule, x, y)
        sizes.append(sum(v.numel() for s in rule.state.values() for v in s.values() if isinstance(v, torch.Tensor)))
    assert sizes[0] == sizes[-1] == sum(B * (i + o) for i, o in ((4, 5), (5, 3)))


def test_a_penalty_joins_the_gradient_before_it_is_preconditioned():
    net, x, y = made("biases")
    rule = synsim.NaturalGradient(net, 0.1, 0.1, batch="same", labels="exact")
    pass_of(rule, net, x, y)
    pull = {name: torch.ones_like(p) for name, p in net.named_parameters()}
    pulled = rule.moves(penalty=pull)
    plain_move = rule.moves()
    for p in net.parameters():
        p.grad.copy_(torch.ones_like(p))
    alone = rule.moves()
    for name, move in pulled.items():
        assert float((move - plain_move[name] - alone[name]).abs().max()) <= 1e-12


def test_what_does_not_fit_is_refused():
    net, x, y = made("plain")
    with pytest.raises(ValueError, match=r"damping must be above 0, got 0\.0"):
        synsim.NaturalGradient(net, 0.1, 0.0)
    with pytest.raises(ValueError, match="batch must be"):
        synsim.NaturalGradient(net, 0.1, 0.1, batch="other")
    with pytest.raises(ValueError, match="labels must be"):
        synsim.NaturalGradient(net, 0.1, 0.1, labels="empirical")
    with pytest.raises(ValueError, match=r"tolerance must be above 0, got 0\.0"):
        synsim.NaturalGradient(net, 0.1, 0.1, tolerance=0.0)
    rule = synsim.NaturalGradient(net, 0.1, 0.1)
    pass_of(rule, net, x, y)
    with pytest.raises(ValueError, match=r"call rule.estimate\(x\)"):
        rule.step()
    with pytest.raises(ValueError, match="expected images=3 images for the Fisher, got 5"):
        synsim.NaturalGradient(net, 0.1, 0.1, images=3).estimate(x)
    with pytest.raises(ValueError, match="leave this out"):
        synsim.NaturalGradient(net, 0.1, 0.1, batch="same").estimate(x)
    with pytest.raises(ValueError, match="images=7 of a batch are to make the Fisher, which has 5"):
        pass_of(synsim.NaturalGradient(net, 0.1, 0.1, images=7, batch="same"), net, x, y)


def test_a_gram_matrix_beyond_memory_is_refused_by_its_size():
    net, x, y = made("plain")
    rule = synsim.NaturalGradient(net, 0.1, 0.1, batch="same", labels="exact", memory=1e-3)
    with pytest.raises(ValueError, match=r"5 images with 2 columns each make a Gram matrix of 10 × 10, which takes"):
        pass_of(rule, net, x, y)


@pytest.mark.parametrize("options", [
    {"batch": "independent", "images": 7}, {"batch": "previous"}, {"batch": "same", "labels": "exact", "blocks": True},
    {"batch": "same", "labels": "exact", "blocks": True, "tolerance": 1e-3},
], ids=["independent", "previous", "exact blocks", "conjugate gradients"])  # fmt: skip
def test_fit_lowers_the_loss(options):
    (task,) = synsim.tasks.single(synsim.data.load("digits"))
    net = synsim.mlp([task.inputs, 10, task.classes], p=1.0, replicas=2)
    rule = synsim.NaturalGradient(net, 0.05, 1.0, **options)
    loss = synsim.training.fit(net, rule, [task], epochs=2, batch=50).dataset().loss.isel(task=0)
    assert bool((loss.isel(epoch=1) < 0.9 * loss.isel(epoch=0)).all())


def test_in_fit_a_replica_whose_factors_have_no_inverse_fails_and_the_others_go_on():
    (task,) = synsim.tasks.single(synsim.data.load("digits"))

    def made(lr):
        net = synsim.mlp([task.inputs, 10, task.classes], p=1.0, replicas=2, seed=3)
        return net, synsim.FOOF(net, torch.tensor([0.01, lr]), 1.0, period=1, average=0.0, warmup=1)

    net, rule = made(1e9)
    x, y = task.batch(torch.arange(50))
    rule.warm_up([x])
    with pytest.raises(ValueError, match=r"not positive definite at step 3 with the damping .* in replicas \[1\]"):  # noqa: PT012
        for _ in range(5):
            stepped(net, rule, x, y)
    losses = []
    for lr in (1e9, 0.01):
        found = synsim.training.fit(*made(lr), [task], epochs=1, batch=50).dataset()
        losses.append(found.loss.values[:, 0, -1])
        assert found.failed.values.tolist() == [False, lr > 1]
    assert losses[0][0] == losses[1][0]

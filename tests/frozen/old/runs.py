"""Runs that were stopped on their way, and one that ended, under an earlier release: folders that still have to open.

python tests/frozen/old/runs.py FOLDER    writes them, with the digests of the same runs that nothing stopped

It asks the package for no more than every release has, so that it can be run under an old one.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

import synsim
from synsim import consolidation, importance, records
from synsim.training import Protection, Session, fit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from results import RULE, arithmetic, digest, summary

SEEDS = (1, 2)
BATCH = 70
CONFIG = {"data": "digits", "seeds": list(SEEDS)}


class StoppedHereError(Exception):
    """A run was cut off after a number of its steps."""


class Cut:
    """The checkpoints of a phase that is cut off at a step; None: never."""

    def __init__(self, store, step):
        self.store, self.step, self.asked = store, step, 0

    def load(self):
        return self.store.load()

    def due(self):
        self.asked += 1
        return self.asked == self.step

    def save(self, tensors, meta):
        self.store.save(tensors, meta)
        if self.asked == self.step:
            raise StoppedHereError


def tasks():
    return synsim.tasks.split(synsim.data.load("digits"))[:2]


def network(dropout=0.0):
    layers = [synsim.BernoulliLinear(64, 4, p=0.5, replicas=2), nn.ReLU()]
    layers += [synsim.dropout.StreamDropout(dropout, replicas=2)] if dropout else []
    return synsim.networks.initialised(nn.Sequential(*layers, synsim.BernoulliLinear(4, 2, p=0.5, replicas=2)), SEEDS)


def presynaptic():
    net = network()
    guard = Protection(importance.make("si"), consolidation.make("penalty", strength=0.1))
    return net, synsim.PresynapticSGD(net, weight_decay=1e-3, **RULE), {"protection": guard}


def adam():
    net = network()
    rule = torch.optim.Adam(net.parameters(), 0.01)
    guard = Protection(importance.make("fisher", images=20), consolidation.make("modulation"), reset_optimiser=True)
    return net, rule, {"protection": guard}


def dropping():
    net = network(0.5)
    guard = Protection(
        importance.make("si-unbiased"), consolidation.make("freeze", share=0.3), watch={"sos": importance.make("sos")}
    )
    probes = {"strength": lambda net, task: net[0].weight.detach().abs().mean((-1, -2))}
    momentum = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    return net, momentum, {"protection": guard, "probes": probes}


def bgd():
    net = network()
    return net, synsim.BGD(net, sigma=0.05, samples=2, scale=BATCH), {}


RUNS = {"presynaptic": (presynaptic, 6), "adam": (adam, 13), "dropping": (dropping, 11), "bgd": (bgd, 6)}
"""Name -> what builds it, and the step at which it was stopped."""


def trained(name, store=None) -> dict[str, Tensor]:
    """Everything that a run leaves behind, wall time apart."""
    net, rule, options = RUNS[name][0]()
    history = fit(net, rule, tasks(), seeds=SEEDS, epochs=2, batch=BATCH, samples=2, store=store, **options)
    found = {f"net/{key}": value for key, value in net.state_dict().items() if value.is_floating_point()}
    found |= {key: value for key, value in history.tensors().items() if key != "epoch/seconds"}
    return found | (options["protection"].tensors() if "protection" in options else {})


def finished(folder) -> None:
    """A run with a record."""
    session = Session(folder)
    net, rule, options = presynaptic()
    phase = session.phase(
        "presynaptic",
        net,
        lambda store: fit(net, rule, tasks(), seeds=SEEDS, epochs=2, batch=BATCH, samples=2, store=store, **options),
    )
    accuracy = float(phase.dataset.accuracy[:, -1].mean())
    row = {"method": "presynaptic", "metric": "accuracy", "mean": accuracy, "sem": None, "n": 2, "published": None}
    session.finish(phase.dataset, [row])


def main(out: Path) -> None:
    torch.set_num_threads(1)
    found = {name: trained(name) for name in RUNS}
    for name in ("stopped", "finished"):
        shutil.rmtree(out / name, ignore_errors=True)
    folder = records.create(out / "stopped", CONFIG)
    session = Session(folder)
    for name, (_, step) in RUNS.items():
        try:
            trained(name, Cut(session.open(name), step))
        except StoppedHereError:
            continue
        raise AssertionError(f"{name} ended before step {step}")
    finished(records.create(out / "finished", CONFIG))
    kept = {
        "torch": torch.__version__.partition("+")[0],
        "arithmetic": arithmetic(),
        "runs": {name: {"digest": digest(part), "means": summary(part)} for name, part in found.items()},
    }
    (out / "digests.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

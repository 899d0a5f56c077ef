"""`attach` in the loops of others, as they are: each is tried where it is installed."""

import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import synsim

X = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(24) % 3


def network():
    return synsim.mlp([6, 5, 3], p=0.5, bias=True, seed=1)


def by_hand(tasks=2):
    """Parameters after tasks in a plain loop; batches of 8 in stored order."""
    net = network()
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    guard = synsim.attach(net, optimiser, "si", "penalty", strength=1.0)
    for _ in range(tasks):
        with guard.task():
            for rows in torch.arange(24).split(8):
                optimiser.zero_grad()
                nn.functional.cross_entropy(net(X[rows]), Y[rows]).backward()
                optimiser.step()
    return net, guard


def same(net, guard):
    other, expected = by_hand()
    assert guard.tasks == expected.tasks == 2
    for (name, one), two in zip(net.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two), name
    for name, value in guard.found.items():
        assert torch.equal(value, expected.found[name]), name


@pytest.mark.filterwarnings("ignore")
def test_lightning(tmp_path):
    lightning = pytest.importorskip("pytorch_lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network()
            self.optimiser = torch.optim.Adam(self.net.parameters(), lr=0.01)
            self.guard = synsim.attach(self.net, self.optimiser, "si", "penalty", strength=1.0)

        def training_step(self, batch, index):
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return self.optimiser

        def on_train_start(self):
            self.guard.start()

        def on_train_end(self):
            self.guard.finish()

    module = Module()
    loader = DataLoader(TensorDataset(X, Y), batch_size=8)
    for _ in range(2):
        trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
                                    enable_progress_bar=False, enable_model_summary=False,
                                    default_root_dir=tmp_path)  # fmt: skip
        trainer.fit(module, loader)
    same(module.net, module.guard)


class Scored(nn.Module):
    """A network as Hugging Face's Trainer calls it."""

    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x, labels):
        logits = self.net(x)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


@pytest.mark.filterwarnings("ignore")
def test_hugging_face_trainer(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    model = Scored()
    optimiser = torch.optim.Adam(model.net.parameters(), lr=0.01)
    guard = synsim.attach(model.net, optimiser, "si", "penalty", strength=1.0)
    rows = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]

    class InOrder(transformers.Trainer):
        def get_train_dataloader(self):
            return DataLoader(rows, batch_size=8, collate_fn=self.data_collator)

    arguments = transformers.TrainingArguments(tmp_path, num_train_epochs=1, per_device_train_batch_size=8,
                                               lr_scheduler_type="constant", max_grad_norm=0.0, save_strategy="no",
                                               report_to=[], disable_tqdm=True, use_cpu=True,
                                               remove_unused_columns=False)  # fmt: skip
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1.0)
    for _ in range(2):
        with guard.task(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            InOrder(model, arguments, train_dataset=rows, optimizers=(optimiser, schedule)).train()
    same(model.net, guard)

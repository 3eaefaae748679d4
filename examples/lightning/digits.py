"""A module of Lightning, probed in its own training."""

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from lossviz.loops.lightning import probe_callback


class Digits(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 100), nn.BatchNorm1d(100), nn.ReLU(), nn.Linear(100, 10))

    def training_step(self, batch, _):
        return loss(self, batch).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def loss(model, batch):
    return cross_entropy(model.layers(batch[0]), batch[1], reduction="none")


images, classes = map(torch.tensor, load_digits(return_X_y=True))
loader = DataLoader(TensorDataset(images.float() / 16, classes), batch_size=100, shuffle=True)
probe = probe_callback("runs/lightning/batchnorm", loss, every=4)
lightning.Trainer(max_epochs=10, callbacks=[probe], accelerator="cpu").fit(Digits(), loader)

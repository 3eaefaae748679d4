"""A graph network of PyTorch Geometric, on Zachary's karate club: four members are labelled."""

from torch.nn.functional import cross_entropy
from torch_geometric.data import Batch
from torch_geometric.datasets import KarateClub
from torch_geometric.nn import GCN


def model(width=16):
    return GCN(in_channels=34, hidden_channels=width, num_layers=2, out_channels=4)


def data():
    train, test = KarateClub(), KarateClub()
    test[0].train_mask.logical_not_()
    train.collate_fn = test.collate_fn = Batch.from_data_list
    return train, test


def loss(model, batch):
    losses = cross_entropy(model(batch.x, batch.edge_index), batch.y, reduction="none")
    return losses[batch.train_mask]

"""A physics-informed network: -u'' = k^2 sin(k x) between 0 and pi, where u is 0 at both ends."""

import math

import torch
from torch import nn
from torch.autograd import grad


def model(width=32):
    return nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))


def data(count=256):
    inside, ends = math.pi * torch.rand(2, count, 1), math.pi * (torch.arange(count) % 2.0)[:, None]
    return (inside[0], ends), (inside[1], ends)


def loss(model, batch, k=1):
    x, ends = batch[0].clone().requires_grad_(), batch[1]
    (slope,) = grad(model(x).sum(), x, create_graph=True)
    (bend,) = grad(slope.sum(), x, create_graph=True)
    pde = (bend + k**2 * torch.sin(k * x)).square()[:, 0]
    boundary = model(ends).square()[:, 0]
    return {"total": pde + 10 * boundary, "pde": pde, "boundary": boundary}

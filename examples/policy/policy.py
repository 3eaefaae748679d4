"""A policy and its value (actor and critic) on recorded transitions of a pole on a cart."""

import torch
from torch import nn
from torch.utils.data import StackDataset, Subset

# What place, speed, angle and angular speed about upright become in 0.02 s, and what a push adds.
MOTION = torch.tensor([[1, 0.02, 0, 0], [0, 1, -0.014, 0], [0, 0, 1, 0.02], [0, 0, 0.315, 1]])
PUSH = torch.tensor([0, 0.195, 0, -0.293])


def model(width=32):
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3))


def data(count=2000):
    state, action = torch.randn(2 * count, 4) / 4, torch.randint(2, (2 * count,))
    after = state @ MOTION.T + (2 * action - 1)[:, None] * PUSH
    recorded = StackDataset(state=state, action=action, after=after, reward=-after[:, 2:].square().sum(dim=1))
    return Subset(recorded, range(count)), Subset(recorded, range(count, 2 * count))


def loss(model, batch, discount=0.9):
    scores, value = model(batch["state"]).split([2, 1], dim=1)
    error = batch["reward"] + discount * model(batch["after"])[:, 2].detach() - value[:, 0]
    # The ratio of the probabilities now and when it was recorded, which was 1/2.
    policy = -error.detach() * 2 * scores.softmax(dim=1).gather(1, batch["action"][:, None])[:, 0]
    return {"total": policy + error.square(), "policy": policy, "value": error.square()}

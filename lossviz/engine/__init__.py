"""One engine for training, probing and scanning: device, point, objective, checkpoints."""

"""`lossviz train`: the loop that trains a variant, what it leaves, and the processes that share a minibatch."""

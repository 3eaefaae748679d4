"""The processes that torchrun starts: who each one is, and what they compute together."""

"""Width factors."""


def scaled(channels: int, width: float) -> int:
    """Number of channels at a width factor, at least one."""
    return max(1, round(channels * width))

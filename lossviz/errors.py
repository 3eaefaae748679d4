"""The errors a user can meet; each is one readable line or short block, and an exit status."""


class LossvizError(Exception):
    """Something a person can act on; printed without a traceback."""

    exit_status = 1


class RequestError(LossvizError):
    """The request is wrong: usage, configuration, or a file that is missing or does not fit."""

    exit_status = 2


class WorkError(LossvizError):
    """The request was fine and the work failed: a full disk, a damaged file, a busy run folder."""

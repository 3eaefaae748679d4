"""`lossviz`, and `python -m lossviz`."""

import signal


def main() -> None:
    """The console script."""
    # Ctrl-C during the imports, a quarter of a second, ends the command as it ends any program: without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from lossviz.cli import main as run

    run()


if __name__ == "__main__":
    main()

"""`python -m lossviz`."""

from lossviz.cli import main

main()

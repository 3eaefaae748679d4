"""One figure a file; each names what it needs and how it is drawn."""

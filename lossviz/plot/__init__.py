"""Figures of what a run left on disk: reads result files, writes images, never imports torch."""

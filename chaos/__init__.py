"""The fault suite: commands that are killed at any moment, and files that are damaged in any place."""

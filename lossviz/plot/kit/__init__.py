"""What several figures share: style, axes, labels, panels, scales."""

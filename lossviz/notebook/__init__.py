"""The loss surface of any network, from Python; it knows no run and no configuration file."""

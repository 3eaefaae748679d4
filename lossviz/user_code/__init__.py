"""Functions and classes that a user names in a configuration: whose code may run, and running it."""

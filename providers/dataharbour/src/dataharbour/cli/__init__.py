"""The command `harbour`."""

"""The places where drivers run."""

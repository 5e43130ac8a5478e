"""Spark jobs: what a job is, what a run is, and how a driver is started and followed."""

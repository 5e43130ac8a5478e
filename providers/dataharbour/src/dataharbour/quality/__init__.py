"""Expectations suites: rules about tables, kept as data and evaluated by Great Expectations."""

"""The first command's installer: makes `.venv` from the lock, under a Python that has nothing yet.

Standard library only. Of the package it imports `dataharbour.errors` and itself, so that it runs
by its path before anything is installed: `python3 -I …/platform/bootstrap CHECKOUT VERB…`.
"""

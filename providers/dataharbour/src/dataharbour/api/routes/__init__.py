"""The addresses of the API, a subject per module."""

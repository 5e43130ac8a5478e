"""The shapes of requests and answers, a subject per module."""

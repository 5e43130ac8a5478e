"""The driver bootstrap: a supervisor that reports, and a child that runs the application.

The supervisor imports the standard library and psycopg, the child the standard
library before the application imports pyspark: starting them must cost little.
"""

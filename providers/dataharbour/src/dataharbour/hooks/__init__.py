"""Airflow hooks: from a connection to the object that the domain packages take."""

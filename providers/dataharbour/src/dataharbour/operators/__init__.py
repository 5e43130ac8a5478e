"""Airflow operators: arguments, one call into a domain package, one return."""

"""Airflow triggers: wait, in the triggerer, for what an operator started."""

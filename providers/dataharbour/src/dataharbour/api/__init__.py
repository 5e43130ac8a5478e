"""The REST API that Airflow's API server mounts under /dataharbour."""

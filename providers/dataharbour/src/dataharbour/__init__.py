"""DataHarbour: operations of a lakehouse as Airflow DAGs."""

"""The database `dataharbour`: how to reach it, and its schema."""

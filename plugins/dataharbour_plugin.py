from dataharbour.plugin import DataHarbourPlugin as DataHarbourPlugin  # noqa: D100

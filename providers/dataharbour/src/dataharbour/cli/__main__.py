"""``python -m dataharbour.cli``, which ./harbour runs."""

from dataharbour.cli.main import run

run()

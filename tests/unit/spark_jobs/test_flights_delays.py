"""The flights job: its transformations on a few rows, and the whole of it on the real data."""

import sys

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.spark

FLIGHTS = """\
year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,\
flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour
2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z
2013,1,1,542,540,3,NA,850,NA,AA,1141,N619AA,JFK,MIA,NA,1089,5,40,2013-01-01T10:00:00Z
2013,1,1,NA,545,NA,NA,1022,NA,AA,725,NA,JFK,BQN,NA,1576,5,45,2013-01-01T10:00:00Z
2013,2,3,1200,1155,5,1300,1310,-10,UA,9,N1,EWR,BOS,40,200,11,55,2013-02-03T16:00:00Z
2013,2,3,NA,1155,NA,NA,1310,NA,ZZ,7,NA,LGA,BOS,NA,184,11,55,2013-02-03T16:00:00Z
"""
WEATHER = """\
origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,\
time_hour
EWR,2013,1,1,5,39.02,26.06,59.37,270,10.0,NA,0,1012,9.99,2013-01-01T10:00:00Z
JFK,2013,1,1,5,39.02,26.06,59.37,NA,NA,NA,0,NA,0.25,2013-01-01T10:00:00Z
EWR,2013,1,1,6,39.02,26.06,59.37,270,5.0,NA,0,1012,1,2013-01-01T11:00:00Z
"""
AIRLINES = "carrier,name\nAA,American Airlines Inc.\nUA,United Air Lines Inc.\n"


@pytest.fixture
def raw(tmp_path):
    """The URI of a folder with five flights: two cancelled, one with weather in part."""
    for name, text in (("flights", FLIGHTS), ("weather", WEATHER), ("airlines", AIRLINES)):
        (tmp_path / f"{name}.csv").write_text(text)
    return tmp_path.as_uri()


@pytest.fixture
def job(flights_delays, spark):
    for key, value in flights_delays.SESSION_CONF.items():
        spark.conf.set(key, value)
    return flights_delays


def rows(frame):
    return [tuple(row) for row in frame.collect()]


@pytest.fixture
def summary(job, spark, raw):
    flights, weather = (job.read_csv(spark, raw, name) for name in ("flights", "weather"))
    return job.transform_summary(flights, job.transform_weather(weather))


def test_na_is_null_and_times_are_instants(job, spark, raw):
    flights = job.read_csv(spark, raw, "flights")
    cancelled = flights.where("flight = 725")
    assert rows(cancelled.select("dep_time", "arr_delay", "tailnum")) == [(None, None, None)]
    assert rows(cancelled.selectExpr("date_format(time_hour, 'HH:mm')")) == [("10:00",)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("2013,1,1,517", "2013,1,1,5:17", id="no-number"),
        pytest.param("dep_delay,arr_time", "arr_time,dep_delay", id="columns-swapped"),
        pytest.param("-10,UA,9,N1,EWR", "-10,UA,9,N1", id="a-field-too-few"),
    ],
)
def test_a_file_that_does_not_fit_the_schema_is_an_error(job, spark, raw, tmp_path, old, new):
    (tmp_path / "flights.csv").write_text(FLIGHTS.replace(old, new))
    with pytest.raises(Exception, match=r"MALFORMED|header|does not conform"):
        job.read_csv(spark, raw, "flights").collect()


@pytest.mark.parametrize(
    ("miles", "mph", "bands"),
    [
        (0.0, 0.0, ("0-1 mi", "00-10 mph")),
        (0.99, 9.99, ("0-1 mi", "00-10 mph")),
        (1.0, 10.0, ("1-3 mi", "10-20 mph")),
        (3.0, 20.0, ("3-5 mi", "20-30 mph")),
        (5.0, 30.0, ("5+ mi", "30+ mph")),
        (10.0, 252.9, ("5+ mi", "30+ mph")),
        (10.0, 1048.36058, ("5+ mi", None)),
        (None, None, (None, None)),
    ],
)
def test_a_band_holds_its_lower_bound(job, spark, miles, mph, bands):
    reading = [("EWR", None, miles, mph)]
    schema = "origin STRING, time_hour TIMESTAMP, visib DOUBLE, wind_speed DOUBLE"
    weather = job.transform_weather(spark.createDataFrame(reading, schema))
    assert rows(weather.select("visibility_band", "wind_band")) == [bands]


def test_the_bands_sort_as_text(job):
    for bands in (job.VISIBILITY_BANDS, job.WIND_BANDS):
        assert [*bands, job.UNKNOWN] == sorted([*bands, job.UNKNOWN])


def test_a_flight_without_weather_is_counted_as_unknown(job, summary):
    delays = job.transform_delays(summary, "visibility_band", "wind_band")
    assert sorted(rows(delays)) == [
        ("0-1 mi", "unknown", 2, 1, 3.0, None),
        ("5+ mi", "10-20 mph", 1, 0, 2.0, 11.0),
        ("unknown", "unknown", 2, 1, 5.0, -10.0),
    ]


def test_cancelled_flights_count_and_weigh_in_no_mean(job, summary):
    assert sorted(rows(job.transform_delays(summary, "origin"))) == [
        ("EWR", 2, 0, 3.5, 0.5),
        ("JFK", 2, 1, 3.0, None),
        ("LGA", 1, 1, None, None),
    ]


def test_a_carrier_without_a_name_is_kept(job, spark, raw, summary):
    by_carrier = job.transform_delays(summary, "carrier")
    named = job.transform_names(by_carrier, job.read_csv(spark, raw, "airlines"))
    assert sorted(row[:4] for row in rows(named)) == [
        ("AA", "American Airlines Inc.", 2, 1),
        ("UA", "United Air Lines Inc.", 2, 0),
        ("ZZ", None, 1, 1),
    ]


def test_silver_is_partitioned_by_month_and_typed(job, spark, raw, tmp_path):
    assert job.run(spark, raw, (tmp_path / "out").as_uri())["silver/flights"] == 5
    table = tmp_path / "out" / "silver" / "flights"
    assert sorted(folder.name for folder in table.glob("month=*")) == ["month=1", "month=2"]
    silver = ds.dataset(table, partitioning="hive", format="parquet").to_table()
    assert sorted(silver["month"].to_pylist()) == [1, 1, 1, 2, 2]
    assert str(silver.schema.field("time_hour").type) == "timestamp[us, tz=UTC]"
    assert str(silver.schema.field("dep_time").type) == "int32"


def test_a_second_run_replaces_the_tables(job, spark, raw, tmp_path):
    for _ in range(2):
        counts = job.run(spark, raw, (tmp_path / "out").as_uri())
    gold = pq.read_table(tmp_path / "out" / "gold" / "delays_by_origin")
    assert gold.num_rows == counts["gold/delays_by_origin"] == 3


def test_the_real_data_gives_what_pandas_computes(
    flights_delays, spark, raw_flights, flights_tables, tmp_path, monkeypatch, capsys
):
    """By `main`, on a session in another time zone, which it also stops."""
    arguments = ["--raw", raw_flights.as_uri() + "/", "--output", tmp_path.as_uri()]
    monkeypatch.setattr(sys, "argv", ["flights_delays.py", *arguments])
    flights_delays.main()
    said = capsys.readouterr().out.splitlines()
    assert said[-5:-3] == [
        "silver/flights            336,776 rows",
        "gold/delays_by_carrier         16 rows",
    ]
    for name, expected in flights_tables.items():
        written = tmp_path / name
        table = ds.dataset(written, partitioning="hive", format="parquet").to_table()
        if name == "silver/flights":
            assert same_flights(table.to_pandas(), expected)
        else:
            assert len(list(written.glob("*.parquet"))) == 1
            assert same_delays(table.to_pandas(), expected), name
    carriers = pq.read_table(tmp_path / "gold" / "delays_by_carrier").to_pandas()
    assert (len(carriers), carriers["flights"].sum(), carriers["cancelled"].sum()) == (
        16,
        336_776,
        8_255,
    )


def same_delays(written, expected):
    """Equal row by row, in order; means to 12 digits."""
    from pandas.testing import assert_frame_equal

    assert_frame_equal(written, expected, check_dtype=False, check_exact=False, rtol=1e-12, atol=0)
    return True


def same_flights(written, expected):
    """The same rows in any order."""
    from pandas.testing import assert_frame_equal

    columns = list(expected.columns)
    order = ["year", "month", "day", "carrier", "flight", "origin"]
    written, expected = (
        frame[columns].sort_values(order, ignore_index=True) for frame in (written, expected)
    )
    written["time_hour"] = written["time_hour"].astype(expected["time_hour"].dtype)
    assert_frame_equal(written, expected, check_dtype=False, check_categorical=False)
    return True


def test_missing_input_is_one_line_that_names_it_and_the_remedy(
    flights_delays, spark, raw, tmp_path, monkeypatch, capsys
):
    (tmp_path / "weather.csv").unlink()
    output = tmp_path / "out"
    arguments = ["--raw", raw, "--output", output.as_uri()]
    monkeypatch.setattr(sys, "argv", ["flights_delays.py", *arguments])
    with pytest.raises(SystemExit) as caught:
        flights_delays.main()
    message = str(caught.value.code)
    assert message.startswith(f"flights_delays: no input at {raw}/weather.csv (`./harbour up`")
    assert "\n" not in message
    assert not output.exists()

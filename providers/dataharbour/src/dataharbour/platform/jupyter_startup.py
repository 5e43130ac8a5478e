"""Run by IPython when a kernel starts, among the user's own names: it leaves none there.

Finds Spark's server, and keeps the kernel's session there: the server forgets one that nothing was
asked of for fifteen minutes, with its views and its settings. Imports nothing of Spark; a kernel
that does not use it pays nothing.
"""


def _prepare(every_s: float = 240.0) -> None:
    import contextlib
    import os
    import socket
    import sys
    import threading
    import time
    import warnings

    # What no author of a notebook can act on.
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")
    warnings.filterwarnings("ignore", message=".*Pandas4Warning.*")

    # Spark's server may have been replaced, on another port, since JupyterLab was started; the old
    # one still answers for a while.
    ports = ""
    told = os.path.join(os.environ.get("JUPYTER_CONFIG_DIR", ""), "connect_ports")
    with contextlib.suppress(OSError), open(told) as file:
        ports = file.read()
    for port in ports.split():
        with contextlib.suppress(OSError):
            socket.create_connection(("localhost", int(port)), timeout=1).close()
            os.environ["SPARK_REMOTE"] = f"sc://localhost:{port}/;user_id=notebooks"
            break

    def keep_session() -> None:
        while True:
            time.sleep(every_s)
            module = sys.modules.get("pyspark.sql.connect.session")
            session = getattr(getattr(module, "SparkSession", None), "_default_session", None)
            if session is not None:
                with contextlib.suppress(Exception):  # the user's own next call says what is wrong
                    session.conf.get("spark.sql.session.timeZone")

    threading.Thread(target=keep_session, daemon=True).start()


_prepare()
del _prepare

"""Print the time five times a second, for so many seconds."""

from __future__ import annotations

import sys
import time

until = time.time() + float(sys.argv[1])
while time.time() < until:
    print(f"tick {time.time()}", flush=True)
    time.sleep(0.2)

"""Start the installer by the path of its folder. Wires; decides nothing."""

import sys
from pathlib import Path

# In place of this folder, whose module names would hide others: the folder above the package.
sys.path[0] = str(Path(__file__).resolve().parents[3])

from dataharbour.platform.bootstrap.run import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

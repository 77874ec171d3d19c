"""
The command, as ``python -m dflag``.
"""

import sys

from dflag.cli import main

if __name__ == "__main__":
    sys.exit(main())

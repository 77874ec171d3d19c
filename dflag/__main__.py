"""
``python -m dflag``: the command.
"""

import sys

from dflag.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""
The formats that dflag reads: JSON, YAML, and documents with a key for each flag.

All values of flags are read by this package, with or without the place of every token.
"""

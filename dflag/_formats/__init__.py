"""
The formats that dflag reads: JSON, YAML, and documents with a key for each flag.

Only this package reads them, with or without the place of every token.
"""

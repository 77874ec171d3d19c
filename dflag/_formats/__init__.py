"""
The formats that dflag reads: JSON, YAML, and documents with a key for each flag.

Each is read here alone, with or without the place of every token.
"""

"""
Joins to other packages: one file for each, which alone imports it.
"""

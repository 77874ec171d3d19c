"""
Integrations with other packages. Each package is imported only by its own file.
"""

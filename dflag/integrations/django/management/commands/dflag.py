"""
``manage.py dflag``.
"""

from dflag.integrations.django._command import Command  # noqa: F401 - Django takes it from here

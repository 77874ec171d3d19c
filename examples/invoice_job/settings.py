"""
The flags of the job. Importing this module starts nothing.
"""

from __future__ import annotations

import dflag


class Settings(dflag.Flags, registry=dflag.FlagRegistry("invoice_job")):
    """Static flags, set for each run, and dynamic flags, which operators may also change during a run."""

    config = dflag.string("/etc/invoices", "Volume to follow")
    orders = dflag.string("orders.csv", "CSV file of customers and amounts")
    page_port = dflag.int(8081, "Port of the page of flags, while it runs", min=0, max=65_535)
    pushgateway = dflag.string("", "Address of the Prometheus Pushgateway; empty for none")
    tax = dflag.dyn_int(19, "Percent of tax on every invoice", min=0, max=50)
    sender = dflag.dyn_string("Shop Ltd.", "Who the invoices are from")
    halt = dflag.dyn_bool(default=False, help="End the run after the present invoice")

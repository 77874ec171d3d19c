"""
Write an invoice for each line of a CSV file of customers and amounts: ``python -m invoice_job --orders=orders.csv``.
"""

from __future__ import annotations

import csv
import logging
import sys
from typing import TYPE_CHECKING

import prometheus_client

import dflag
from dflag.integrations.prometheus import register
from dflag.web import start_http_server
from invoice_job.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WRITTEN = prometheus_client.Counter("invoices", "Invoices written")
HALTED = 75  # EX_TEMPFAIL of sysexits.h, which a podFailurePolicy can distinguish from a failure


def run(orders: Iterable[list[str]]) -> int:
    """Write all invoices with the values of the revision at the start, and return the exit status."""
    flags = Settings.registry
    with flags.pinned():
        for customer, amount in orders:
            if flags.snapshot()[Settings.halt]:  # the value in force now, not the pinned one
                print("halted by the flag", file=sys.stderr)
                return HALTED
            write(customer, int(amount))
            WRITTEN.inc()
    return 0


def write(customer: str, amount: int) -> None:
    """Write one invoice, with the values of the run's revision."""
    cfg = Settings.current()
    print(f"{cfg.sender}: {customer} owes {amount * (100 + cfg.tax) // 100}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job, and push its metrics, because it may end before Prometheus scrapes them."""
    logging.basicConfig(level=logging.INFO)
    Settings.registry.parse_args(arguments, env_prefix="INVOICES", description="Write invoices.")
    with dflag.Updater.setup(Settings, Settings.config.get(), facts=dflag.facts.kubernetes()) as updater:
        register(Settings, updater)
        with (
            start_http_server(Settings.page_port.get(), Settings, updater),
            open(Settings.orders.get(), encoding="utf-8") as file,
        ):
            status = run(csv.reader(file))
        if Settings.pushgateway.get():
            prometheus_client.push_to_gateway(Settings.pushgateway.get(), "invoices", prometheus_client.REGISTRY)
    return status


if __name__ == "__main__":
    sys.exit(main())

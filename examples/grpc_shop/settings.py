"""
The flags of the shop. Importing this module starts nothing and does not need gRPC.
"""

from __future__ import annotations

import dflag


class Settings(dflag.Flags, registry=dflag.FlagRegistry("grpc_shop")):
    """Static flags, set by the deployment, and dynamic flags, which operators change while the shop runs."""

    config = dflag.string("/etc/shop", "Volume to follow")
    address = dflag.string("127.0.0.1", "Address of the service; 0.0.0.0 in a pod")
    port = dflag.int(50_051, "Port of the service", min=0, max=65_535)
    page_port = dflag.int(8081, "Port of the page of flags", min=0, max=65_535)
    metrics_port = dflag.int(9090, "Port of the metrics", min=0, max=65_535)
    threads = dflag.int(10, "Calls at the same time", min=1)
    currency = dflag.string("EUR", "Currency of all prices", choices=["EUR", "USD"])
    discount = dflag.dyn_int(0, "Percent taken off every price", min=0, max=90)

"""
The flags of the shop. Importing this module starts nothing.
"""

from __future__ import annotations

import dflag


class Settings(dflag.Flags, registry=dflag.FlagRegistry("flask_shop")):
    """Static flags, set by the deployment, and dynamic flags, which operators change while the shop runs."""

    currency = dflag.string("EUR", "Currency of all prices", choices=["EUR", "USD"])
    discount = dflag.dyn_int(0, "Percent taken off every price", min=0, max=90)
    orders = dflag.dyn_bool(default=True, help="Whether orders are taken")

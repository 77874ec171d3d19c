"""
The flags of the workers. Importing this module starts nothing and does not need Celery.
"""

from __future__ import annotations

import dflag


class Settings(dflag.Flags, registry=dflag.FlagRegistry("celery_shop")):
    """Static flags, set by the deployment, and dynamic flags, which operators change while workers run."""

    page_port = dflag.int(8081, "Port of the page of flags", min=0, max=65_535)
    metrics_port = dflag.int(9090, "Port of the metrics", min=0, max=65_535)
    sender = dflag.dyn_string("shop@example.com", "Sender of all mail")
    mail = dflag.dyn_bool(default=True, help="Whether mail is sent")
    batch = dflag.dyn_int(100, "Mails in one go", min=1, max=1_000)

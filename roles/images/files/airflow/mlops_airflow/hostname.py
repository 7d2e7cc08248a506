"""The name that this host's jobs and logs go by: ``[core] hostname_callable``."""

import os
import socket


def get() -> str:
    """Return ``MLOPS_HOSTNAME``, an address by which the API server reaches this container's logs, else the host name."""
    return os.environ.get("MLOPS_HOSTNAME") or socket.getfqdn()

"""Stands in for truststore, which takes the authorities of the system it runs on: here those are the host's, always."""

from ssl import SSLContext  # noqa: F401


def inject_into_ssl() -> None:
    """They are in use already."""


extract_from_ssl = inject_into_ssl

"""Typed settings from ``onecard.toml`` and ``ONECARD_*``, with errors that say what to change."""

from connector.settings.load import Settings, load_settings, parse_settings
from connector.settings.models import (
    EnrolmentSettings,
    FeedSettings,
    IlsSettings,
    LibrarySettings,
    LogSettings,
    MetricsSettings,
    PluginSettings,
    PolicyTable,
    PrivacySettings,
    Sip2Settings,
    StoreSettings,
    TerminalSettings,
    TlsSettings,
)
from connector.settings.template import example_toml

__all__ = [
    "EnrolmentSettings",
    "FeedSettings",
    "IlsSettings",
    "LibrarySettings",
    "LogSettings",
    "MetricsSettings",
    "PluginSettings",
    "PolicyTable",
    "PrivacySettings",
    "Settings",
    "Sip2Settings",
    "StoreSettings",
    "TerminalSettings",
    "TlsSettings",
    "example_toml",
    "load_settings",
    "parse_settings",
]

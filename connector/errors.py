"""The whole error tree, sorted by what the caller should do. No other module defines an exception
class of its own.

Nothing here formats a message for a reader's screen; that is ``connector.sip2.screen`` and the
command line.

::

    ConnectorError
    ├ ConfigurationError        stop: a person must change settings
    ├ ProtocolError             LocalProtocolError | RemoteProtocolError
    ├ AdapterError              carries the adapter's name and the institution
    │  ├ AdapterUnavailable     retry later; nothing was done (no connection, refused, 5xx, 429)
    │  ├ OutcomeUnknown         it was sent and no answer came: ask before doing anything again
    │  ├ AdapterAuthFailed      stop: credentials
    │  ├ UnexpectedResponse     the ILS answered in a shape that we don't know
    │  └ UnsupportedOperation   not in ``adapter.capabilities``
    ├ RecordError               skip and report: roster row, MARC record
    ├ NotFound                  patron, item
    ├ StorageConflict           storage has retried once: report, or look again and decide anew
    ├ StorageUnavailable        our own database cannot be reached: fail as the library chose
    └ PluginError               isolate and log

Rules: an exception holds ids and codes, never names, identity numbers, PINs or frames. A refused
checkout is a ``Decision``, not an exception. Always ``raise … from err``.
"""

from __future__ import annotations

__all__ = [
    "AdapterAuthFailed",
    "AdapterError",
    "AdapterUnavailable",
    "ConfigurationError",
    "ConnectorError",
    "LocalProtocolError",
    "NotFound",
    "OutcomeUnknown",
    "PluginError",
    "ProtocolError",
    "RecordError",
    "RemoteProtocolError",
    "StorageConflict",
    "StorageUnavailable",
    "UnexpectedResponse",
    "UnsupportedOperation",
]


class ConnectorError(Exception):
    """Base of everything that the connector raises on purpose."""


class ConfigurationError(ConnectorError):
    """Stop: a person must change the settings.

    Args:
        message: what is wrong, in one sentence.
        remedy: what to change, in one sentence.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.message = message
        self.remedy = remedy


class ProtocolError(ConnectorError):
    """A protocol rule was broken."""


class LocalProtocolError(ProtocolError):
    """We were about to break the protocol ourselves: a bug in the caller."""


class RemoteProtocolError(ProtocolError):
    """The other side broke the protocol beyond what the lenient readers repair."""


class AdapterError(ConnectorError):
    """An ILS adapter could not do its work.

    Args:
        adapter: name of the adapter, such as ``local`` or ``koha``.
        institution_id: code of the library whose ILS it is.
        code: a short machine word for logs; never text from the ILS.
    """

    def __init__(self, adapter: str, institution_id: str, code: str = "") -> None:
        super().__init__(
            f"{type(self).__name__}: adapter {adapter}, library {institution_id}, {code}".rstrip(
                ", "
            )
        )
        self.adapter = adapter
        self.institution_id = institution_id
        self.code = code


class AdapterUnavailable(AdapterError):
    """Retry later; nothing was done.

    Args:
        retry_after_s: seconds that the ILS asked us to wait, when it said so.
        answered: the ILS is there, and said that it did nothing.
    """

    def __init__(
        self,
        adapter: str,
        institution_id: str,
        code: str = "",
        *,
        retry_after_s: float | None = None,
        answered: bool = False,
    ) -> None:
        super().__init__(adapter, institution_id, code)
        self.retry_after_s = retry_after_s
        self.answered = answered


class OutcomeUnknown(AdapterError):
    """The request was sent and no answer came: ask the ILS what is true before doing anything
    again.
    """


class AdapterAuthFailed(AdapterError):
    """Stop: the credentials for the ILS are refused."""


class UnexpectedResponse(AdapterError):
    """The ILS answered in a shape that we don't know; ``code`` holds path and status, never the
    body.
    """


class UnsupportedOperation(AdapterError):
    """The operation is not among the adapter's capabilities; ``code`` names the capability."""


class RecordError(ConnectorError):
    """Skip one record and report it.

    Args:
        position: row number or record number in its file, from 1.
        code: problem code, such as ``id_check_digit``.
    """

    def __init__(self, position: int, code: str) -> None:
        super().__init__(f"record {position}: {code}")
        self.position = position
        self.code = code


class NotFound(ConnectorError):
    """A patron, an item or another thing that the caller named does not exist.

    Args:
        kind: what was looked for, such as ``patron`` or ``item``; never its identifier.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(f"{kind} not found")
        self.kind = kind


class StorageConflict(ConnectorError):
    """Two transactions met, or what was to be stored is taken; storage has tried once more itself.

    Args:
        code: a short machine word, such as ``busy``, ``constraint`` or ``open_application``.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class StorageUnavailable(ConnectorError):
    """Our own database cannot be reached."""


class PluginError(ConnectorError):
    """A plugin raised; isolate it and log.

    Args:
        plugin: the plugin's registered name.
        code: class name of what it raised, never its text.
    """

    def __init__(self, plugin: str, code: str) -> None:
        super().__init__(f"plugin {plugin}: {code}")
        self.plugin = plugin
        self.code = code

"""Settings of an ILS that speaks SIP2: where it is, how it speaks, and what it can do.

Nothing here connects. Rules: passwords come from a file or a variable, never from the TOML; the
defaults are those of the standard and of the open SIP2 servers (Koha, Evergreen).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from connector.sip2.terminal import ChecksumPolicy, WireProfile

__all__ = ["FeatureSettings", "Sip2Settings", "TlsSettings"]

Tag = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9]$")]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_TERMINATORS: dict[str, Literal["\r", "\r\n", "\n"]] = {"CR": "\r", "CRLF": "\r\n", "LF": "\n"}


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as err:
        msg = f"{value!r} is no regular expression"
        raise ValueError(msg) from err
    return value


Pattern = Annotated[str, AfterValidator(_pattern)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsSettings(_Table):
    """The ILS speaks TLS; an empty table is enough for a certificate of a public authority.

    Attributes:
        ca_file: PEM of the authority; without it, those of the machine.
        verify: False takes any certificate; only for a trial.
        server_hostname: the name in the certificate, where it is not ``host``.
        cert_file, key_file: the certificate that we show. Relative to the data folder.
    """

    ca_file: Path | None = None
    verify: bool = True
    server_hostname: str = ""
    cert_file: Path | None = None
    key_file: Path | None = None


class FeatureSettings(_Table):
    """Which pairs the ILS answers; the BX of its 98 takes away what it does not claim."""

    patron_information: bool = True
    """63/64."""
    patron_status: bool = True
    """23/24."""
    item_information: bool = True
    """17/18."""
    checkout: bool = True
    checkin: bool = True
    renew: bool = True
    """29/30."""
    hold: bool = True
    """15/16."""
    fee_paid: bool = True
    """37/38."""
    item_status: bool = True
    """19/20."""
    block_patron: bool = False
    """01/24. Off: some systems end the card so, and 25 does not bring it back (Evergreen)."""
    card_by_number: bool = True
    """85/86, with ``provisioning``; off where an ILS leaves it unanswered."""
    patron_enable: bool = False
    """25/26. Off: it undoes every block, those of the staff too."""


class Sip2Settings(_Table):
    """The adapter's own table, ``[library.ils]`` or ``[library.ils.sip2]``.

    Attributes:
        login: CN; empty = the ILS wants no login.
        password_file: CO; relative to the data folder.
        password_env: name of the variable that may hold it; ``ONECARD_ILS_<CODE>_PASSWORD`` when
            empty.
        terminal_password_file: AC of every request, where the ILS wants one.
        location: CP of the login, and AP of a checkin where the terminal has no location.
        institution: AO; empty = the library's code.
        institution_rule: ``own`` always sends it; ``echo`` sends what the terminal sent, if
            anything.
        status: when the ILS is asked for its status on a new connection.
        trust_bx: what BX of its 98 does not claim is not asked for.
        connections: how many at most.
        connect_s: for a connection with its login. answer_s: for a whole call, connecting and
            waiting for a free connection included; never longer than the caller may wait.
        heartbeat_s: idle connections are asked for the status so often; 0 = never.
        max_idle_s: an older idle connection is replaced, because a firewall may have forgotten it.
        verdict_s: for so long the answer to "is the ILS there?" holds.
        failures: so many in a row open the circuit.
        open_s, max_open_s: for how long, at first and at most; doubled each time, with jitter.
        refused_login_s: how long a refused login is not tried again.
        error_detection: ``never`` sends no AY and AZ.
        dates: the zone in our timestamps: ``local`` four blanks, ``zeros`` 0000, ``utc`` Z.
        date_formats: further formats of due dates (AH), as for ``strptime``: ``%m/%d/%Y``.
        language: of requests that come from no terminal.
        patron_pin: whether AD goes to the ILS.
        success_words: patterns; an answer whose AF has one is a yes even with ok 0.
        refusal_codes: pattern → our short code, for refusals whose AF has it.
        charged_items: what AU holds: barcodes, titles, or nothing of use.
        charged_separator: pattern between several of them in one AU.
        charged_pattern: takes the barcode (group 1) out of one.
        charged_paged: the ILS cuts lists, and gives the rest by BP and BQ.
        hold_items: what AS and CD hold.
        renews_on_checkout: renewal ok Y in 12 means that it was a renewal; False: this ILS never
            renews at a checkout, whatever the flag says.
        obeys_due_date: the ILS takes our due date (nb due date).
        provisioning: ``chinese-kiosk`` opens accounts by 81/82 and 91/92; else they are opened by a
            file, ``[library.ils.handoff]``.
        unknown_item: how an 18 for an item that it does not know looks: no title, or no title and
            circulation status 01; ``never`` = it cannot be told.
        language_tag, collection_tag, item_type_tag, borrower_tag: tags of 18 with the language of
            the text, and so on.
        currency: where the ILS names none.
    """

    host: Annotated[str, StringConstraints(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65535)] = 6001
    login: str = ""
    password_file: Path | None = None
    password_env: str = ""
    terminal_password_file: Path | None = None
    location: str = ""
    institution: str = ""
    institution_rule: Literal["own", "echo"] = "own"
    tls: TlsSettings | None = None
    status: Literal["after_login", "before_login", "never"] = "after_login"
    trust_bx: bool = True

    connections: Annotated[int, Field(ge=1, le=200)] = 4
    connect_s: Seconds = 3
    answer_s: Seconds = 8
    heartbeat_s: Annotated[float, Field(ge=0, le=3600)] = 120
    max_idle_s: Seconds = 300
    verdict_s: Annotated[float, Field(ge=0)] = 2
    failures: Annotated[int, Field(ge=1)] = 5
    open_s: Seconds = 2
    max_open_s: Seconds = 60
    refused_login_s: Seconds = 300

    encoding: str = "utf-8"
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] = "|"
    terminator: Literal["CR", "CRLF", "LF"] = "CR"
    error_detection: Literal["always", "never"] = "always"
    checksum: ChecksumPolicy = ChecksumPolicy.STRICT
    dialect: str = "standard"
    max_value_length: Annotated[int, Field(ge=0)] = 255
    dates: Literal["local", "zeros", "utc"] = "local"
    date_formats: tuple[str, ...] = ()
    language: Annotated[str, StringConstraints(pattern=r"^[0-9]{3}$")] = "000"

    features: FeatureSettings = FeatureSettings()
    patron_pin: Literal["when_given", "never"] = "when_given"
    success_words: tuple[Pattern, ...] = ()
    refusal_codes: dict[Pattern, str] = {}
    charged_items: Literal["barcodes", "titles", "none"] = "barcodes"
    charged_separator: Pattern = ""
    charged_pattern: Pattern = ""
    charged_paged: bool = False
    hold_items: Literal["barcodes", "titles"] = "titles"
    renews_on_checkout: bool = True
    obeys_due_date: bool = False
    provisioning: Literal["none", "handoff", "chinese-kiosk"] = "none"
    unknown_item: Literal["no_title", "no_title_and_other", "never"] = "no_title_and_other"
    language_tag: Tag | None = None
    collection_tag: Tag = "CR"
    item_type_tag: Tag | None = None
    borrower_tag: Tag | None = None
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = "CNY"

    @property
    def profile(self) -> WireProfile:
        """How the ILS speaks, for the codec."""
        return WireProfile(
            encoding=self.encoding,
            delimiter=self.delimiter,
            terminator=_TERMINATORS[self.terminator],
            checksum=self.checksum,
            error_detection=self.error_detection,
            dialect=self.provisioning
            if self.provisioning == "chinese-kiosk" and self.dialect == "standard"
            else self.dialect,
            max_value_length=self.max_value_length,
        )

"""The commented ``onecard.toml`` that ``onecard init`` writes.

Nothing here is read by the program. Rule: what is not commented out works as it stands; what is
commented out is the default or an example, and a test reads it too.
"""

from __future__ import annotations

import json

__all__ = ["example_toml"]

_TEMPLATE = """\
# Settings of OneCard Connector. Check every change with:  onecard doctor
# A line that begins with # is switched off; it shows the default or an example.
# Any value can be overridden by a variable: ONECARD_STORE__URL is url in [store].
# Secrets never stand here: they come from a variable, or from a file named by a key in _file.

# Folder of the files named below; relative to this file.
# data_dir = "."

# ---------------------------------------------------------------- the library
# For several libraries write [[libraries]] instead, once for each.
[library]
code = {code}                     # short; never change it: items and loans carry it
name = {name}
# isil = "CN-000000"                # if the library has one
timezone = {timezone}
language = "zh"                     # zh | en: screen messages where the kiosk does not say
mode = {mode}                    # observe: only log | enforce | bypass: the ILS decides alone
# store_failure = "closed"          # when our database is down; open = the ILS decides alone
# rule_mismatch = "warn"            # where its rules differ: warn | refuse (to start) | correct
# closed_weekdays = ["monday"]
# closed_dates = [2026-10-01, 2026-10-02]
# closing_time = 17:30:00           # a return in a book drop takes effect at the last closing

# [[library.branches]]
# code = "main"
# name = "Main library"

# While the library system cannot be reached: take returns and tell it later, or refuse them;
# let enrolled patrons borrow a few items, or refuse.
# [library.away]
# returns = "queue"                 # queue | refuse
# checkouts = "refuse"              # refuse | permit
# items = 2                         # how many one patron may borrow so
# hours = 24.0                      # after so long nothing more is lent
# say_online = false                # 98 says on-line Y all the same, for kiosks that stop at N

# Barcodes that begin so are ours, even when scanned elsewhere.
# [library.barcodes]
# prefixes = ["3401"]
# strip_prefix = ""
# strip_isil = false                # CN-500230-1:0001234 is 0001234
# codabar = false                   # A0001234B is 0001234
# upper = false
# digits = 7                        # numbers are so long: zeros in front are added or cut off
# check_digit = "none"              # none | mod10 | codabar14: a wrong one is refused as misread
# strip_check_digit = false         # the library system writes them without it; needs digits

# What the catalogue cannot say: patterns on item_type, permanent_location, call_number,
# barcode or collection.
# [library.items]
# foreign = {{ item_type = ["FB*"], call_number = ["I7/*"] }}
# chinese = {{ permanent_location = ["translations"] }}
# default_shelving = "open-shelf"   # open-shelf | closed-stack | reference | unknown
# domestic_isbn_is_chinese = false  # where the language is not known
# minority_languages = ["tib", "bod", "uig", "mon", "zha", "iii", "kaz", "kir"]
# [[library.items.shelving]]
# attribute = "permanent_location"
# pattern = "stack*"
# shelving = "closed-stack"

# The library system; "local" is the small one that comes along. See: onecard adapters list
# Every other key of this table belongs to the adapter.
[library.ils]
adapter = "local"

# Where no program may open accounts: the file that the library system loads, column by column.
# [library.ils.handoff]
# layout = "columns"                # or koha-csv
# columns = {{ "证号" = "card", "姓名" = "name", "有效期" = "expires" }}
# fixed = {{ "馆代码" = "A01" }}
# delimiter = ","
# encoding = "gb18030"
# header = true
# date_format = "%Y-%m-%d"

# ---------------------------------------------------------------- our own database
[store]
url = "sqlite:///onecard.db"        # PostgreSQL: postgresql+psycopg://onecard@localhost/onecard
# password_file = "db.password"     # of the database user
key_file = "onecard.key"            # keep a copy elsewhere: without it personal data is lost

# ---------------------------------------------------------------- self-check machines
[sip2]
host = "127.0.0.1"                  # 0.0.0.0 to be reached from the library's network
port = 6001
# login_timeout_s = 60
# idle_timeout_s = 900
# answer_deadline_s = 10            # a kiosk has its answer by then, whatever the ILS does
# ils_deadline_s = 8
# max_connections = 500
# max_connections_per_address = 100
# max_connections_per_terminal = 4  # of one login; one more closes an idle older one
# allow_from = ["192.0.2.0/24"]     # networks that may connect to this port; [] = any
# proxy_protocol = false            # a balancer names the kiosk's address (PROXY protocol, v2)
# proxy_allow_from = ["192.0.2.9"]  # the balancer; only from there such a header counts
# pin_attempts = 3                  # wrong PINs of one card, then a pause; 0 = off
# pin_delay_s = 30                  # the first pause; it doubles, up to a quarter of an hour
# watch_settings = true             # take over terminals, messages and allow_from without restart
# workers = 8                       # threads per ILS
# settle_apart_s = 180              # between two answers "not on loan" to an unknown checkout
# enabled = true

# A second port for kiosks that speak TLS.
# [sip2.tls]
# port = 6443
# cert_file = "kiosks.pem"
# key_file = "kiosks.key"
# client_ca_file = "kiosk-ca.pem"   # kiosks must show a certificate of this authority
# allow_from = []

[[sip2.terminals]]
login = "kiosk-1"
password_file = "kiosk-1.password"  # or the variable ONECARD_TERMINAL_KIOSK_1_PASSWORD
location = "main"
# library = {code}                # needed where there are several
# branch = "main"
# password_env = ""                 # another variable for the password
# timezone = {timezone}    # by default the library's
# kind = "selfcheck"                # selfcheck | bookdrop | sorter | desk | mobile
# register_id = ""                  # the cash register that payments are told under
# allow_from = ["192.0.2.0/24"]
# certificate = "kiosk-1.lib"       # common name or SHA-256 of the certificate that it must show
# max_connections = 4
# renewal_ok = "as_it_is"           # as_it_is | Y | N: in a yes to 11 and 29, for kiosks that
# magnetic = "as_it_is"             # as_it_is | Y | N | U: take success from NNY or YYY
# encoding = "utf-8"                # utf-8 | gb18030 | gbk | big5 | cp850 | …
# delimiter = "|"
# terminator = "CR"                 # CR | CRLF | LF: what ends the frames that we send
# checksum = "strict"               # strict | log | ignore
# error_detection = "auto"          # auto | always | never
# dialect = "standard"
# hidden_tags = ["BD", "BE"]
# allowed_tags = []
# max_value_length = 255
# answer_unknown = "silence"        # silence | 96
# language = "zh"
# pin = "if_sent"                   # never | if_sent | always
# block_patron, enable_patron, item_status, offline_upload; in a book drop or sorter, which only
# take back, also checkout, renew, patron, hold, fee; in a registration machine
# register_patrons and find_by_id:
# permissions = []
# mask_name = true                  # the name as 张* on the screen
# mask_id = false                   # do not echo an identity number that was scanned
# charge_denied_at_limit = false    # some kiosks end the session on it
# school = "s1"                     # whose pupils a registration machine enters
# messages = {{ zh = {{ checkin_ok = "还书成功，谢谢" }} }}

# Other words on the screen, by reason.
# [sip2.messages.zh]
# item_limit = "您已借满{{limit}}册"

# ---------------------------------------------------------------- the loan policy
# A change is a new version: turn this into [[policy.student]] tables, one for each effective_from.
[policy.student]
effective_from = 2026-09-01
author = {author}
max_items = 8                       # Chinese and foreign books and periodicals together
max_foreign_items = 3               # of these, foreign ones
loan_days = 30
max_renewals = 1
renewal_days = 30                   # counted from the day of the renewal
no_renewal_when = ["overdue", "reserved", "violation"]
loanable_locations = "open-shelf"   # or a list
collections = ["children", "adult"]
# overdue_bars = "item"             # item: bars its own renewal | card: bars the card
# min_days_before_renewal = 0
# closed_days = "ignore"            # extend: a due date moves to the next open day
# lend_unsuitable = false           # items flagged as unsuitable for minors
# checkout_may_renew = false        # a checkout of what one has already renews it
# version = "student-2026-09-01"    # what decisions record; by default category and date

# ---------------------------------------------------------------- student cards
[enrolment]
consent_text_version = "2026-09"
undertaking_version = "2026-09"
# category = "student"
# valid_years = 6
# purge_unanswered_days = 180       # whose guardian has not answered by then is removed
# entry_mode = "batch"              # batch | individual | both: of schools added without saying
# school_review = false             # the same: individual applications pass the school first
# districts = ["渝中"]              # counties served, as rosters write them; [] = any
# ask_again_after_refusal = false   # a roster may bring a child again whose guardian refused
# numbers_for_ils = ["id_card"]     # so that the library system's own desk finds the pupil
# grace_days = 90                   # a card stays valid so long after the end of the stage
# drop_percent = 5                  # a complete roster that lacks more pupils waits for a person
# consent_at_fourteen = false             # ask the guardian again when the child turns 14
# consent_texts = "texts"           # folder with own texts: VERSION.zh.md and VERSION.en.md
# liaison_deadline = 2026-11-30     # the day by which each school names its liaison
# free_physical_cards = 1
# provisioning_workers = 4          # cards opened at once
# font_file = "font.ttf"            # with Chinese characters, for printed slips

# Rosters that arrive in a folder.
# [[enrolment.feeds]]
# name = "authority"
# library = "LIB"                   # where there are several
# school = ""                       # a code; empty: the files name it
# folder = "feeds/authority"
# format = "oneroster"              # oneroster | roster
# complete = false                  # each file names every pupil: who is missing has left
# stale_after_days = 35

[enrolment.cards]
prefix = "S"
first = 1
last = 99999999
digits = 8

# ---------------------------------------------------------------- how long what is kept
# [privacy]
# loan_history_days = 180           # a closed loan names the person for so long
# closed_person_days = 365          # a person whose account is closed is erased
# refusal_days = 1100               # the digest of a refusal
# audit_days = 3650                 # three years at least
# outbox_days = 90
# task_days = 365                   # tasks that are done
# hold_percent = 40                 # the worker removes or closes no more at once by itself

# ---------------------------------------------------------------- the program itself
[log]
level = "info"                      # debug | info | warning | error
# format = "auto"                   # auto | json | console

# [metrics]
# enabled = false
# host = "127.0.0.1"
# port = 8080

# [plugins]
# disabled = []
"""


def example_toml(
    *,
    code: str = "LIB",
    name: str = "我的图书馆",
    timezone: str = "Asia/Shanghai",
    mode: str = "enforce",
    author: str = "onecard init",
) -> str:
    """Return the commented settings file for one library."""
    values = {"code": code, "name": name, "timezone": timezone, "mode": mode, "author": author}
    quoted = {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}
    return _TEMPLATE.format(**quoted)

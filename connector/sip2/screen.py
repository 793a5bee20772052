"""Screen messages (AF): what a reader is told, by reason, in Chinese and English.

Nothing here decides. Texts are templates keyed by reason code; a library overrides them in
``[sip2.messages.<language>]``. Rules: a text never names a person or a number of a card; success
texts hold 成功, which many kiosks look for.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from connector.domain.circulation import Reason

__all__ = ["TEXTS", "ScreenTexts", "language_of"]

TEXTS: Mapping[str, Mapping[str, str]] = {
    "zh": {
        "checkout_ok": "借书成功，应还日期 {due}",
        "checkout_again": "借书成功，该书已在您名下，应还日期 {due}",
        "renew_ok": "续借成功，应还日期 {due}",
        "checkin_ok": "还书成功",
        "checkin_other": "还书成功，该书属于其他馆，请放入指定位置",
        "checkin_away": "还书成功，图书馆系统恢复后入账",
        "hold_ok": "预约成功",
        "fee_ok": "缴费成功",
        "unknown_outcome": "结果尚未确认，请到服务台",
        "at_limit": "您已借满 {limit} 册",
        "registered": "申请提交成功，待审核",
        "registered_before": "已经办过证，如有疑问请到服务台",
        "register_at_desk": "本机无法办理，请联系学校或图书馆",
        "register_no_school": "未指明学校，请联系工作人员",
        "no_deposit": "学生卡免押金，请选择免押金办证",
        "change_at_desk": "资料修改由工作人员办理，请联系学校或图书馆",
        "pin_changed": "密码修改成功",
        "pin_at_desk": "修改密码请到图书馆服务台",
        "asked_too_often": "操作过于频繁，请稍后再试",
        Reason.ITEM_LIMIT: "最多可借 {limit} 册，您已借满",
        Reason.FOREIGN_LIMIT: "外文书刊最多可借 {limit} 册，您已借满",
        Reason.CARD_BLOCKED: "该卡已停用，请到服务台",
        Reason.CARD_EXCHANGED: "旧证已换领学生卡，请先还清旧证所借图书",
        Reason.CARD_EXPIRED: "该卡已过期，请到服务台",
        Reason.CARD_INACTIVE: "该卡尚未开通，请到服务台",
        Reason.CONSENT_WITHDRAWN: "监护人已撤回授权，只可还书",
        Reason.CLOSED_STACK: "非开架图书，不外借",
        Reason.REFERENCE_ONLY: "参考图书，仅限馆内阅览",
        Reason.COLLECTION_BARRED: "该馆藏不对学生卡外借",
        Reason.UNSUITABLE: "该书不能外借，请到服务台",
        Reason.OVERDUE_ITEMS: "您有逾期图书，请先归还",
        Reason.ITEM_ON_LOAN: "该书已借出，请到服务台",
        Reason.ITEM_OVERDUE: "该书已逾期，不能续借",
        Reason.ITEM_RESERVED: "该书已被他人预约，不能续借",
        Reason.VIOLATION: "您有违规记录，不能续借，请到服务台",
        Reason.RENEWED_ALREADY: "只能续借 {limit} 次，该书已续借过",
        Reason.RENEWAL_TOO_EARLY: "借出满 {limit} 天后才能续借",
        Reason.NOT_ON_LOAN: "该书不在您的名下",
        Reason.UNKNOWN_PATRON: "未找到该读者证，请到服务台",
        Reason.UNKNOWN_ITEM: "未找到该书，请到服务台",
        Reason.AMBIGUOUS_ITEM: "无法确定该书所属馆，请交给工作人员",
        Reason.MISREAD_BARCODE: "条码读取有误，请重新扫描",
        Reason.PIN_WRONG: "密码不正确",
        Reason.PIN_MISSING: "请输入密码",
        Reason.PIN_LOCKED: "密码错误次数过多，请稍后再试",
        Reason.NO_POLICY: "借阅规则尚未生效，请到服务台",
        Reason.NOT_PERMITTED_HERE: "本机不提供此功能",
        Reason.NOT_SUPPORTED: "系统不支持此功能",
        Reason.PLUGIN_REFUSED: "不能办理，请到服务台",
        Reason.ILS_REFUSED: "图书馆系统不同意，请到服务台",
        Reason.ILS_UNAVAILABLE: "图书馆系统暂时无法连接，请稍后再试",
        Reason.OUTCOME_UNKNOWN: "结果尚未确认，请勿取走图书，请到服务台",
        Reason.OFFLINE_LIMIT: "图书馆系统未连接，最多可借 {limit} 册，请稍后再借",
        Reason.OFFLINE_PIN: "图书馆系统未连接，无法核对密码，请稍后再试",
        Reason.OUTDATED: "该书已有更新的借还记录，已转交工作人员",
        Reason.STORE_UNAVAILABLE: "系统暂时无法办理，请到服务台",
        Reason.IN_PROGRESS: "正在办理，请稍候再试",
        Reason.BAD_REQUEST: "请求不完整",
    },
    "en": {
        "checkout_ok": "Checked out. Due {due}",
        "checkout_again": "Checked out already. Due {due}",
        "renew_ok": "Renewed. Due {due}",
        "checkin_ok": "Returned",
        "checkin_other": "Returned. This item belongs to another library",
        "checkin_away": "Return taken, and recorded when the library system is back",
        "hold_ok": "Hold placed",
        "fee_ok": "Payment recorded",
        "unknown_outcome": "Not confirmed yet. Please ask staff",
        "at_limit": "You have all {limit} items you may borrow",
        "registered": "Application received. It will be reviewed",
        "registered_before": "There is a card already. Please ask staff",
        "register_at_desk": "Not possible at this machine. Please ask the school or the library",
        "register_no_school": "The school is not known. Please ask staff",
        "no_deposit": "A student card needs no deposit. Please choose the card without one",
        "change_at_desk": "Changes are made by staff. Please ask the school or the library",
        "pin_changed": "PIN changed",
        "pin_at_desk": "Please change your PIN at the library's desk",
        "asked_too_often": "Too many requests. Please try again later",
        Reason.ITEM_LIMIT: "You may borrow {limit} items and have them all",
        Reason.FOREIGN_LIMIT: "You may borrow {limit} foreign items and have them all",
        Reason.CARD_BLOCKED: "This card is blocked. Please ask staff",
        Reason.CARD_EXCHANGED: "Old card exchanged. Please return its items first",
        Reason.CARD_EXPIRED: "This card has expired. Please ask staff",
        Reason.CARD_INACTIVE: "This card is not active yet. Please ask staff",
        Reason.CONSENT_WITHDRAWN: "Consent was withdrawn: returns only",
        Reason.CLOSED_STACK: "Not an open-shelf item: it is not lent",
        Reason.REFERENCE_ONLY: "Reference item: for use in the library only",
        Reason.COLLECTION_BARRED: "This collection is not lent on a student card",
        Reason.UNSUITABLE: "This item cannot be lent. Please ask staff",
        Reason.OVERDUE_ITEMS: "You have overdue items. Please return them first",
        Reason.ITEM_ON_LOAN: "This item is on loan. Please ask staff",
        Reason.ITEM_OVERDUE: "This item is overdue and cannot be renewed",
        Reason.ITEM_RESERVED: "This item is on hold for someone else and cannot be renewed",
        Reason.VIOLATION: "Renewal is barred. Please ask staff",
        Reason.RENEWED_ALREADY: "Already renewed: {limit} renewal is allowed",
        Reason.RENEWAL_TOO_EARLY: "Renewal is possible {limit} days after checkout",
        Reason.NOT_ON_LOAN: "This item is not on loan to you",
        Reason.UNKNOWN_PATRON: "Card not found. Please ask staff",
        Reason.UNKNOWN_ITEM: "Item not found. Please ask staff",
        Reason.AMBIGUOUS_ITEM: "Please hand this item to staff",
        Reason.MISREAD_BARCODE: "The barcode was misread. Please scan it again",
        Reason.PIN_WRONG: "Wrong PIN",
        Reason.PIN_MISSING: "Please enter your PIN",
        Reason.PIN_LOCKED: "Too many wrong PINs. Please try again later",
        Reason.NO_POLICY: "No loan policy is in force. Please ask staff",
        Reason.NOT_PERMITTED_HERE: "Not available at this machine",
        Reason.NOT_SUPPORTED: "Not available in this library",
        Reason.PLUGIN_REFUSED: "Not possible. Please ask staff",
        Reason.ILS_REFUSED: "The library system refused. Please ask staff",
        Reason.ILS_UNAVAILABLE: "The library system cannot be reached. Please try again later",
        Reason.OUTCOME_UNKNOWN: "Not confirmed yet. Please leave the item and ask staff",
        Reason.OFFLINE_LIMIT: "Library system away: {limit} items at most. Please try again later",
        Reason.OFFLINE_PIN: "Library system away: no PIN can be checked. Please try again later",
        Reason.OUTDATED: "Something newer is known about this item. Staff will look at it",
        Reason.STORE_UNAVAILABLE: "Not possible now. Please ask staff",
        Reason.IN_PROGRESS: "In progress. Please try again in a moment",
        Reason.BAD_REQUEST: "The request is incomplete",
    },
}
"""Shipped texts: language → reason or word → template with ``{limit}`` and ``{due}``."""

_LANGUAGES = {"001": "en", "019": "zh", "027": "zh"}


def language_of(code: str, default: str) -> str:
    """Return ``zh`` or ``en`` for a SIP2 code; the terminal's own for ``000`` and others."""
    return _LANGUAGES.get(code, default)


class ScreenTexts:
    """The texts of an installation: shipped ones, with overrides.

    Args:
        overrides: language → reason or word → template.
    """

    def __init__(self, overrides: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self._texts = _merge(overrides or {})

    def replace(self, overrides: Mapping[str, Mapping[str, str]]) -> None:
        """Put other overrides in the place of the former ones, for every answer from now on."""
        self._texts = _merge(overrides)

    def render(
        self,
        key: str,
        language: str,
        *,
        limit: int | None = None,
        due: datetime | None = None,
        zone: ZoneInfo | None = None,
        own: Mapping[str, Mapping[str, str]] | None = None,
    ) -> str:
        """Return the text for a reason or word; an unknown language falls back to English.

        Args:
            own: overrides of one terminal, which win.
        """
        texts = self._texts.get(language) or self._texts["en"]
        template = own.get(language, {}).get(str(key)) if own else None
        template = template or texts.get(str(key)) or texts[str(Reason.PLUGIN_REFUSED)]
        day = due.astimezone(zone).strftime("%Y-%m-%d") if due and zone else ""
        number = "" if limit is None else str(limit)
        return template.replace("{limit}", number).replace("{due}", day)


def _merge(overrides: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Return the shipped texts with others in their place."""
    merged = {
        language: {str(key): text for key, text in texts.items()}
        for language, texts in TEXTS.items()
    }
    for language, texts in overrides.items():
        merged.setdefault(language, dict(merged["en"])).update(texts)
    return merged

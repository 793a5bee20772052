"""The plugin manager: every hook, and plugins that misbehave."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
import structlog
from pydantic import BaseModel

from connector import log
from connector.domain.circulation import Decision, Reason
from connector.domain.ids import Barcode, InstitutionId, PatronId
from connector.domain.item import Classification, IlsItem, LanguageClass, Shelving
from connector.domain.patron import PatronStanding, StandingState
from connector.errors import ConfigurationError
from connector.plugins.hookspecs import (
    HOOKS,
    AppInfo,
    DemoContext,
    DemoIls,
    DemoIlsContext,
    HealthCheck,
    HealthResult,
    RowView,
    hookimpl,
)
from connector.plugins.manager import build_plugins
from connector.ports.decisions import DecisionRequest
from connector.ports.events import Event
from connector.ports.ils import AdapterSpec, Capability
from connector.ports.store import Identifier

A = InstitutionId("A")
APP_TIME = datetime(2026, 9, 7, tzinfo=UTC)
APP = AppInfo(version="0", institutions=(A,), data_dir="/nowhere")
PERMITTED = Decision(permitted=True, due=datetime(2026, 10, 1, tzinfo=UTC), policy_version="v1")
REQUEST = DecisionRequest(
    action="checkout",
    institution=A,
    terminal=None,
    standing=PatronStanding(
        patron_id=PatronId("p"), category="student", state=StandingState.ACTIVE, home=A,
        scanned_kind="card", ils_patron=None,
    ),
    item=IlsItem(barcode=Barcode("1")),
    classification=Classification(LanguageClass.CHINESE, Shelving.OPEN_SHELF, "default"),
)  # fmt: skip


def plugin(name, function):
    """Return a plugin with one hook."""
    function.__name__ = name
    return SimpleNamespace(**{name: hookimpl(function)})


def build(**plugins):
    return build_plugins(extra=plugins, disabled=["local", "sip2"])


def spec(name):
    class Options(BaseModel):
        pass

    return AdapterSpec(
        name=name, version="1", capabilities=frozenset({Capability.CHECKOUT}), settings=Options,
        build=lambda settings, context: None,
    )  # fmt: skip


@pytest.fixture
def logged():
    stream = io.StringIO()
    log.configure(SimpleNamespace(level="info", format="json"), stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()


def raising(*_):
    raise ValueError("张三 110101200001011232")


def test_hook_register_ils_adapters():
    plugins = build(x=plugin("register_ils_adapters", lambda: [spec("b"), spec("a")]))
    assert list(plugins.ils_adapters()) == ["a", "b"]


def test_two_adapters_of_one_name_stop_the_start():
    plugins = build(
        x=plugin("register_ils_adapters", lambda: [spec("a")]),
        y=plugin("register_ils_adapters", lambda: [spec("a")]),
    )
    with pytest.raises(ConfigurationError, match="adapter named a"):
        plugins.ils_adapters()


def test_hook_register_commands():
    def register(cli):
        cli.add_command(click.Command("mine"))

    group = click.Group()
    build(x=plugin("register_commands", register)).register_commands(group)
    assert list(group.commands) == ["mine"]


def test_hook_register_health_checks():
    check = HealthCheck("disk", lambda: HealthResult("warn", "nearly full", "make room"))
    plugins = build(x=plugin("register_health_checks", lambda app: [check] * len(app.institutions)))
    assert plugins.health_checks(APP) == (check,)


def test_hook_resolve_patron_identifier():
    def resolve(scanned, institution):
        return (
            [Identifier("card", scanned[3:] + institution)] if scanned.startswith("QR:") else None
        )

    decider = build(x=plugin("resolve_patron_identifier", resolve)).decider
    assert decider.resolve_patron_identifier("QR:7", A) == (Identifier("card", "7A"),)
    assert decider.resolve_patron_identifier("7", A) == ()


def test_hook_resolve_patron_identifier_takes_the_first_answer(logged):
    decider = build(
        last=plugin("resolve_patron_identifier", lambda scanned: [Identifier("card", "last")]),
        first=plugin("resolve_patron_identifier", lambda scanned: [Identifier("card", "first")]),
        silent=plugin("resolve_patron_identifier", lambda scanned: []),
        broken=plugin("resolve_patron_identifier", raising),
    ).decider
    assert decider.resolve_patron_identifier("7", A) == (Identifier("card", "first"),)
    assert [line["plugin"] for line in logged()] == ["broken"]


def test_hook_narrow_decision():
    def narrow(decision, request):
        return decision.refuse(Reason.PLUGIN_REFUSED, detail=request.action)

    verdict = build(x=plugin("narrow_decision", narrow)).decider.narrow_decision(PERMITTED, REQUEST)
    assert (verdict.permitted, verdict.reason, verdict.detail) == (
        False,
        Reason.PLUGIN_REFUSED,
        "checkout",
    )
    assert verdict.due is None
    assert verdict.policy_version == "v1"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        PERMITTED,
        Decision(permitted=True, due=datetime(2030, 1, 1, tzinfo=UTC)),
        "yes",
        True,
    ],
)
def test_hook_narrow_decision_leaves_a_permission_as_it_is(answer, logged):
    decider = build(x=plugin("narrow_decision", lambda decision: answer)).decider
    assert decider.narrow_decision(PERMITTED, REQUEST) == PERMITTED
    overstepped = answer is not None and answer != PERMITTED
    assert [line["event"] for line in logged()] == (["plugin.overstepped"] if overstepped else [])


def test_hook_narrow_decision_never_turns_a_refusal_into_a_permission():
    asked = []
    decider = build(
        x=plugin("narrow_decision", lambda decision: asked.append(1) or PERMITTED)
    ).decider
    refused = PERMITTED.refuse(Reason.ITEM_LIMIT, limit=8)
    assert decider.narrow_decision(refused, REQUEST) == refused
    assert asked == []


def test_hook_narrow_decision_refusal_without_reason_gets_one():
    decider = build(x=plugin("narrow_decision", lambda: Decision(permitted=False))).decider
    verdict = decider.narrow_decision(PERMITTED, REQUEST)
    assert (verdict.reason, verdict.detail) == (Reason.PLUGIN_REFUSED, "x")


def test_one_refusal_is_enough_and_a_broken_plugin_hurts_nobody(logged):
    decider = build(
        yes=plugin("narrow_decision", lambda: None),
        no=plugin("narrow_decision", lambda decision: decision.refuse(Reason.PLUGIN_REFUSED)),
        broken=plugin("narrow_decision", raising),
    ).decider
    assert not decider.narrow_decision(PERMITTED, REQUEST).permitted
    (line,) = logged()
    assert (line["plugin"], line["hook"], line["code"]) == (
        "broken",
        "narrow_decision",
        "ValueError",
    )
    assert "张三" not in json.dumps(line, ensure_ascii=False)


def test_hook_validate_enrolment_row():
    def validate(record):
        return ["no_class"] if not record.values.get("class") else []

    plugins = build(x=plugin("validate_enrolment_row", validate))
    assert plugins.validate_enrolment_row(RowView("s", 2, {"name": "张三"})) == ("no_class",)
    assert plugins.validate_enrolment_row(RowView("s", 3, {"class": "1"})) == ()
    assert "张三" not in repr(RowView("s", 2, {"name": "张三"}))


def test_hook_track_event(logged):
    seen = []
    plugins = build(
        a=plugin("track_event", lambda event: seen.append(event.name)),
        broken=plugin("track_event", raising),
        z=plugin("track_event", lambda event: seen.append(event.institution)),
    )
    plugins.events.track(Event("loan.opened", datetime(2026, 9, 1, tzinfo=UTC), "A"))
    assert sorted(seen) == ["A", "loan.opened"]
    assert [line["plugin"] for line in logged()] == ["broken"]


@pytest.mark.parametrize("hook", ["startup", "shutdown"])
def test_startup_and_shutdown_go_on_after_a_broken_plugin(hook, logged):
    seen = []
    plugins = build(
        x=plugin(hook, lambda app: seen.append(app.institutions)), broken=plugin(hook, raising)
    )
    getattr(plugins, hook)(APP)
    assert seen == [(A,)]
    assert [line["hook"] for line in logged()] == [hook]


def test_hook_startup():
    seen = []
    build(x=plugin("startup", lambda app: seen.append(app))).startup(APP)
    assert seen == [APP]


def test_hook_shutdown():
    seen = []
    build(x=plugin("shutdown", lambda: seen.append("end"))).shutdown(APP)
    assert seen == ["end"]


def test_hook_seed_demonstration():
    seen = []
    context = DemoContext(institution=A, adapter=None, items=())
    build(x=plugin("seed_demonstration", lambda context: seen.append(context))).seed_demonstration(
        context
    )
    assert seen == [context]


def test_hook_seed_demonstration_that_fails_is_not_hidden():
    plugins = build(x=plugin("seed_demonstration", raising))
    with pytest.raises(ValueError, match="张三"):
        plugins.seed_demonstration(DemoContext(institution=A, adapter=None, items=()))


def test_hook_open_demonstration_ils():
    context = DemoIlsContext(A, "Asia/Shanghai", "utf-8", Path(), lambda: APP_TIME, ())
    ils = DemoIls("127.0.0.1", 6001, "gateway", "secret", lambda patron: None, lambda: None)
    assert build().open_demonstration_ils(context) is None
    plugins = build(
        x=plugin("open_demonstration_ils", lambda context: None),
        y=plugin("open_demonstration_ils", lambda context: ils),
    )
    assert plugins.open_demonstration_ils(context) is ils


def test_hook_open_demonstration_ils_that_fails_is_not_hidden():
    plugins = build(x=plugin("open_demonstration_ils", raising))
    with pytest.raises(ValueError, match="张三"):
        plugins.open_demonstration_ils(
            DemoIlsContext(A, "Asia/Shanghai", "utf-8", Path(), lambda: APP_TIME, ())
        )


def test_every_hook_has_its_test():
    missing = [name for name in HOOKS if f"test_hook_{name}" not in globals()]
    assert missing == []


def test_hook_that_does_not_exist_stops_the_start_with_the_plugins_name():
    with pytest.raises(ConfigurationError, match=r"Plugin x .*'register_ils_adaptors'") as caught:
        build(x=plugin("register_ils_adaptors", lambda: None))
    assert "register_ils_adapters" in caught.value.remedy
    assert "object at" not in str(caught.value)


def test_argument_that_does_not_exist_stops_the_start_with_the_plugins_name():
    with pytest.raises(ConfigurationError, match=r"Plugin x .*evnt"):
        build(x=plugin("track_event", lambda evnt: None))


@pytest.mark.parametrize("kind", ["wrapper", "hookwrapper"])
def test_plugin_may_not_wrap_other_plugins(kind):
    def narrow_decision(decision):
        yield

    wrapping = SimpleNamespace(narrow_decision=hookimpl(**{kind: True})(narrow_decision))
    with pytest.raises(ConfigurationError, match="Plugin x wraps"):
        build(x=wrapping)


def test_switching_off_an_unknown_plugin_names_the_known_ones():
    with pytest.raises(ConfigurationError) as caught:
        build_plugins(extra={"x": SimpleNamespace()}, disabled=["nobody"])
    assert "x" in caught.value.remedy


def test_switched_off_plugin_is_not_loaded():
    extra = {"x": plugin("track_event", raising)}
    names = [
        info.name for info in build_plugins(extra=extra, disabled=["local", "sip2", "x"]).describe()
    ]
    assert names == []


def test_description_tells_name_and_hooks():
    (info,) = build(x=plugin("track_event", lambda event: None)).describe()
    assert (info.name, info.hooks, info.distribution) == ("x", ("track_event",), "")


def test_building_twice_gives_two_independent_managers():
    seen = []
    first = build(x=plugin("track_event", lambda event: seen.append(event)))
    second = build()
    second.events.track(Event("loan.opened", datetime(2026, 9, 1, tzinfo=UTC), "A"))
    assert seen == []
    assert [info.name for info in first.describe()] == ["x"]

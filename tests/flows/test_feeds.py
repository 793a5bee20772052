"""Rosters that arrive in a folder (A16)."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from connector.cli.doctor import _check_feeds
from connector.domain.ids import InstitutionId
from connector.ports.enrolment import Valve
from connector.ports.tasks import TaskKind
from connector.services.feeds import FeedService
from tests.support.world import World

KOHA_A = InstitutionId("KOHA-A")
HEADER = "身份证号,姓名,联系电话,家长姓名,家长电话,班级\n"
ONE = "500230201503010015,张小江,,张大江,13900000001,三年级2班\n"
TWO = "50023020160615007X,李知夏,,李大夏,13900000002,三年级2班\n"
FILES = {
    "orgs": "sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId\n"
    "o1,,,江城一小,school,s1,\no2,,,江城二小,school,s9,\n",
    "classes": "sourcedId,status,dateLastModified,title,grades,classType,schoolSourcedId\n"
    "c1,,,三年级2班,03,homeroom,o1\n",
    "users": "sourcedId,status,dateLastModified,orgSourcedIds,role,userIds,givenName,familyName,"
    "identifier,sms,phone,agentSourcedIds,grades\n"
    "u1,,,o1,student,{id_card:500230201503010015},小江,张,,,13900000001,,03\n"
    "u2,,,o1,student,{id_card:50023020160615007X},知夏,李,,,13900000002,,03\n"
    "u3,,,o2,student,{id_card:500230202002290017},青禾,周,,,13900000003,,\n",
    "enrollments": "sourcedId,status,dateLastModified,classSourcedId,schoolSourcedId,"
    "userSourcedId,role,primary,beginDate,endDate\n"
    "e1,,,c1,o1,u1,student,true,,\ne2,,,c1,o1,u2,student,true,,\n",
}


def manifest(mode: str = "bulk") -> str:
    lines = [f"file.{name},{mode}" for name in FILES]
    return "\n".join(["propertyName,value", "oneroster.version,1.1", *lines]) + "\n"


class Folder:
    """The folder of a feed, whose files are as old as the test says."""

    def __init__(self, path: Path, world: World) -> None:
        self.path = path
        self.world = world
        path.mkdir()

    def put(self, name: str, text: str, *, ago_s: float = 60) -> Path:
        file = self.path / name
        file.write_text(text, "utf-8")
        self.age(file, ago_s)
        return file

    def put_bundle(self, name: str, *, mode: str = "bulk", **files: str) -> Path:
        file = self.path / name
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("manifest.csv", manifest(mode))
            for each, text in {**FILES, **files}.items():
                archive.writestr(f"{each}.csv", text)
        self.age(file, 60)
        return file

    def age(self, file: Path, ago_s: float) -> None:
        moment = self.world.clock.moment.timestamp() - ago_s
        os.utime(file, (moment, moment))


@pytest.fixture
def start(
    make_world: Callable[..., World], tmp_path: Path
) -> Callable[..., tuple[World, Folder, FeedService]]:
    def make(options: str = "") -> tuple[World, Folder, FeedService]:
        feed = '[[enrolment.feeds]]\nname = "jw"\nlibrary = "KOHA-A"\nfolder = "feed"\n' + options
        world = make_world(sip2="", policy=feed)
        folder = Folder(tmp_path / "feed", world)
        world.app.enrolment.save_school(KOHA_A, "s1", "江城一小")
        return world, folder, world.app.feeds

    return make


def states(world: World) -> list[object]:
    return [row["state"] for row in world.rows("application")]


def stale_tasks(world: World) -> int:
    return len(world.app.store.tasks.list_tasks(KOHA_A, kind=TaskKind.FEED_STALE))


def test_a_roster_is_taken_once_and_its_name_tells_the_school(start) -> None:
    world, folder, feeds = start()
    folder.put("s1_2026.csv", HEADER + ONE)
    (run,) = feeds.run_all()
    assert (run.taken, len(run.batches), run.problems) == (1, 1, ())
    assert states(world) == ["entered"]
    (again,) = feeds.run_all()
    assert (again.taken, again.batches) == (0, ())

    world.clock.advance(minutes=5)
    folder.put("s1_2026b.csv", HEADER + ONE + TWO)
    (run,) = feeds.run_all()
    assert run.taken == 1
    assert len(states(world)) == 2
    # The older file lies there still; it does not come back.
    world.clock.advance(minutes=5)
    folder.put("note.txt", "x")
    (run,) = feeds.run_all()
    assert run.taken == 0


def test_a_file_that_is_still_being_written_waits(start) -> None:
    world, folder, feeds = start()
    file = folder.put("s1.csv", HEADER + ONE, ago_s=2)
    assert feeds.run_all()[0].taken == 0
    assert states(world) == []
    folder.age(file, 30)
    assert feeds.run_all()[0].taken == 1


def test_one_bad_file_keeps_no_other_waiting(start) -> None:
    world, folder, feeds = start()
    folder.put("s1.csv", HEADER + ONE)
    folder.put("s7.csv", HEADER + TWO)
    folder.put("s8.csv", "no roster\n")
    (run,) = feeds.run_all()
    assert run.taken == 1
    assert {(p.school, p.code) for p in run.problems} == {
        ("s7", "feed_school_unknown"),
        ("s8", "header_missing"),
    }
    assert feeds.run_all()[0].problems == ()
    world.app.enrolment.save_school(KOHA_A, "s7", "江城七小")
    world.clock.advance(hours=2)
    assert feeds.run_all()[0].taken == 1
    assert len(states(world)) == 2


def test_a_bundle_brings_each_school_its_pupils_with_class(start) -> None:
    world, folder, feeds = start('format = "oneroster"\ncomplete = true\n')
    folder.put_bundle("bundle.zip")
    (run,) = feeds.run_all()
    assert (run.taken, [p.school for p in run.problems]) == (1, ["s9"])
    assert states(world) == ["entered", "entered"]
    (school,) = world.app.enrolment.list_schools(KOHA_A)
    members = world.app.store.schools.list_members(school.school_id)
    assert {(m.school_class.level, m.school_class.name) for m in members} == {(3, "2班")}
    assert {row["source"] for row in world.rows("batch")} == {"oneroster"}


def test_whom_a_whole_bundle_no_longer_names_leaves_only_by_the_valve(start) -> None:
    world, folder, feeds = start('format = "oneroster"\ncomplete = true\n')
    folder.put_bundle("bundle.zip")
    feeds.run_all()
    world.clock.advance(days=1)
    users = "".join(line for line in FILES["users"].splitlines(True) if not line.startswith("u2"))
    folder.put_bundle("bundle2.zip", users=users)
    feeds.run_all()
    (batch,) = [b for b in world.app.store.enrolment.list_batches(KOHA_A) if b.missing]
    assert batch.valve is Valve.HELD
    assert states(world) == ["entered", "entered"]
    world.app.enrolment.leavers.confirm(batch, actor="cli:staff")
    assert states(world) == ["entered"]


def test_whom_a_change_takes_out_is_proposed_to_the_valve(start) -> None:
    world, folder, feeds = start('format = "oneroster"\ncomplete = true\n')
    folder.put_bundle("bundle.zip")
    feeds.run_all()
    world.clock.advance(days=1)
    head, first, second, *_ = FILES["users"].splitlines(keepends=True)
    users = head + second.replace("u2,,", "u2,tobedeleted,")
    folder.put_bundle("delta.zip", mode="delta", users=users, enrollments=FILES["enrollments"])
    feeds.run_all()
    (batch,) = [b for b in world.app.store.enrolment.list_batches(KOHA_A) if b.missing]
    assert (batch.missing, batch.valve) == (1, Valve.HELD)
    assert states(world) == ["entered", "entered"]
    assert first


def test_a_feed_that_brings_nothing_for_long_raises_the_alarm_until_it_does(start) -> None:
    world, folder, feeds = start("stale_after_days = 10\n")
    folder.put("s1.csv", HEADER + ONE)
    feeds.run_all()
    assert stale_tasks(world) == 0
    world.clock.advance(days=11)
    feeds.run_all()
    assert stale_tasks(world) == 1
    assert feeds.list_status()[0].stale
    folder.put("s1_b.csv", HEADER + ONE + TWO)
    feeds.run_all()
    assert stale_tasks(world) == 0


def test_a_folder_that_is_not_there_is_told(start) -> None:
    _, folder, feeds = start()
    folder.path.rmdir()
    (run,) = feeds.run_all()
    assert [problem.code for problem in run.problems] == ["feed_folder_missing"]
    assert timedelta(0) < feeds.feeds[0].stale_after


def test_doctor_names_a_feed_that_is_in_trouble(start) -> None:
    world, folder, feeds = start()
    folder.put("s1.csv", HEADER + ONE)
    feeds.run_all()
    assert _check_feeds(world.app).status == "ok"
    folder.put("s1_b.csv", "no roster\n")
    world.clock.advance(minutes=1)
    feeds.run_all()
    checked = _check_feeds(world.app)
    assert (checked.status, "jw" in checked.remedy) == ("warn", True)


def test_names_that_are_no_text_and_pipes_keep_no_other_waiting(start) -> None:
    world, folder, feeds = start()
    folder.put("s1.csv", HEADER + ONE)
    folder.put(os.fsdecode(b"\xffs2.csv"), HEADER + TWO)
    folder.put("s3\x1b[31m.csv", HEADER + TWO)
    os.mkfifo(folder.path / "s4.csv")
    (run,) = feeds.run_all()
    assert run.taken == 1
    assert {problem.school for problem in run.problems} == {"\ufffds2", "s3\ufffd[31m"}
    assert states(world) == ["entered"]

from pathlib import Path

import pytest

from leakline.harness.attribute import memory
from leakline.harness.attribute.groups import Group
from leakline.harness.attribute.memory import Allocations
from leakline.harness.data.model import Companion, Finding, Frame, Growth, Resource, Site
from leakline.harness.data.survey import SiteCount, Survey

ROOT = Path("/srv/app")
LIBRARY = Frame("/venv/lib/python3.11/site-packages/websockets/client.py", 9, "connect", "library")
KEEP, PARSE = Site("server.py", 70, "keep"), Site("server.py", 80, "parse")


def user(line: int, function: str = "keep") -> Frame:
    return Frame("/srv/app/server.py", line, function, "user")


def growth(resource: Resource, per_cycle: float) -> Growth:
    return Growth(resource, "leaking", per_cycle, per_cycle, per_cycle, True, 100, 13)


def leaking(**rates: float) -> dict[Resource, Growth]:
    return {resource: growth(resource, rate) for resource, rate in rates.items()}  # type: ignore[arg-type, misc]


def finding(resource: Resource, *companions: Companion, site: Site | None = KEEP) -> Finding:
    return Finding(resource, 1.0, growth(resource, 1.0), (site,) if site else (), companions)


def retained(bytes_per_cycle: float) -> Companion:
    return Companion("heap", bytes_per_cycle, "held")


def group(resource: Resource, bytes_per_cycle: float, site: Site = KEEP) -> Group:
    return Group({resource: 1.0}, {resource: {site: 1.0}}, retained_per_cycle=bytes_per_cycle)


def users(**sizes: float) -> Allocations:
    """Of the user's functions."""
    sites = {Site("server.py", number, name): size for number, (name, size) in enumerate(sizes.items())}
    return Allocations(sites, {site: (user(site.line, site.function),) for site in sites})


class TestAllocations:
    def test_they_are_bytes_a_call_by_site_of_what_is_allocated_with_each_call(self) -> None:
        rows = (
            SiteCount((user(70),), 10, 4000),
            SiteCount((LIBRARY, user(70)), 40, 8000),
            SiteCount((user(99, "once"),), 7, 5000),
        )
        found = memory.allocations(Survey(10, heap=rows), ROOT)
        assert found.sizes == {KEEP: 1200.0}
        assert found.stacks == {KEEP: (user(70),)}
        assert (found.per_cycle, found.is_users) == (1200.0, True)

    def test_those_without_a_frame_of_the_users_count_where_there_are_no_others(self) -> None:
        library = SiteCount((LIBRARY,), 10, 9000)
        found = memory.allocations(Survey(10, heap=(library, SiteCount((user(70),), 10, 10))), ROOT)
        assert found.sizes == {KEEP: 1.0}
        alone = memory.allocations(Survey(10, heap=(library,)), ROOT)
        assert (list(alone.sizes.values()), alone.is_users) == ([900.0], False)

    def test_without_a_deep_survey_there_are_none(self) -> None:
        assert memory.allocations(None, ROOT) == Allocations()
        assert not Allocations().is_users

    def test_those_of_some_sites_can_be_left_out(self) -> None:
        both = users(keep=5.0, parse=6.0)
        keep, parse = both.sizes
        assert both.without([keep, KEEP]) == Allocations({parse: 6.0}, {parse: both.stacks[parse]})


class TestChargeRetained:
    def test_a_finding_is_charged_what_it_retains_and_what_its_own_lines_allocate(self) -> None:
        given = Allocations({KEEP: 200.0, PARSE: 7.0}, {KEEP: (user(70),), PARSE: (user(80),)})
        (found,), left, unclaimed = memory.charge_retained(
            [finding("timers", Companion("tasks", 1.0, "same line"))],
            [group("timers", 100.0)],
            growth("heap", 1000.0),
            given,
        )
        assert found.companions == (Companion("tasks", 1.0, "same line"), retained(300.0))
        assert (left, unclaimed) == (700.0, Allocations({PARSE: 7.0}, {PARSE: (user(80),)}))

    def test_findings_together_are_charged_no_more_than_the_heap_grew_by(self) -> None:
        given = [finding("sockets"), finding("timers"), finding("tasks")]
        found, left, _ = memory.charge_retained(
            given,
            [group("sockets", 700.0), group("timers", 9000.0), group("tasks", 5000.0)],
            growth("heap", 1000.0),
            users(),
        )
        assert [each.companions for each in found] == [(retained(700.0),), (retained(300.0),), ()]
        assert left == 0.0

    def test_a_line_is_charged_to_the_first_finding_alone(self) -> None:
        found, left, _ = memory.charge_retained(
            [finding("sockets"), finding("timers")],
            [group("sockets", 0.0), group("timers", 0.0)],
            growth("heap", 1000.0),
            Allocations({KEEP: 400.0}, {KEEP: (user(70),)}),
        )
        assert ([each.companions for each in found], left) == ([(retained(400.0),), ()], 600.0)

    @pytest.mark.parametrize(("size", "is_said"), [(64.0, False), (65.0, True)])
    def test_a_share_that_is_no_growth_of_the_heap_is_charged_and_not_said(self, size: float, is_said: bool) -> None:
        (found,), left, _ = memory.charge_retained(
            [finding("timers")], [group("timers", size)], growth("heap", 1000.0), users()
        )
        assert (bool(found.companions), left) == (is_said, 1000.0 - size)


class TestPlaceRest:
    """Of a heap that grows by 5000 bytes a call, 1000 of which no finding retains."""

    HEAP = growth("heap", 5000.0)
    REST = Companion("heap", 1000.0, "same rate")

    def test_lines_of_the_users_that_allocate_a_good_part_are_a_finding_of_their_own(self) -> None:
        given = finding("timers")
        kept, rest = memory.place_rest([given], self.HEAP, 1000.0, users(keep=300.0))
        assert kept == given
        assert (rest.resource, rest.per_cycle, rest.growth) == ("heap", 1000.0, self.HEAP)
        assert [site.function for site in rest.sites] == ["keep"]

    @pytest.mark.parametrize(
        "given",
        [
            users(keep=299.0),
            Allocations(),
            Allocations({Site("websockets/client.py", 9, "connect"): 900.0}, {Site("", 0, ""): (LIBRARY,)}),
        ],
        ids=["a small part", "nothing", "a library's lines"],
    )
    def test_what_the_users_lines_do_not_allocate_goes_beside_what_retains_most(self, given: Allocations) -> None:
        sockets, timers = finding("sockets", retained(100.0)), finding("timers", retained(200.0))
        first, second = memory.place_rest([sockets, timers], self.HEAP, 1000.0, given)
        assert (first, second.companions) == (sockets, (retained(200.0), self.REST))

    def test_the_only_finding_has_the_lines_of_memory_where_it_has_none_of_its_own(self) -> None:
        given = finding("children", Companion("rss", 1.0, "in all"), site=None)
        (found,) = memory.place_rest([given], self.HEAP, 1000.0, users(keep=900.0))
        assert (found.resource, [site.function for site in found.sites]) == ("children", ["keep"])
        assert found.companions == (*given.companions, self.REST)
        assert found.stack == (user(0, "keep"),)

    def test_of_several_findings_without_lines_none_has_those_of_memory(self) -> None:
        given = [finding("children", site=None), finding("fds", site=None)]
        assert memory.place_rest(given, self.HEAP, 1000.0, users(keep=900.0))[:2] == given

    def test_with_no_other_finding_memory_is_one_even_without_lines(self) -> None:
        assert memory.place_rest([], self.HEAP, 1000.0, Allocations()) == [Finding("heap", 1000.0, self.HEAP)]


class TestPlaceHeap:
    def test_a_heap_that_does_not_leak_changes_nothing(self) -> None:
        given = [finding("timers")]
        assert memory.place_heap(given, [group("timers", 1000.0)], leaking(timers=1.0), users(keep=900.0)) == given

    @pytest.mark.parametrize(("heap", "own", "found"), [(1000.0, 700.0, 1), (1000.0, 690.0, 2), (100.0, 36.0, 1)])
    def test_a_rest_is_placed_where_it_is_a_good_part_and_more_than_no_growth(
        self, heap: float, own: float, found: int
    ) -> None:
        given = [group("timers", own)]
        placed = memory.place_heap([finding("timers")], given, leaking(heap=heap), users(keep=310.0))
        assert len(placed) == found

    def test_the_rest_is_measured_by_the_lines_that_no_finding_has(self) -> None:
        own = Allocations({KEEP: 400.0}, {KEEP: (user(70),)})
        (found,) = memory.place_heap([finding("timers")], [group("timers", 0.0)], leaking(heap=1000.0), own)
        assert found.companions == (retained(400.0), Companion("heap", 600.0, "same rate"))


class TestFindingOfMemory:
    HEAP = growth("heap", 1000.0)

    def test_it_names_the_lines_that_allocate_most_and_a_good_part_of_the_first(self) -> None:
        found = memory.finding_of_memory(self.HEAP, 900.0, users(d=100.0, b=400.0, e=99.0, a=500.0, c=101.0))
        assert [site.function for site in found.sites] == ["a", "b", "c", "d"]
        assert (found.per_cycle, found.growth, found.stack) == (900.0, self.HEAP, (user(3, "a"),))

    def test_it_names_five_lines_at_the_most(self) -> None:
        found = memory.finding_of_memory(self.HEAP, 900.0, users(a=6.0, b=5.0, c=4.0, d=3.0, e=2.5, f=2.0))
        assert "".join(site.function for site in found.sites) == "abcde"

    @pytest.mark.parametrize(("size", "is_named"), [(199.0, False), (200.0, True)])
    def test_a_librarys_line_is_named_for_a_good_part_alone(self, size: float, is_named: bool) -> None:
        site = Site("websockets/client.py", 9, "connect")
        found = memory.finding_of_memory(self.HEAP, 1000.0, Allocations({site: size}, {site: (LIBRARY,)}))
        assert bool(found.sites) == is_named

    def test_a_line_of_the_users_is_named_for_any_part(self) -> None:
        assert memory.finding_of_memory(self.HEAP, 1000.0, users(keep=1.0)).sites


class TestObjectsAndWhatWaits:
    def test_objects_that_grow_alone_have_the_lines_that_allocate(self) -> None:
        (found,) = memory.place_objects_alone([], leaking(objects=3.0), users(keep=500.0))
        assert (found.resource, found.per_cycle, found.sites[0].function) == ("objects", 3.0, "keep")

    def test_beside_a_finding_or_a_heap_they_have_none_of_their_own(self) -> None:
        given = [finding("timers")]
        assert memory.place_objects_alone(given, leaking(objects=3.0), users(keep=500.0)) == given
        assert memory.place_objects_alone([], leaking(objects=3.0, heap=10.0), users(keep=500.0)) == []
        assert memory.place_objects_alone([], leaking(timers=3.0), users(keep=500.0)) == []

    def test_they_grow_in_step_with_the_only_finding(self) -> None:
        grown = leaking(objects=3.0, promises=2.0, async_generators=1.0)
        (found,) = memory.place_counts([finding("timers")], grown)
        assert found.companions == (
            Companion("promises", 2.0, "same rate"),
            Companion("async_generators", 1.0, "same rate"),
            Companion("objects", 3.0, "same rate"),
        )

    def test_of_several_findings_they_are_said_in_all_beside_what_retains_most(self) -> None:
        given = [finding("sockets"), finding("timers", retained(200.0)), finding("tasks", retained(100.0))]
        first, second, third = memory.place_counts(given, leaking(objects=3.0))
        assert (first, third) == (given[0], given[2])
        assert second.companions == (retained(200.0), Companion("objects", 3.0, "in all"))

    def test_with_no_finding_the_first_is_one_and_has_the_others_beside_it(self) -> None:
        (found,) = memory.place_counts([], leaking(promises=2.0, objects=3.0))
        assert (found.resource, found.companions) == ("promises", (Companion("objects", 3.0, "same rate"),))

    def test_what_is_a_finding_already_is_not_said_again(self) -> None:
        given = [finding("objects")]
        assert memory.place_counts(given, leaking(objects=3.0)) == given


class TestPlaceRss:
    def test_it_goes_beside_the_findings(self) -> None:
        (one,) = memory.place_rss([finding("timers")], leaking(rss=9000.0))
        assert one.companions == (Companion("rss", 9000.0, "same rate"),)
        _, second = memory.place_rss([finding("sockets"), finding("timers", retained(9.0))], leaking(rss=9000.0))
        assert second.companions == (retained(9.0), Companion("rss", 9000.0, "in all"))

    def test_alone_it_is_a_finding_that_says_what_it_can_be(self) -> None:
        (found,) = memory.place_rss([], leaking(rss=9000.0))
        assert (found.resource, found.per_cycle, found.sites) == ("rss", 9000.0, ())
        assert "native memory" in found.detail

    def test_where_it_does_not_leak_nothing_changes(self) -> None:
        assert memory.place_rss([finding("timers")], leaking(timers=1.0)) == [finding("timers")]

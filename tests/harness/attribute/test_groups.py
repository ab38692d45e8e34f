import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from leakline.harness.attribute import groups
from leakline.harness.attribute.groups import Group
from leakline.harness.data.model import Frame, Growth, Resource, Site
from leakline.harness.data.resources import gauge
from leakline.harness.data.survey import SiteCount, Survey

ROOT = Path("/srv/app")
LIBRARY = Frame("/venv/lib/python3.11/site-packages/websockets/client.py", 9, "connect", "library")


def user(line: int, function: str = "serve", file: str = "/srv/app/server.py") -> Frame:
    return Frame(file, line, function, "user")


def growth(resource: Resource, per_cycle: float) -> Growth:
    return Growth(resource, "leaking", per_cycle, per_cycle, per_cycle, True, 100, 13)


def leaking(**rates: float) -> dict[Resource, Growth]:
    return {resource: growth(resource, rate) for resource, rate in rates.items()}  # type: ignore[arg-type, misc]


def survey(resource: Resource, *rows: SiteCount) -> Survey:
    """Of ten calls."""
    return Survey(10, {resource: rows})


def group(resource: Resource, rate: float, *stack: Frame, retained: float = 0.0) -> Group:
    """All made on the line of the innermost frame."""
    site = Site(stack[0].file, stack[0].line, stack[0].function)
    return Group({resource: rate}, {resource: {site: rate}}, stack, frozenset({stack}), retained)


def counts(found: list[Group]) -> list[dict[Resource, float]]:
    return [dict(each.counts) for each in found]


class TestGroupByFunction:
    def test_lines_of_one_function_are_one_group_and_each_function_is_one(self) -> None:
        rows = (
            SiteCount((user(10, "open"),), 10, 300),
            SiteCount((user(11, "open"),), 5, 200),
            SiteCount((user(90, "poll"),), 20, 0),
        )
        poll, opened = groups.group_by_function(growth("timers", 3.5), survey("timers", *rows), ROOT)
        assert (poll.counts, [site.line for site in poll.rates]) == ({"timers": 2.0}, [90])
        assert (opened.counts, opened.retained_per_cycle) == ({"timers": 1.5}, 50.0)
        assert {site.line: rate for site, rate in opened.sites["timers"].items()} == {10: 1.0, 11: 0.5}
        assert opened.stack == (user(10, "open"),)  # of most of them

    def test_the_same_function_name_in_two_files_is_two_groups(self) -> None:
        rows = (SiteCount((user(1),), 10, 0), SiteCount((user(1, file="/srv/app/other.py"),), 10, 0))
        assert len(groups.group_by_function(growth("timers", 2.0), survey("timers", *rows), ROOT)) == 2

    def test_sites_without_a_function_are_a_group_each(self) -> None:
        rows = (SiteCount((user(1, ""),), 10, 0), SiteCount((user(2, ""),), 10, 0))
        assert len(groups.group_by_function(growth("timers", 2.0), survey("timers", *rows), ROOT)) == 2

    def test_survivors_without_a_stack_are_in_no_group(self) -> None:
        assert groups.group_by_function(growth("timers", 1.0), survey("timers", SiteCount((), 10, 0)), ROOT) == []

    @pytest.mark.parametrize(("per_cycle", "least"), [(0.5, 1), (1.0, 2), (4.0, 2)])
    def test_a_site_is_left_out_that_made_too_small_a_part_of_the_growth_or_of_one_a_call(
        self, per_cycle: float, least: int
    ) -> None:
        rows = (SiteCount((user(5),), 40, 0), SiteCount((user(6),), least, 0), SiteCount((user(7),), least - 1, 0))
        (found,) = groups.group_by_function(growth("timers", per_cycle), survey("timers", *rows), ROOT)
        assert [site.line for site in found.rates] == [5, 6]

    def test_stacks_are_noted_that_make_some_with_each_call(self) -> None:
        rows = (SiteCount((user(5),), 30, 0), SiteCount((user(6),), 8, 0), SiteCount((user(7),), 7, 0))
        (found,) = groups.group_by_function(growth("timers", 4.5), survey("timers", *rows), ROOT)
        assert found.stacks == {(user(5),), (user(6),)}
        half = survey("timers", SiteCount((user(5),), 4, 0), SiteCount((user(6),), 3, 0))
        (found,) = groups.group_by_function(growth("timers", 0.5), half, ROOT)
        assert found.stacks == {(user(5),)}  # 0.8 of what grows, where that is less than one a call


class TestSharesOfAGrowth:
    """drop_small, drop_renewed, drop_below_floor, scale_to_growth."""

    def test_a_small_share_is_dropped(self) -> None:
        given = [group("timers", rate, user(5)) for rate in (3.0, 0.8, 0.79)]
        assert counts(groups.drop_small(given, growth("timers", 4.0))) == [{"timers": 3.0}, {"timers": 0.8}]

    def test_steady_state_is_dropped_where_what_comes_with_each_call_explains_the_growth(self) -> None:
        given = [group("timers", rate, user(5)) for rate in (2.0, 1.0, 0.6)]
        assert counts(groups.drop_renewed(given, growth("timers", 3.0))) == [{"timers": 2.0}, {"timers": 1.0}]

    @pytest.mark.parametrize(("per_cycle", "left"), [(1.0, 1), (0.96, 1), (1.05, 1), (0.94, 2), (1.06, 2)])
    def test_steady_state_stays_where_the_rest_does_not_explain_the_growth(self, per_cycle: float, left: int) -> None:
        given = [group("timers", 1.0, user(5)), group("timers", 0.6, user(9))]
        assert len(groups.drop_renewed(given, growth("timers", per_cycle))) == left

    @pytest.mark.parametrize(("rate", "left"), [(0.96, 1), (2.04, 1), (1.96, 1), (0.94, 2), (2.06, 2), (1.94, 2)])
    def test_what_comes_with_each_call_is_about_a_whole_number(self, rate: float, left: int) -> None:
        given = [group("timers", rate, user(5)), group("timers", 0.6, user(9))]
        assert len(groups.drop_renewed(given, growth("timers", rate))) == left

    def test_nothing_a_call_is_no_whole_number(self) -> None:
        given = [group("timers", 0.04, user(5)), group("timers", 0.3, user(9))]
        assert groups.drop_renewed(given, growth("timers", 0.04)) == given

    @pytest.mark.parametrize("resource", ["timers", gauge("carts")])
    def test_a_share_below_what_counts_as_growth_is_dropped(self, resource: Resource) -> None:
        # Of 0.1 a call, 0.6 of 1.6 are 0.0375: below the floor of 0.05, though 0.6 itself is above it.
        given = [group(resource, 1.0, user(5)), group(resource, 0.6, user(9))]
        assert counts(groups.drop_below_floor(given, growth(resource, 0.1))) == [{resource: 1.0}]

    def test_a_share_of_more_than_the_trace_window_saw_is_kept(self) -> None:
        # Of 2 a call, 0.04 of 0.08 are 1: above the floor, though 0.04 itself is below it.
        given = [group("timers", 0.04, user(5)), group("timers", 0.04, user(9))]
        assert groups.drop_below_floor(given, growth("timers", 2.0)) == given
        small = group("timers", 0.001, user(13))
        assert groups.drop_below_floor([*given, small], growth("timers", 2.0)) == given

    def test_all_shares_stay_where_none_alone_counts_as_growth(self) -> None:
        given = [group("timers", 0.03, user(5)), group("timers", 0.03, user(9))]
        assert groups.drop_below_floor(given, growth("timers", 0.06)) == given

    def test_rates_are_scaled_to_the_whole_runs_growth(self) -> None:
        given = [group("timers", 3.0, user(5)), group("timers", 1.0, user(9))]
        scaled = groups.scale_to_growth(given, growth("timers", 2.0))
        assert counts(scaled) == [{"timers": 1.5}, {"timers": 0.5}]
        assert [list(each.rates.values()) for each in scaled] == [[1.5], [0.5]]

    @pytest.mark.parametrize(
        ("per_cycle", "made"),
        [(1.0, (11, 1)), (4.0, (35, 5)), (1.0, (10, 6)), (0.1, (5, 3)), (1.0, (7,))],
        ids=["renewed site", "small share", "steady state", "below what counts as growth", "scaled"],
    )
    def test_the_groups_of_a_growth_add_up_to_it_without_steady_state(
        self, per_cycle: float, made: tuple[int, ...]
    ) -> None:
        rows = [SiteCount((user(line, f"function_{line}"),), number, 0) for line, number in enumerate(made)]
        (found,) = groups.of_growth(growth("timers", per_cycle), survey("timers", *rows), ROOT)
        assert [site.line for site in found.rates] == [0]
        assert found.counts["timers"] == pytest.approx(per_cycle)

    def test_without_survivors_or_an_agent_a_growth_has_no_groups(self) -> None:
        assert groups.of_growth(growth("timers", 1.0), None, ROOT) == []
        assert groups.of_growth(growth("timers", 1.0), Survey(10), ROOT) == []


class TestMergeSameLine:
    def test_resources_of_one_line_are_one_group(self) -> None:
        one = group("sockets", 1.0, user(50), user(9, "main"), retained=10.0)
        other = group("tasks", 2.0, user(50), retained=30.0)
        (merged,) = groups.merge_same_line([one, other])
        assert (merged.counts, merged.how) == ({"sockets": 1.0, "tasks": 2.0}, {"tasks": "same line"})
        assert (list(merged.rates.values()), merged.retained_per_cycle) == ([3.0], 40.0)
        assert (merged.stack, merged.stacks) == (one.stack, frozenset({one.stack, other.stack}))

    def test_one_shared_line_of_several_is_enough(self) -> None:
        one = group("sockets", 1.0, user(50)).plus(group("sockets", 1.0, user(51)))
        assert len(groups.merge_same_line([one, group("tasks", 1.0, user(51))])) == 1

    def test_a_line_next_to_it_is_a_group_of_its_own(self) -> None:
        given = [group("sockets", 1.0, user(50)), group("tasks", 1.0, user(51))]
        assert groups.merge_same_line(given) == given

    def test_a_group_on_the_lines_of_two_goes_to_the_first(self) -> None:
        both = group("timers", 1.0, user(50)).plus(group("timers", 1.0, user(60)))
        given = [group("sockets", 1.0, user(50)), group("tasks", 1.0, user(60)), both]
        assert counts(groups.merge_same_line(given)) == [{"sockets": 1.0, "timers": 2.0}, {"tasks": 1.0}]

    def test_a_third_resource_finds_a_line_that_the_second_brought(self) -> None:
        two = group("tasks", 1.0, user(50)).plus(group("tasks", 1.0, user(60)))
        (merged,) = groups.merge_same_line([group("sockets", 1.0, user(50)), two, group("timers", 1.0, user(60))])
        assert merged.counts == {"sockets": 1.0, "tasks": 2.0, "timers": 1.0}


class TestMergeCallers:
    OPENED = (user(76, "Adapter.open"), user(59, "Adapter.connect"))

    @pytest.mark.parametrize("rate", [1.0, 1.04, 0.96, 2.0, 2.04, 3.0, 4.0, 0.5, 0.25])
    def test_what_one_function_makes_as_often_or_a_few_times_so_is_one_group(self, rate: float) -> None:
        given = [group("sockets", 1.0, *self.OPENED), group("tasks", rate, user(60, "Adapter.connect"))]
        (merged,) = groups.merge_callers(given)
        assert (merged.counts, merged.how) == ({"sockets": 1.0, "tasks": rate}, {"tasks": "same function"})
        assert {site.line for site in merged.rates} == {76, 60}

    @pytest.mark.parametrize("rate", [1.06, 0.94, 1.3, 1.94, 2.06, 5.0, 0.2])
    def test_what_one_function_makes_at_another_rate_is_a_group_of_its_own(self, rate: float) -> None:
        given = [group("sockets", 1.0, *self.OPENED), group("tasks", rate, user(60, "Adapter.connect"))]
        assert groups.merge_callers(given) == given

    def test_a_library_may_have_been_called_in_between(self) -> None:
        given = [group("sockets", 1.0, user(60, "Adapter.connect")), group("tasks", 1.0, LIBRARY, *self.OPENED[1:])]
        assert len(groups.merge_callers(given)) == 1

    def test_the_stack_of_most_is_asked_even_when_no_stack_comes_with_each_call(self) -> None:
        one, other = group("sockets", 1.0, *self.OPENED), group("tasks", 1.0, user(60, "Adapter.connect"))
        assert len(groups.merge_callers([replace(one, stacks=frozenset()), replace(other, stacks=frozenset())])) == 1

    def test_the_caller_may_come_first(self) -> None:
        given = [group("sockets", 1.0, user(60, "Adapter.connect")), group("tasks", 1.0, *self.OPENED)]
        assert len(groups.merge_callers(given)) == 1

    @pytest.mark.parametrize(
        "stack",
        [
            (user(60, "Adapter.close"),),
            (user(60, "Adapter.connect", "/srv/app/other.py"),),
            (LIBRARY,),
            (Frame("/srv/app/server.py", 76, "Adapter.open", "library"),),
        ],
        ids=["another function", "a function of that name in another file", "a library's", "not the user's"],
    )
    def test_what_another_function_makes_as_often_is_a_group_of_its_own(self, stack: tuple[Frame, ...]) -> None:
        given = [group("sockets", 1.0, *self.OPENED), group("tasks", 1.0, *stack)]
        assert groups.merge_callers(given) == given

    @pytest.mark.parametrize("stack", [(LIBRARY,), (user(5, ""),)], ids=["of a library", "without a name"])
    def test_functions_of_a_library_or_without_a_name_merge_nothing(self, stack: tuple[Frame, ...]) -> None:
        given = [group("sockets", 1.0, *stack), group("tasks", 1.0, *stack)]
        assert groups.merge_callers(given) == given

    def test_a_frequent_stack_is_asked_too_that_is_not_the_most_frequent(self) -> None:
        begun, asleep = (user(82, "plant"), user(103, "media")), user(50, "heartbeat")
        renewed = group("timers", 1.0, asleep)
        with_creator = Group(renewed.counts, renewed.sites, renewed.stack, frozenset({(asleep, *begun)}))
        assert len(groups.merge_callers([group("tasks", 1.0, *begun), renewed])) == 2
        assert len(groups.merge_callers([group("tasks", 1.0, *begun), with_creator])) == 1

    def test_any_resource_of_a_group_may_be_the_one_in_step(self) -> None:
        home = group("sockets", 7.3, user(60)).taking_in(group("tasks", 1.0, user(60)), "same line")
        (merged,) = groups.merge_callers([home, group("timers", 2.0, user(61))])
        assert merged.how == {"tasks": "same line", "timers": "same function"}


class TestMergeSharedOut:
    HOME = group("sockets", 1.0, user(8, "refuse"), retained=100.0)

    @staticmethod
    def parts(*rates: float) -> list[Group]:
        return [group("timers", rate, user(line), retained=5.0) for line, rate in enumerate(rates)]

    @pytest.mark.parametrize("shares", [(0.6, 0.4), (0.65, 0.4), (0.6, 0.36), (0.4, 0.3, 0.3)])
    def test_what_several_places_made_of_one_whole_goes_to_what_grows_at_its_rate(self, shares: list[float]) -> None:
        (merged,) = groups.merge_shared_out([self.HOME, *self.parts(*shares)])
        assert merged.counts == {"sockets": 1.0, "timers": pytest.approx(sum(shares))}
        assert merged.how == {"timers": "same rate"}
        assert merged.retained_per_cycle == 100.0 + 5.0 * len(shares)
        assert list(merged.sites) == ["sockets"]  # the places change from call to call

    @pytest.mark.parametrize("shares", [(0.6, 0.3), (0.7, 0.4), (1.3, 0.7)])
    def test_parts_of_a_whole_that_grows_at_another_rate_stay(self, shares: list[float]) -> None:
        given = [self.HOME, *self.parts(*shares)]
        assert groups.merge_shared_out(given) == given

    def test_the_only_place_stays(self) -> None:
        given = [group("sockets", 0.951, user(8, "refuse")), *self.parts(1.0)]
        assert groups.grows_at(given[0], 1.0)
        assert not groups.are_in_step(*given)
        assert groups.merge_shared_out(given) == given

    def test_places_that_are_each_in_step_stay(self) -> None:
        given = [group("sockets", 2.0, user(8, "refuse")), *self.parts(1.0, 1.0)]
        assert groups.merge_shared_out(given) == given

    def test_one_place_that_is_not_in_step_is_enough(self) -> None:
        assert (
            len(groups.merge_shared_out([group("sockets", 2.0, user(8, "refuse")), *self.parts(1.0, 0.7, 0.3)])) == 1
        )

    def test_they_do_not_go_to_what_a_library_made(self) -> None:
        given = [group("sockets", 1.0, LIBRARY), *self.parts(0.6, 0.4)]
        assert groups.merge_shared_out(given) == given

    def test_they_are_added_to_what_the_group_has_of_that_resource(self) -> None:
        home = self.HOME.taking_in(group("timers", 2.0, user(8)), "same line")
        (merged,) = groups.merge_shared_out([home, *self.parts(0.6, 0.4)])
        assert merged.counts == {"sockets": 1.0, "timers": 3.0}


class TestAttachSiteless:
    @pytest.mark.parametrize("rate", [1.0, 0.96, 1.05])
    def test_a_resource_without_sites_goes_to_what_grows_at_its_rate(self, rate: float) -> None:
        (found,) = groups.attach_siteless([group("tasks", 1.0, user(5))], leaking(tasks=1.0, children=rate))
        assert (found.counts, found.how) == ({"tasks": 1.0, "children": rate}, {"children": "same rate"})

    @pytest.mark.parametrize("rate", [0.94, 1.06, 2.0])
    def test_at_another_rate_it_is_a_group_without_a_site(self, rate: float) -> None:
        home = group("tasks", 1.0, user(5))
        assert groups.attach_siteless([home], leaking(tasks=1.0, children=rate)) == [home, Group({"children": rate})]

    def test_memory_and_what_has_a_group_are_left_alone(self) -> None:
        given = [group("tasks", 1.0, user(5)), group("tasks", 1.0, user(9, "other"))]
        grown = leaking(tasks=2.0, promises=1.0, async_generators=1.0, objects=1.0, heap=1.0, rss=1.0)
        assert groups.attach_siteless(given, grown) == given

    def test_without_any_site_what_grows_at_one_rate_is_one_group(self) -> None:
        found = groups.attach_siteless([], leaking(sockets=1.0, tasks=1.0, timers=3.0))
        assert counts(found) == [{"sockets": 1.0, "tasks": 1.0}, {"timers": 3.0}]

    def test_sockets_come_before_others_that_grow_at_its_rate_and_the_users_before_a_librarys(self) -> None:
        library = group("timers", 1.0, LIBRARY)
        users = group("timers", 1.0, user(5))
        sockets = group("sockets", 1.0, LIBRARY)
        grown = leaking(timers=2.0, children=1.0)
        assert "children" in groups.attach_siteless([library, users], grown)[1].counts
        assert "children" in groups.attach_siteless([users, library], grown)[0].counts
        assert "children" in groups.attach_siteless([library, users, sockets], grown)[2].counts

    @pytest.mark.parametrize(("sockets", "fds"), [(1.0, 1.0), (1.0, 1.05), (20.0, 21.0), (0.5, 0.54)])
    def test_the_descriptors_of_sockets_are_no_leak_of_their_own(self, sockets: float, fds: float) -> None:
        given = [group("tasks", sockets, user(3, "other")), group("sockets", sockets, user(5))]
        _, found = groups.attach_siteless(given, leaking(sockets=sockets, fds=fds))
        assert (found.counts["fds"], found.how) == (fds, {"fds": "same rate"})

    def test_descriptors_beyond_those_of_sockets_are_placed_as_what_they_are_more(self) -> None:
        sockets = group("sockets", 1.0, user(5))
        assert groups.attach_siteless([sockets], leaking(sockets=1.0, fds=1.11)) == [
            sockets,
            Group({"fds": pytest.approx(0.11)}),  # type: ignore[dict-item]
        ]
        (both,) = groups.attach_siteless([sockets], leaking(sockets=1.0, fds=2.0))
        assert both.counts == {"sockets": 1.0, "fds": 1.0}

    @pytest.mark.parametrize(("connections", "found"), [(1.0, 1), (1.5, 1), (0.75, 1), (0.6, 2), (1.3, 2)])
    def test_a_connection_goes_with_several_sockets_of_a_library(self, connections: float, found: int) -> None:
        given = [group("sockets", 3.0, user(5))]
        assert len(groups.attach_siteless(given, leaking(connections=connections, sockets=3.0))) == found

    def test_only_a_connection_goes_with_a_multiple_of_its_rate_and_only_to_sockets(self) -> None:
        sockets, tasks = group("sockets", 3.0, user(5)), group("tasks", 3.0, user(5))
        assert len(groups.attach_siteless([sockets], leaking(sockets=3.0, children=1.0))) == 2
        assert len(groups.attach_siteless([tasks], leaking(connections=1.0, tasks=3.0))) == 2


@pytest.mark.parametrize(
    "step",
    [
        groups.merge_same_line,
        groups.merge_callers,
        groups.merge_shared_out,
        lambda given: groups.attach_siteless(given, leaking(children=1.0)),
        lambda given: groups.scale_to_growth(given[:1], growth("sockets", 5.0)),
    ],
)
def test_a_step_changes_nothing_of_what_it_is_given(step: Callable[[list[Group]], list[Group]]) -> None:
    given = [
        group("sockets", 1.0, user(8, "refuse")),
        group("tasks", 1.0, user(8, "refuse")),
        group("timers", 0.6, user(3)),
        group("timers", 0.4, LIBRARY),
    ]
    before = copy.deepcopy(given)
    assert step(given) != given
    assert given == before


def test_a_group_is_named_after_the_most_telling_resource_and_knows_whose_it_is() -> None:
    merged = group("tasks", 2.0, LIBRARY).taking_in(group("sockets", 1.0, user(5)), "same line")
    assert (merged.resource, merged.is_users) == ("sockets", False)  # by the stack of most of it
    assert group("tasks", 1.0, LIBRARY, user(5)).is_users

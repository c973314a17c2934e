"""Comparisons, operations and transactions as values: what they refuse, how they are built and shown."""

from __future__ import annotations

import dataclasses

import pytest

from etcd_recipes.core.v3.txn import Compare, Op, Txn

SAME, NEW = Compare.value("a") == "1", Compare.version("b") > 0
PUT, GET, DELETE = Op.put("c", "2"), Op.get("d"), Op.delete("e")

# -- comparisons ---------------------------------------------------------------------------------------------


def test_a_comparison_is_written_with_the_operator() -> None:
    assert (Compare.version("k") == 0) == Compare("VERSION", "EQUAL", b"k", 0)
    assert (Compare.mod_revision("k") != 3) == Compare("MOD", "NOT_EQUAL", b"k", 3)
    assert (Compare.create_revision("k") > 3) == Compare("CREATE", "GREATER", b"k", 3)
    assert (Compare.lease("k") < 3) == Compare("LEASE", "LESS", b"k", 3)
    assert (Compare.value("k") == "v") == Compare("VALUE", "EQUAL", b"k", b"v")
    assert (Compare.value("d/", prefix=True) == b"v").range_end == b"d0"
    assert (Compare.value("a", "c") == b"v").range_end == b"c"


def test_a_comparison_may_be_written_the_other_way_round() -> None:
    assert (0 == Compare.version("k")) == (Compare.version("k") == 0)  # noqa: SIM300
    assert (3 < Compare.version("k")) == (Compare.version("k") > 3)  # noqa: SIM300


@pytest.mark.parametrize("operand", ["1", 1.0, True, None])
def test_a_revision_is_compared_with_a_number_only(operand) -> None:
    with pytest.raises(TypeError, match="is compared with an int"):
        _ = Compare.version("k") == operand


def test_a_revision_is_compared_with_a_number_that_etcd_can_hold() -> None:
    with pytest.raises(ValueError, match="below 2\\*\\*63"):
        _ = Compare.version("k") == 2**63


@pytest.mark.parametrize("operand", [1, None, 1.5, bytearray(b"v")])
def test_a_value_is_compared_with_text_or_bytes_only(operand) -> None:
    with pytest.raises(TypeError, match="is compared with str or bytes"):
        _ = Compare.value("k") == operand


def test_half_a_comparison_is_no_key_of_a_dictionary() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Compare.version("k"))


def test_a_comparison_is_neither_true_nor_false_in_python() -> None:
    with pytest.raises(TypeError, match=r"Compare.value\('a'\) == '1' is for etcd to decide"):
        if SAME:
            pass
    with pytest.raises(TypeError, match="is for etcd to decide"):
        _ = 0 < Compare.version("k") < 5
    with pytest.raises(TypeError, match="half a comparison"):
        bool(Compare.version("k"))
    with pytest.raises(TypeError, match="is for etcd to decide"):
        _ = not SAME


def test_an_operator_that_etcd_has_not_is_a_type_error_that_says_what_to_write() -> None:
    with pytest.raises(TypeError, match="etcd has no >="):
        _ = Compare.version("k") >= 1
    with pytest.raises(TypeError, match="etcd has no <="):
        _ = Compare.version("k") <= 1


# -- operations ----------------------------------------------------------------------------------------------


def test_an_operation_refuses_what_makes_no_sense() -> None:
    for build, error, words in [
        (lambda: Op.put("k", "v", ignore_value=True), ValueError, "give no value"),
        (lambda: Op.put("k", lease=7, ignore_lease=True), ValueError, "give no lease"),
        (lambda: Op.put("k", lease="7"), TypeError, "lease is an int"),
        (lambda: Op.put("k", None), TypeError, "a value is str or bytes"),
        (lambda: Op.get("k", limit=-1), ValueError, "limit is 0 or more"),
        (lambda: Op.get("k", limit=True), TypeError, "limit is an int"),
        (lambda: Op.get("k", revision=2**63), ValueError, "revision is 0 or more and below"),
        (lambda: Op.get("k", min_mod_revision=-1), ValueError, "min_mod_revision is 0"),
        (lambda: Op.get("k", max_mod_revision="5"), TypeError, "max_mod_revision is an int"),
        (lambda: Op.get("k", min_create_revision=-1), ValueError, "min_create_revision is 0"),
        (lambda: Op.get("k", max_create_revision=1.0), TypeError, "max_create_revision is"),
        (lambda: Op.get("k", sort_by="key"), ValueError, "sort_by is one of KEY, VERSION"),
        (lambda: Op.get("k", sort_by=["KEY"]), ValueError, "sort_by is one of"),
        (lambda: Op.get("a", "b", prefix=True), ValueError, "either range_end or prefix"),
        (lambda: Op.delete("a", "b", prefix=True), ValueError, "either range_end or prefix"),
        (lambda: Op.delete("a", 7), TypeError, "a range_end is str or bytes"),
    ]:
        with pytest.raises(error, match=words):
            build()


@pytest.mark.parametrize("which", ["mod", "create"])
@pytest.mark.parametrize("end", ["min", "max"])
def test_a_count_is_not_filtered_by_etcd_so_it_is_not_asked_for(which: str, end: str) -> None:
    with pytest.raises(ValueError, match="take len"):
        Op.get("k", prefix=True, count_only=True, **{f"{end}_{which}_revision": 5})


def test_what_only_reads_is_known_through_every_nest() -> None:
    assert GET.only_reads
    assert Op.txn([SAME], [GET], [Op.txn([], [GET])]).only_reads
    assert Txn().only_reads
    for op in (PUT, DELETE, Op.txn([], [GET], [Op.txn([], [], [GET, PUT])])):
        assert not op.only_reads
        assert not Txn().then(GET).otherwise(op).only_reads


# -- transactions --------------------------------------------------------------------------------------------


def test_a_transaction_is_built_step_by_step_and_each_step_is_a_value() -> None:
    empty = Txn()
    begun = empty.when(SAME, NEW)
    whole = begun.then(PUT, GET).otherwise(DELETE)
    assert empty == Txn()
    assert begun == Txn((SAME, NEW))
    assert whole == Txn((SAME, NEW), (PUT, GET), (DELETE,))
    assert begun.then(PUT).then(GET) == begun.then(PUT, GET)
    assert begun.when(SAME).then(PUT).when(NEW).compare == (SAME, NEW, SAME, NEW)
    assert hash(whole) == hash(Txn((SAME, NEW), (PUT, GET), (DELETE,)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        whole.success = ()


def test_a_transaction_is_nested_whole_or_in_parts() -> None:
    built = Txn().when(SAME).then(PUT).otherwise(GET)
    assert Op.txn(built) == Op.txn([SAME], [PUT], [GET]) == Op.txn((SAME,), iter([PUT]), (GET,))
    for more in ({"success": [PUT]}, {"failure": [PUT]}):
        with pytest.raises(TypeError, match="built already"):
            Op.txn(built, **more)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (([True], []), "compare is made of Compare, not of bool"),
        (([Compare.version("k")], []), r"half a comparison; write Compare.version\('k'\) == "),
        (([PUT], []), "compare is made of Compare, not of Op"),
        ((SAME, []), "compare is a list, not Compare"),
        ((Compare.version("k"), []), "compare is a list, not half a comparison"),
        ((None, []), "compare is a list, not NoneType"),
        (([], PUT), "success is a list, not Op"),
        (([], [("put", "k", "v")]), "success is made of Op, not of tuple"),
        (([], [SAME]), "success is made of Op, not of Compare"),
        (([], [], GET), "failure is a list, not Op"),
        (([], [], [Txn()]), "failure is made of Op, not of Txn"),
        (([], [], "get"), "failure is made of Op, not of str"),
    ],
)
def test_what_is_no_part_of_a_transaction_is_a_type_error(parts, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Op.txn(*parts)


def test_a_step_refuses_what_is_no_part_of_a_transaction() -> None:
    for step, words in [
        (lambda: Txn().when([SAME]), "compare is made of Compare, not of list"),
        (lambda: Txn().when(Compare.version("k")), "not of half a comparison; write Compare"),
        (lambda: Txn().then([PUT]), "success is made of Op, not of list"),
        (lambda: Txn().otherwise(SAME), "failure is made of Op, not of Compare"),
    ]:
        with pytest.raises(TypeError, match=words):
            step()


def test_a_transaction_is_shown_as_it_is_written() -> None:
    inner = (
        Txn().when(Compare.lease("d/", prefix=True) != 7).otherwise(Op.delete("d/", prefix=True))
    )
    whole = Txn().when(SAME, NEW).then(Op.put("c", "2", lease=5), Op.txn(inner))
    assert repr(whole) == (
        "Txn().when(Compare.value('a') == '1', Compare.version('b') > 0)"
        ".then(Op.put('c', value='2', lease=5), "
        "Op.txn(Txn().when(Compare.lease('d/', range_end='d0') != 7)"
        ".otherwise(Op.delete('d/', range_end='d0'))))"
    )
    assert repr(Txn()) == "Txn()"
    assert repr(Op.get(b"\xff", limit=2, descending=True)) == (
        r"Op.get(b'\xff', limit=2, sort_by='KEY', descending=True)"
    )
    assert repr(Op.put("k", "x" * 3_000_000)) == (
        f"Op.put('k', value='{'x' * 40}'... (3000000 bytes))"
    )

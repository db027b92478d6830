"""Rows that belong together, over any chain of what they have in common."""

from beft.tuning.groups import alike, connected, folded


def test_capitals_blanks_and_forms_of_signs_make_no_other_text():
    assert folded([" Caf\u00e9  au\nlait "]) == ("caf\u00e9 au lait",)
    assert folded(["CAFE\u0301 au lait"]) == ("caf\u00e9 au lait",)
    assert folded(["a", "b"]) != folded(["b", "a"]) and folded(["a b"]) != folded(["ab"])


def test_the_order_of_a_pair_does_not_matter():
    assert alike(["b", "A"]) == alike(["a", "B"]) != alike(["a", "a"])


def test_chains_of_common_keys_make_one_group():
    keys = ["x", "b", "yz", "c", "xy", "z", ""]  # x - xy - yz - z
    assert connected(keys).tolist() == [0, 1, 0, 2, 0, 0, 3]


def test_a_long_chain():
    groups = connected([(row, row + 1) for row in range(50_000)])
    assert set(groups.tolist()) == {0}

"""What a step costs beside the network is measured on what `medexp train` builds; how much it is, is not for a test."""

from __future__ import annotations

import pytest

from medexp.run.bench.overhead import overhead


@pytest.mark.filterwarnings("ignore:.*LeafSpec")
def test_additions_are_over_the_bare_loop_and_the_ratio_is_theirs() -> None:
    found = overhead(rounds=1, steps=4)
    names = ["bare loop", "medexp", "Lightning, self.log"]
    assert list(found["milliseconds"]) == list(found["spread"]) == names
    bare, medexp, usual = (found["milliseconds"][name] for name in names)
    assert bare > 0
    assert found["added"] == pytest.approx({"medexp": medexp - bare, "Lightning, self.log": usual - bare})
    assert found["ratio"] == pytest.approx((medexp - bare) / (usual - bare))
    assert all(least <= found["milliseconds"][name] <= most for name, (least, most) in found["spread"].items())

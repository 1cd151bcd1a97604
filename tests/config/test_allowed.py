"""A run folder from elsewhere is untrusted input."""

from __future__ import annotations

import pytest

from medexp.config.targets import allowed
from medexp.errors import UserError


def test_code_outside_of_the_allow_list_is_refused_however_deep() -> None:
    node = {"model": {"_target_": "torch.nn.Identity", "parts": [{"_target_": "os.system", "command": "true"}]}}
    with pytest.raises(UserError, match=r"config\.yaml: 'os\.system' is outside"):
        allowed(node, "config.yaml")


def test_shipped_code_passes() -> None:
    allowed(
        {"model": {"_target_": "torch.nn.Identity"}, "list": [{"_target_": "monai.losses.DiceLoss"}]}, "config.yaml"
    )

from __future__ import annotations

from functools import partial

import torch

from medexp.covariates import encoded
from medexp.models.simple_cnn import SimpleCNN
from medexp.models.with_covariates import WithCovariates

KNOWN = {"age": {"mean": 60.0, "std": 10.0}, "sex": ["F", "M"]}
CNN = partial(SimpleCNN, 2, channels=(4, 4), hidden=8, dropout=0.0)


def net() -> WithCovariates:
    torch.manual_seed(0)
    return WithCovariates(CNN, 1, 3, KNOWN, features=8, hidden=4).eval()


def test_scores_change_with_image_and_covariates() -> None:
    model, image = net(), torch.randn(2, 1, 16, 16)
    rows = [{"age": "40", "sex": "F"}, {"age": "90", "sex": "M"}]
    told = torch.tensor([encoded(KNOWN, row) for row in rows])
    scores = model(image, told)
    assert scores.shape == (2, 3)
    assert not torch.allclose(scores, model(image, told.flip(0)))
    assert not torch.allclose(scores, model(image.flip(0), told))


def test_nothing_known_is_as_a_row_of_missing_cells() -> None:
    model, image = net(), torch.randn(2, 1, 16, 16)
    nothing = torch.tensor([encoded(KNOWN, {"age": "", "sex": "n/a"})] * 2)
    torch.testing.assert_close(model(image), model(image, nothing))

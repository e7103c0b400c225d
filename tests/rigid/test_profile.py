"""Laws of the slice profile."""

from __future__ import annotations

import jaxtyping
import numpy as np
import pytest
from laws import for_all

from ankleseg.errors import ConfigError
from ankleseg.rigid.profile import SliceProfile


@for_all("shape", ["box", "gaussian"])
@for_all("parts", [1, 2, 4, 7])
def test_the_parts_are_the_whole_profile_and_lie_about_its_middle(shape: str, parts: int) -> None:
    profile = SliceProfile(6.5, shape)
    middles, shares = profile.quadrature(parts)
    assert shares.sum() == pytest.approx(1) and (shares > 0).all()
    np.testing.assert_allclose(middles, -middles[::-1], atol=1e-12)
    np.testing.assert_allclose(shares, shares[::-1])
    np.testing.assert_allclose(np.diff(middles), profile.extent / parts)
    assert middles[0] - profile.extent / parts / 2 == pytest.approx(-profile.extent / 2)


def test_a_box_is_as_wide_as_the_slice_is_thick() -> None:
    middles, shares = SliceProfile(8, "box").quadrature(400)
    assert np.ptp(middles) == pytest.approx(8, abs=0.03)
    np.testing.assert_allclose(shares, shares[0])


def test_a_gaussian_has_its_thickness_at_half_of_its_maximum() -> None:
    middles, shares = SliceProfile(7, "gaussian").quadrature(2001)
    high = middles[shares >= shares.max() / 2]
    assert np.ptp(high) == pytest.approx(7, abs=0.02)
    deviation = np.sqrt(shares @ middles**2)
    # It is cut where 2.8 % are left, which takes a little of its width.
    assert 0.85 < deviation / (7 / np.sqrt(8 * np.log(2))) < 1


@pytest.mark.parametrize(
    ("thickness", "shape", "message"),
    [
        (8.0, "sinc", "invalid slice profile 'sinc': expected box or gaussian"),
        (0.0, "box", "invalid slice thickness 0.0: expected more than 0 mm"),
        (float("nan"), "gaussian", "invalid slice thickness nan: expected more than 0 mm"),
    ],
)
def test_what_is_no_profile_is_told(thickness: float, shape: str, message: str, monkeypatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # a user's run has no checker of annotations
    with pytest.raises(ConfigError, match=f"^{message}$"):
        SliceProfile(thickness, shape)

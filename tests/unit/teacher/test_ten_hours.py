"""Ten simulated hours at 30,000 requests a minute: no window exceeds a limit, the rate is used, nobody starves."""

import pytest
from virtual_cluster import Crowd, most_in_a_window, share_used

RPM = 30_000
HOUR_S = 3600.0
LONGEST_WAIT_S = {1: 2.0, 10: 2.0, 100: 25.0, 1_000: 150.0}
"""By number of workers. A thousand have half a call a second each, and report every 20 s at most."""


def check_crowd(crowd: Crowd, num_workers: int, seconds: float) -> None:
    begin = crowd.now
    calls, longest_s = crowd.work(num_workers, seconds)
    times, counts = crowd.sorted_starts()
    settled_s = 60.0 + LONGEST_WAIT_S[num_workers]
    used = share_used(times, counts, begin + settled_s, begin + seconds, RPM)
    print(
        f"{num_workers} workers: {used:.2%} of the rate, longest wait {longest_s:.1f} s, "
        f"{min(calls)} to {max(calls)} calls each, {crowd.num_leases} leases"
    )
    assert used >= 0.97
    assert longest_s <= LONGEST_WAIT_S[num_workers]
    assert max(calls) <= 1.25 * min(calls)


@pytest.mark.slow
def test_ten_hours_in_which_the_crowd_changes_keep_every_window_and_starve_nobody():
    """1, 10, 100, 1,000 workers for two and a half hours each, one governor, by requests and by tokens."""
    crowd = Crowd(RPM, tpm=1_000 * RPM)
    for num_workers in (1, 10, 100, 1_000):
        check_crowd(crowd, num_workers, 2.5 * HOUR_S)
    times, counts = crowd.sorted_starts()
    assert most_in_a_window(times, counts) <= RPM


@pytest.mark.long
@pytest.mark.parametrize("num_workers", [1, 10, 100, 1_000])
def test_ten_hours_of_one_crowd_keep_every_window_and_starve_nobody(num_workers):
    crowd = Crowd(RPM)
    check_crowd(crowd, num_workers, 10 * HOUR_S)
    assert most_in_a_window(*crowd.sorted_starts()) <= RPM

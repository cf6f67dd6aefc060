"""Ten simulated hours at 30,000 requests a minute: no window exceeds a limit, the rate is used, nobody starves."""

import pytest
from virtual_cluster import Crowd, most_in_a_window, share_used

RPM = 30_000
HOUR_S = 3600.0
BURST = RPM / 60 / 2
LONGEST_WAIT_S = {1: 1.5, 10: 1.5, 100: 4.0, 1_000: 24.0}
"""By number of workers. Turns come every 0.1, 0.2, 2 and 10 s; until a crowd has settled they take twice as long."""


def check_crowd(crowd: Crowd, num_workers: int, seconds: float) -> None:
    begin = crowd.now
    calls, longest_s = crowd.work(num_workers, seconds)
    times, counts = crowd.sorted_starts()
    settled_s = 5.0 + LONGEST_WAIT_S[num_workers]
    used = share_used(times, counts, begin + settled_s, begin + seconds, RPM)
    print(
        f"{num_workers} workers: {used:.2%} of the rate, longest wait {longest_s:.1f} s, "
        f"{min(calls)} to {max(calls)} calls each, {crowd.num_leases} leases"
    )
    mean = sum(calls) / num_workers
    assert used >= 0.97
    assert longest_s <= LONGEST_WAIT_S[num_workers]
    assert min(calls) >= 0.5 * mean
    assert max(calls) <= 1.1 * mean + BURST  # who comes first to a full bucket has what nobody has come for


@pytest.mark.slow
def test_ten_hours_of_work_and_rest_keep_every_window_and_starve_nobody():
    """1, 10, 100, 1,000 workers in turn, at work for 80 s of every half hour, by requests and by tokens.

    Each crowd begins on a full bucket. Ten hours without a rest, for each of them, are in `make test-all`.
    """
    crowd = Crowd(RPM, tpm=1_000 * RPM)
    for number in range(20):
        check_crowd(crowd, (1, 10, 100, 1_000)[number % 4], 80.0)
        crowd.now = (number + 1) * HOUR_S / 2
    assert most_in_a_window(*crowd.sorted_starts()) <= RPM


@pytest.mark.long
@pytest.mark.parametrize("num_workers", [1, 10, 100, 1_000])
def test_ten_hours_of_one_crowd_keep_every_window_and_starve_nobody(num_workers):
    crowd = Crowd(RPM)
    check_crowd(crowd, num_workers, 10 * HOUR_S)
    assert most_in_a_window(*crowd.sorted_starts()) <= RPM

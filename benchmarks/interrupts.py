"""`rag up` interrupted at random moments of its start and its stop: each must end at once, and leave nothing."""

from __future__ import annotations

import argparse
import statistics

from benchmarks.service import report
from tests.support.interrupting import Moment, interrupted, moments

WITHIN_S = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--within", type=float, default=WITHIN_S, help="seconds after which a round counts as hung")
    arguments = parser.parse_args()
    # The first round is a whole start and an ordinary stop: the others' moments are drawn from as long ones.
    whole = interrupted(Moment(None, None), within_s=60)
    if whole.up_s is None or whole.took_s is None:
        raise SystemExit(f"an ordinary start and stop failed:\n{whole.said}")
    print(f"a start takes {whole.up_s:.1f} s, a stop {whole.took_s:.1f} s", flush=True)
    print(*whole.left, sep="\n    ", flush=True)
    hung, left, took = 0, list(whole.left), [whole.took_s]
    for number, moment in enumerate(moments(arguments.rounds - 1, arguments.seed, whole.up_s, whole.took_s), 2):
        ended = interrupted(moment, arguments.within)
        if ended.took_s is None:
            hung += 1
        else:
            took.append(ended.took_s)
        left += ended.left
        how = "hung" if ended.took_s is None else f"ended after {ended.took_s:.1f} s with code {ended.code}"
        print(f"round {number}: {moment}: {how}", *ended.left, sep="\n    ", flush=True)
        if ended.took_s is None or ended.left:
            print(ended.said, flush=True)
    report(
        {
            "moments": arguments.rounds,
            "hung": hung,
            "left_behind": len(left),
            "median_s": round(statistics.median(took), 1),
            "longest_s": round(max(took), 1),
        }
    )


if __name__ == "__main__":
    main()

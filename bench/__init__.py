"""Side-by-side benchmarks, run by `scripts/bench`: one file `bench_<question>.py` per question.

The variants of a question take turns in one loop, in random order, with a second copy of the baseline among them: other
load then hits all alike, and the distance between the twins says which differences mean nothing. Printed are the
minimum, median and 90th percentile of each variant, and the ratio of the medians to the baseline.
"""

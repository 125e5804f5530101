"""Speed against other libraries, measured on one machine in one run: `python -m benchmarks`.

Absolute seconds say little: machines differ, and other processes take their share. Every rival trains the same
network on the same data in turn, in short slices, and the figure is its time divided by ours.
"""

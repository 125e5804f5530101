"""Speed, measured against others on one machine in one run: `nnbackprop bench`.

Absolute seconds say little: machines differ, and neighbours take their share. So every contestant does the same
work in turn, in short slices, and what is told is the ratio of its time to ours.
"""

"""Networks such as learners write them, in plain NumPy: right ones, and ones with one mistake each.

`Network(spec)` of each spec in `specs.RIGHT` and `specs.WRONG`; a mistake is one switch, `self.has(...)`.
"""

"""A RunReport for people (`text`) and for programs (`to_dict`, `to_json`).

>>> import whichpool
>>> from whichpool.report import text, to_dict
>>> report = whichpool.map(abs, [-1, 2, -3]).report
>>> text(report).splitlines()[0].startswith("abs: 3 items in ")
True
>>> to_dict(report)["plan"]["text"]
'loop'
"""

from __future__ import annotations

from whichpool.report.data import host_to_dict, plan_to_dict, refusal, to_dict, to_json
from whichpool.report.prose import demand_line, text

__all__ = ["demand_line", "host_to_dict", "plan_to_dict", "refusal", "text", "to_dict", "to_json"]

"""Rules judge recorded facts: a code is a rule's identity, its docstring its explanation.

Importing the package registers every rule; `run` applies them to the tables of one manifest. No rule opens a file.
"""

from sidcurate.rules import capture, levels, light, manifest, pair, picture
from sidcurate.rules.contract import RULES, Draft, Rule, Skip, rule
from sidcurate.rules.engine import Judgement, run
from sidcurate.rules.limits import Limits
from sidcurate.rules.views import Tables

__all__ = [
    "RULES",
    "Draft",
    "Judgement",
    "Limits",
    "Rule",
    "Skip",
    "Tables",
    "capture",
    "levels",
    "light",
    "manifest",
    "pair",
    "picture",
    "rule",
    "run",
]

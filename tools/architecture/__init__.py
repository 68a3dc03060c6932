"""What `architecture_search.py` needs: trials, their training in equal time, and decisions."""

from architecture.decision import Decision, decide
from architecture.questions import BASE, BASE_AGAIN, QUESTIONS, Question, trials_by_name
from architecture.training import train_trial
from architecture.trial import Leg, Trial

__all__ = [
    "BASE",
    "BASE_AGAIN",
    "QUESTIONS",
    "Decision",
    "Leg",
    "Question",
    "Trial",
    "decide",
    "train_trial",
    "trials_by_name",
]

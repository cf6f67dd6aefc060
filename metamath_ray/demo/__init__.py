"""The demo: every stage once, small, one after the other, each a job in a process of its own."""

from metamath_ray.demo._options import DemoOptions
from metamath_ray.demo._process import StepFailedError, run_command
from metamath_ray.demo._record import TimeRecord
from metamath_ray.demo._room import check_room
from metamath_ray.demo._steps import Step, demo_folders, plan_steps, shown_command
from metamath_ray.demo._student import StudentError, fetch_student

__all__ = [
    "DemoOptions",
    "Step",
    "StepFailedError",
    "StudentError",
    "TimeRecord",
    "check_room",
    "demo_folders",
    "fetch_student",
    "plan_steps",
    "run_command",
    "shown_command",
]

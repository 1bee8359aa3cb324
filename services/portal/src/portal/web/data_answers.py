"""Which path of `/api` is answered by what."""

from flotilla.fabric.inbox import Requests
from portal.access.approvers import Approvers
from portal.access.fleets import Fleets
from portal.live.view import FleetView
from portal.web.app import Answer
from portal.web.approval_answers import ApprovalAnswers
from portal.web.blackboard_answers import BlackboardAnswers
from portal.web.dead_answers import DeadAnswers
from portal.web.economy_answers import EconomyAnswers
from portal.web.route_answers import RouteAnswers
from portal.web.task_answers import TaskAnswers
from portal.web.who import Doors


def data_answers(
    doors: Doors, view: FleetView, requests: Requests, fleets: Fleets, approvers: Approvers
) -> dict[tuple[str, str], Answer]:
    """By method and path."""
    tasks = TaskAnswers(doors, view, fleets)
    routes = RouteAnswers(doors, view, requests, fleets)
    dead = DeadAnswers(doors, fleets)
    blackboard = BlackboardAnswers(doors, fleets)
    approvals = ApprovalAnswers(doors, approvers)
    economy = EconomyAnswers(doors, view, fleets)
    return {
        ("GET", "/api/tasks"): tasks.listed,
        ("GET", "/api/tasks/{scope}/{task}"): tasks.story,
        ("GET", "/api/tasks/{scope}/{task}/result"): tasks.result,
        ("GET", "/api/history"): routes.history,
        ("GET", "/api/explain"): routes.explain,
        ("GET", "/api/policy"): routes.policy,
        ("POST", "/api/policy/check"): routes.check,
        ("PUT", "/api/policy"): routes.change,
        ("GET", "/api/dead"): dead.listed,
        ("POST", "/api/dead/retry"): dead.retry,
        ("POST", "/api/dead/discard"): dead.discard,
        ("GET", "/api/blackboard"): blackboard.listed,
        ("GET", "/api/spend"): economy.spend,
        ("GET", "/api/experiments"): economy.experiments,
        ("GET", "/api/approvals"): approvals.listed,
        ("GET", "/api/approvals/{id}"): approvals.shown,
        ("POST", "/api/approvals/{id}"): approvals.decide,
    }

"""The teacher: client, governor (rates, money), ledger (every reply, once), and the Ray Data stage."""

from metamath_ray.teacher._batch_journal import count_open_batches
from metamath_ray.teacher._batches import BatchStatus, BatchTeacher
from metamath_ray.teacher._claim import LedgerInUseError, claim_ledger
from metamath_ray.teacher._client import Completion, TeacherClient, check_endpoints
from metamath_ray.teacher._demands import Counters, EndpointStatus, GovernorStatus
from metamath_ray.teacher._endpoints import EndpointOptions
from metamath_ray.teacher._exports import (
    ExportOptions,
    export_ledger,
    import_ledger,
    is_exported_ledger,
)
from metamath_ray.teacher._faults import Fault, Reject, Retry, Stop
from metamath_ray.teacher._governor import Governor
from metamath_ray.teacher._handles import (
    LocalGovernor,
    RayGovernor,
    start_governor,
)
from metamath_ray.teacher._leases import TeacherStoppedError
from metamath_ray.teacher._ledger import (
    LedgerIndex,
    LedgerReader,
    Usage,
    build_index,
    iter_replies,
    segment_paths,
    sum_usage,
)
from metamath_ray.teacher._options import (
    ApiKey,
    ApiKeys,
    Endpoint,
    TeacherOptions,
    read_api_keys,
    resolve_endpoints,
)
from metamath_ray.teacher._requests import ChatRequest, Failure, Message, Outcome, Reply, request_keys
from metamath_ray.teacher._segments import LedgerDamagedError
from metamath_ray.teacher._stage import StageSetup, TeacherStage
from metamath_ray.teacher._worker import TeacherWorker

__all__ = [
    "ApiKey",
    "ApiKeys",
    "BatchStatus",
    "BatchTeacher",
    "ChatRequest",
    "Completion",
    "Counters",
    "Endpoint",
    "EndpointOptions",
    "EndpointStatus",
    "ExportOptions",
    "Failure",
    "Fault",
    "Governor",
    "GovernorStatus",
    "LedgerDamagedError",
    "LedgerInUseError",
    "LedgerIndex",
    "LedgerReader",
    "LocalGovernor",
    "Message",
    "Outcome",
    "RayGovernor",
    "Reject",
    "Reply",
    "Retry",
    "StageSetup",
    "Stop",
    "TeacherClient",
    "TeacherOptions",
    "TeacherStage",
    "TeacherStoppedError",
    "TeacherWorker",
    "Usage",
    "build_index",
    "check_endpoints",
    "claim_ledger",
    "count_open_batches",
    "export_ledger",
    "import_ledger",
    "is_exported_ledger",
    "iter_replies",
    "read_api_keys",
    "request_keys",
    "resolve_endpoints",
    "segment_paths",
    "start_governor",
    "sum_usage",
]

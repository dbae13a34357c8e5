"""The endpoints that routes select from."""

from __future__ import annotations

from dataclasses import dataclass

from api.gateway.endpoints.artifacts import ArtifactEndpoint
from api.gateway.endpoints.compaction import CompactionEndpoint
from api.gateway.endpoints.document import DocumentEndpoint
from api.gateway.endpoints.files import FileEndpoints
from api.gateway.endpoints.fine_tuning import FineTuningEndpoints
from api.gateway.endpoints.generate import EngineEndpoints
from api.gateway.endpoints.health import HealthEndpoints
from api.gateway.endpoints.input_tokens import InputTokenEndpoint
from api.gateway.endpoints.models import ModelEndpoints
from api.gateway.endpoints.responses import ResponseEndpoints
from api.gateway.endpoints.stored_responses import StoredResponseEndpoints
from api.gateway.endpoints.streams import StreamEndpoints


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The endpoints of a gateway process."""

    engine: EngineEndpoints
    responses: ResponseEndpoints
    input_tokens: InputTokenEndpoint
    compaction: CompactionEndpoint
    stored_responses: StoredResponseEndpoints
    streams: StreamEndpoints
    models: ModelEndpoints
    artifacts: ArtifactEndpoint
    files: FileEndpoints
    fine_tuning: FineTuningEndpoints
    health: HealthEndpoints
    document: DocumentEndpoint

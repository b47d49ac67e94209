"""Every attribute and metric name that leaves this project, in one file: they are still changing.

The `gen_ai.*` names are those of OpenTelemetry's generative AI conventions as tagged in `VERSION`. They have none for
dollars, prompt versions or who a call is for: those are `llmops.*`, our own.
"""

from __future__ import annotations

VERSION = "genai-0.1.0"
METRICS_BEFORE = "1.41.0"  # of the semantic conventions: the metric names that dashboards in use read

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.usage.cache_write.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
PROMPT_NAME = "gen_ai.prompt.name"
CONVERSATION = "gen_ai.conversation.id"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
ERROR_TYPE = "error.type"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
USER = "user.id"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 (a name, no secret)
TOKEN_MODALITY = "gen_ai.token.modality"  # noqa: S105 (a name, no secret)
SERVICE_INSTANCE = "service.instance.id"
OVERFLOW = "otel.metric.overflow"

# Names of before, and of single products, that backends in use read beside the ones above.
SYSTEM = "gen_ai.system"  # the provider, up to semantic conventions 1.36
CACHE_CREATION_TOKENS = "gen_ai.usage.cache_creation.input_tokens"  # cache writes before 0.1.0; Phoenix reads only it
USAGE_COST = "gen_ai.usage.cost"  # Langfuse takes it for the total instead of its own prices
MLFLOW_COST = "mlflow.llm.cost"  # MLflow takes it instead of its own prices

CALL_ID = "llmops.call.id"
PURPOSE = "llmops.call.purpose"
OUTCOME = "llmops.call.outcome"
STATE = "llmops.call.state"
ATTEMPT = "llmops.call.attempt"
BACKEND = "llmops.backend.name"
FALLBACK_FROM = "llmops.fallback.from"
SERVICE_TIER = "llmops.service_tier"
COST = "llmops.cost.usd"
COST_STATUS = "llmops.cost.status"
COST_SOURCE = "llmops.cost.source"
COST_PRICE = "llmops.cost.price"
COST_REVISION = "llmops.cost.revision"
COST_PART = "llmops.cost.{part}.usd"
CACHE_WRITE_1H_TOKENS = "llmops.usage.cache_write_1h_tokens"
AUDIO_INPUT_TOKENS = "llmops.usage.audio_input_tokens"
AUDIO_OUTPUT_TOKENS = "llmops.usage.audio_output_tokens"
IMAGES = "llmops.usage.images"
PROMPT_VERSION = "llmops.prompt.version"
PROMPT_ID = "llmops.prompt.id"
RUN = "llmops.run.id"
SUITE = "llmops.suite.name"
VARIANT = "llmops.variant.name"
TEAM = "llmops.team"
FEATURE = "llmops.feature"
TAG = "llmops.tag.{name}"
GUARD = "llmops.guard.{name}"

PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertex": "gcp.vertex_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""Our names of providers whose conventional name is another; any other name stands for itself."""

TOKEN_BOUNDS = tuple(4.0**power for power in range(14))  # 1, 4, 16 … 67,108,864
SECOND_BOUNDS = tuple(0.01 * 2**power for power in range(14))  # 0.01, 0.02, 0.04 … 81.92
"""Upper bounds of the histograms' buckets, as the conventions give them."""

# Up to METRICS_BEFORE.
TOKEN_USAGE = "gen_ai.client.token.usage"  # noqa: S105 (a name, no secret)
OPERATION_DURATION = "gen_ai.client.operation.duration"
OPERATION_FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
# As of VERSION.
INFERENCE_DURATION = "gen_ai.client.inference.duration"
INFERENCE_FIRST_CHUNK = "gen_ai.client.inference.time_to_first_chunk"
USAGE_INPUT = "gen_ai.client.inference.usage.input_tokens"
USAGE_OUTPUT = "gen_ai.client.inference.usage.output_tokens"
USAGE_CACHE_READ = "gen_ai.client.inference.usage.cache_read.input_tokens"
USAGE_CACHE_WRITE = "gen_ai.client.inference.usage.cache_write.input_tokens"
USAGE_REASONING = "gen_ai.client.inference.usage.reasoning.output_tokens"
# Our own.
CLIENT_COST = "llmops.client.cost"
CLIENT_CALLS = "llmops.client.calls"

# Prometheus text.
METRIC_REQUESTS = "llmops_requests"
METRIC_UNSENT = "llmops_requests_unsent"
METRIC_PENDING = "llmops_requests_pending"
METRIC_ERRORS = "llmops_request_errors"
METRIC_UNPRICED = "llmops_requests_unpriced"
METRIC_UNKNOWN = "llmops_requests_unknown_tokens"
METRIC_TOKENS = "llmops_tokens"
METRIC_COST = "llmops_cost_dollars"
METRIC_COST_PARTS = "llmops_cost_part_dollars"
METRIC_DURATION = "llmops_request_duration_seconds"
METRIC_FIRST_TOKEN = "llmops_time_to_first_token_seconds"  # noqa: S105 (a name, no secret)

"""The names of spans and of their attributes: each is declared here and nowhere else.

Where OpenTelemetry's semantic conventions have a name, it is theirs; those of generative AI are at
https://github.com/open-telemetry/semantic-conventions-genai. Others begin with `rag.`.
"""

from __future__ import annotations

EDGE = "edge"
AUTHENTICATION = "authentication"
ADMISSION = "admission"
EMBEDDING = "embedding"
LEXICAL = "lexical"
VISIBILITY = "visibility"
RETRIEVAL = "retrieval"
RERANKING = "reranking"
SECTIONS = "sections"
PROMPT = "prompt"
GENERATION = "generation"

REQUEST_SPANS = {
    EDGE: "from the request's arrival at the edge until the ingress has it",
    AUTHENTICATION: "the check of the key",
    ADMISSION: "the wait for a slot in generation",
    EMBEDDING: "the question's vector, with the way to the stage and back",
    LEXICAL: "the question's term weights",
    VISIBILITY: "the versions that a search may find",
    RETRIEVAL: "the search, with the way to the stage and back",
    RERANKING: "the better order, with the way to the stage and back",
    SECTIONS: "passages of short sections become whole sections",
    PROMPT: "the prompt is built",
    GENERATION: "the answer, from the request to the engine until its last text",
}
"""Spans of the ingress, below that of the request."""

EMBEDDINGS = "embeddings"
SIMILARITIES = "similarities"
SEARCH = "search"
READ = "read"
RERANK = "rerank"
CHAT = "chat"
QUEUE = "queue"
PASS = "pass"
INDEX_CALL = "index_call"
PREFILL = "prefill"
DECODE = "decode"
STAGE_SPANS = {
    EMBEDDINGS: "texts become vectors, in a replica of embedding",
    SIMILARITIES: "the extractive engine's sentences are compared with the question, in a replica of embedding",
    SEARCH: "a search in a replica of retrieval",
    READ: "passages of a section are read, in a replica of retrieval",
    RERANK: "candidates are scored, in a replica of reranking",
    CHAT: "an answer is generated, in a replica of generation",
    QUEUE: "the wait for the next pass or index call, or in vLLM for its scheduler",
    PASS: "one pass of a model, linked to each call whose texts were in it",
    INDEX_CALL: "one call to the index, linked to each search that it answered",
    PREFILL: "vLLM: from the scheduler until the first token",
    DECODE: "vLLM: from the first token until the last",
}
"""Spans of the stages' replicas, below those of the ingress."""
OPERATIONS = {SEARCH: "retrieval", READ: "retrieval"}
"""What the conventions call the operation of a span, where that is not its name."""

DOCUMENT = "document"
FETCH = "fetch"
PARSE = "parse"
CHUNK = "chunk"
EMBED = "embed"
INDEX = "index"
PUBLISH = "publish"
DOCUMENT_SPANS = {
    DOCUMENT: "one attempt to index a document, in a trace of its own that is linked to the request's; in a bulk job "
    "until it is cut into chunks",
    FETCH: "its bytes are read from the blob store",
    PARSE: "it becomes text, in a process of its own",
    CHUNK: "it is cut into chunks",
    EMBED: "a batch of chunks gets its vectors",
    INDEX: "a batch of chunks is written to the index",
    PUBLISH: "it goes live, or its failure is recorded",
}
SPANS = REQUEST_SPANS | STAGE_SPANS | DOCUMENT_SPANS

ATTRIBUTES = {
    "http.request.method": "the method",
    "http.route": "the route with its parameters' names, or `none`",
    "http.response.status_code": "the status; 499: the caller hung up before the answer began",
    "error.type": "the error's code; of an unexpected error below the request the class",
    "rag.request_id": "`X-Request-ID`",
    "rag.query_id": "`X-Query-ID`",
    "rag.tenant": "the tenant",
    "rag.key_id": "the key's id",
    "rag.document_id": "the document",
    "rag.job_id": "its job",
    "rag.attempt": "how many times it was claimed, this one included",
    "rag.batch.size": "texts in a pass, questions in a call to the index, or chunks",
    "rag.batch.calls": "calls that shared it",
    "rag.cancelled": "true: what was waited for was no longer wanted, or the caller hung up",
    "gen_ai.operation.name": "`chat`, `embeddings`, `retrieval`, or the span's own name",
    "gen_ai.provider.name": "the stage's engine",
    "gen_ai.request.model": "the model",
    "gen_ai.usage.input_tokens": "tokens of the prompt",
    "gen_ai.usage.output_tokens": "tokens of the answer",
    "gen_ai.usage.cache_read.input_tokens": "tokens of the prompt that came from the prefix cache",
    "gen_ai.response.finish_reasons": "why the answer ended",
    "gen_ai.input.messages": "with `telemetry.content` alone: the prompt",
    "gen_ai.output.messages": "with `telemetry.content` alone: the answer",
    "gen_ai.retrieval.query.text": "with `telemetry.content` alone: the question",
}

OF_REQUEST = {
    "http_method": "http.request.method",
    "http_route": "http.route",
    "http_status": "http.response.status_code",
    "error": "error.type",
    "rag_request_id": "rag.request_id",
    "query_id": "rag.query_id",
    "tenant": "rag.tenant",
    "key_id": "rag.key_id",
}
"""The attributes of a request's span, by the fields of its line in the log (`logs.LOG_FIELDS`)."""

FIRST_TOKEN = "gen_ai.first_token"
"""An event of GENERATION: the first text of the answer."""

"""
The providers: one `flotilla.inference.backend.Model` each.

`ollama_chat` (with `ollama_package`), `openai_chat` (any OpenAI-compatible server) and `anthropic_messages` speak a
provider's protocol and are the only modules that import a vendor's SDK, so nothing is re-exported here: importing one
needs its extra installed. `access` makes the one that a provider's record names.
They share how a failure is named (`failures`), which finish reasons mean a whole answer (`finish_reasons`), how a
stream is read and gathered (`server_sent_events`, `streams`), what leaves in HTTP headers
(`headers`), what a base URL means (`endpoints`), which schemas a provider can be held to (`schemas`) and what an
answer cost (`pricing`).
"""

"""Header names and limits of the HTTP protocol, written once for server and client."""

REQUEST_ID = "X-Request-ID"
DEVICE_ID = "X-Device-ID"
ACK = "X-Minibox-Ack"
"""How many durable copies a write waits for: 1, 2 or all."""
DURABILITY = "X-Minibox-Durability"
"""``have/want``: the durable copies at the time of the answer."""
IDEMPOTENCY_KEY = "Idempotency-Key"
SHARE_PASSWORD = "X-Share-Password"  # noqa: S105  a header's name
CSRF = "X-CSRF-Token"

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
FORM = "multipart/form-data"

MAX_JSON_BYTES = 1024 * 1024
"""A JSON body is never larger; what may be long is paged or batched."""
MAX_FIELD_BYTES = 64 * 1024
"""One field of a form, file parts aside."""
MAX_FIELDS = 64
"""Fields in a form, or parameters in a query."""
MAX_SHORT_HEADER = 255
"""An idempotency key, a device id: longer ones are refused."""

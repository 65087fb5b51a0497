#!/bin/sh
# Creates a session, runs something in it, reads its metrics and ends it.
#   CERVER_GATEWAY_URL=http://127.0.0.1:8787 CERVER_API_TOKEN=ck_… sh examples/quickstart.sh
set -eu
gateway=${CERVER_GATEWAY_URL:?say which gateway}
auth="Authorization: Bearer ${CERVER_API_TOKEN:?say with which token}"
json="Content-Type: application/json"

session=$(curl -fsS "$gateway/v2/sessions" -H "$auth" -H "$json" -d '{"task": "Quick start"}' |
  sed 's/.*"session_id":"\([^"]*\)".*/\1/')
curl -fsS "$gateway/v2/sessions/$session/run" -H "$auth" -H "$json" -d '{"code": "echo hello from cerver && node -v"}'
echo
curl -fsS "$gateway/v2/sessions/$session/metrics" -H "$auth"
echo
curl -fsS -X POST "$gateway/v2/sessions/$session/close" -H "$auth"
echo

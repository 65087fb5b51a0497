#!/usr/bin/env bash
# The official MCP conformance suite, both revisions: all that a revision requires against the suite's tools on our own
# transport, and what needs none of those tools against a gateway with a token. --write puts the results into docs/mcp.md.
set -euo pipefail
cd "$(dirname "$0")/.."

# Scenarios that ask for no tool, resource or prompt of the suite's own.
without_fixture() {
  echo tools-list resources-list prompts-list server-sse-multiple-streams dns-rebinding-protection
  case $1 in
    2025-11-25) echo server-initialize server-session-lifecycle ping ;;
    2026-07-28) echo server-stateless sep-2164-resource-not-found caching http-header-validation \
      input-required-result-unsupported-methods ;;
  esac
}

suite=$(npx -y -p node@24.21.0 -p @modelcontextprotocol/conformance@0.2.0-alpha.12 -c 'command -v conformance')
out=$(mktemp -d)
coproc SERVER { exec node_modules/.bin/tsx test/conformance/serve.ts; }
# shellcheck disable=SC2034 # exec closes to_server by its name
server=$SERVER_PID to_server=${SERVER[1]} from_server=${SERVER[0]}
# The server ends by itself when its input does.
trap 'exec {to_server}>&-; wait "$server" || true; rm -rf "$out"' EXIT
read -r fixture gateway <&"$from_server"

failed=0
# run NAME ARGUMENTS…: one run of the suite, whose log and checks are kept under NAME.
run() {
  local name=$1
  shift
  "${suite%/*}/node" "$suite" server "$@" -o "$out/$name" >"$out/$name.log" 2>&1 || {
    failed=1
    printf '\n== %s\n' "$name: $*"
    cat "$out/$name.log"
  }
}

for revision in 2025-11-25 2026-07-28; do
  run "fixture-$revision" --url "$fixture" --requirements "$revision" \
    --expected-failures test/conformance/expected-failures.yaml
  "${suite%/*}/node" "$suite" list --requirements "$revision" >"$out/fixture-$revision.required"
  for scenario in $(without_fixture "$revision"); do
    run "gateway-$revision" --url "$gateway" --scenario "$scenario" --spec-version "$revision" \
      --expected-failures test/conformance/expected-failures-gateway.yaml
  done
done

node_modules/.bin/tsx test/conformance/report.ts "$out" "$@" || failed=1
exit "$failed"

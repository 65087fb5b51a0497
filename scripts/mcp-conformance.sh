#!/usr/bin/env bash
# The official MCP conformance suite, both revisions: all that a revision requires against the suite's tools on our own
# transport; what needs none of those tools against a gateway with a token; and that gateway as an authorization server.
# --write puts the results into docs/mcp.md.
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
mkfifo "$out/to-server" "$out/from-server"
node_modules/.bin/tsx test/conformance/serve.ts <"$out/to-server" >"$out/from-server" &
server=$!
exec 3>"$out/to-server" 4<"$out/from-server"
# The server ends by itself when its input does.
trap 'exec 3>&-; wait "$server" || true; rm -rf "$out"' EXIT
read -r fixture gateway issuer client port <&4

suite() {
  "${suite%/*}/node" "$suite" "$@"
}

failed=0
# run NAME COMMAND ARGUMENTS…: one run of the suite, whose log and checks are kept under NAME.
run() {
  local name=$1
  shift
  suite "$@" -o "$out/$name" 2>&1 | approve >"$out/$name.log" || {
    failed=1
    printf '\n== %s\n' "$name: $*"
    cat "$out/$name.log"
  }
}

# Passes a log on, and has the server's person open what the suite wants opened.
approve() {
  while IFS= read -r line; do
    printf '%s\n' "$line"
    case $line in "$issuer/oauth/authorize?"*) printf '%s\n' "$line" >&3 ;; esac
  done
}

for revision in 2025-11-25 2026-07-28; do
  suite list --requirements "$revision" >"$out/fixture-$revision.required"
  run "fixture-$revision" server --url "$fixture" --requirements "$revision" \
    --expected-failures test/conformance/expected-failures.yaml
  for scenario in $(without_fixture "$revision"); do
    run "gateway-$revision" server --url "$gateway" --scenario "$scenario" --spec-version "$revision" \
      --expected-failures test/conformance/expected-failures-gateway.yaml
  done
  run "authorization-$revision" authorization --url "$issuer" --client-id "$client" --port "$port" \
    --resource "$issuer/mcp" --spec-version "$revision"
done

node_modules/.bin/tsx test/conformance/report.ts "$out" "$@" || failed=1
exit "$failed"

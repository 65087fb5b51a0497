#!/bin/sh
# Packs the package, installs the tarball in an empty folder and starts every mode once.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
up_pid=
finish() {
  [ -z "$up_pid" ] || kill "$up_pid" 2>/dev/null || true
  [ -z "$up_pid" ] || wait "$up_pid" 2>/dev/null || true
  rm -rf "$folder"
}
trap finish EXIT INT TERM

[ -f "$root/dist/cli/main.js" ] || (cd "$root" && npm run --silent build)
tarball=$(cd "$root" && npm pack --silent --pack-destination "$folder")
mkdir "$folder/app"
cd "$folder/app"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent "$folder/$tarball"

unset XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME CERVER_HOME CERVER_GATEWAY_URL CERVER_API_TOKEN
export HOME="$folder/home" CERVER_CREDENTIALS=file
mkdir "$HOME"
cerver="$folder/app/node_modules/.bin/cerver"
"$cerver" --version

"$cerver" up --json --port 0 --no-open >"$folder/ready" 2>"$folder/log" &
up_pid=$!
tries=0
until [ -s "$folder/ready" ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 150 ] || { echo "cerver up did not get ready" >&2; cat "$folder/log" >&2; exit 1; }
  kill -0 "$up_pid" 2>/dev/null || { echo "cerver up ended" >&2; cat "$folder/log" >&2; exit 1; }
  sleep 0.1
done

# shellcheck disable=SC2016 # the shell that runs it shall expand it
said=$("$cerver" run 'echo "through the $0"')
[ "$said" = "through the /bin/sh" ] || { echo "cerver run printed: $said" >&2; exit 1; }
token=$(sed 's/.*"api_token":"\([^"]*\)".*/\1/' "$folder/ready")
gateway=$(sed 's/.*"gateway_url":"\([^"]*\)".*/\1/' "$folder/ready")
CERVER_GATEWAY_URL=$gateway CERVER_API_TOKEN=$token sh "$root/examples/quickstart.sh"
"$cerver" sessions
"$cerver" computes

ask='{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"smoke","version":"1"}}}'
answer=$(printf '%s\n' "$ask" | "$folder/app/node_modules/.bin/cerver-mcp")
case $answer in
  *'"serverInfo"'*) ;;
  *) echo "cerver-mcp answered: $answer" >&2; exit 1 ;;
esac

kill -INT "$up_pid"
wait "$up_pid"
up_pid=
echo "smoke: the packed package works"

#!/bin/sh
# Installs cerver for this user and starts its relay:
#
#   curl -fsSL https://kompany.dev/install-cerver.sh | bash
#
# Everything is in main(), called on the last line: a download that breaks off does nothing.
set -eu

usage() {
  cat <<'EOT'
Installs cerver under ~/.local and starts `cerver relay`, which makes this machine a compute of your account.

Usage: install-cerver.sh [options] [-- relay options]
  --version VERSION   the version to install (default: latest)
  --no-start          install only
  --dry-run           say what would be done
  --uninstall         remove cerver's programs; settings and data stay
  --help              this text

CERVER_SOURCE         what to install: an npm package (default: cerver), a tarball, or a git address
EOT
}

say() { printf '%s\n' "$*"; }
fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

run() {
  if [ "$dry_run" = 1 ]; then say "would run: $*"; else "$@"; fi
}

check_node() {
  command -v node >/dev/null 2>&1 || fail "cerver needs Node.js 20.19 or newer, and there is none." \
    "Install it from https://nodejs.org or with your package manager, then run this again."
  node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' ||
    fail "cerver needs Node.js 20.19 or newer, and this is $(node --version)." "Install a current one from https://nodejs.org, then run this again."
  command -v npm >/dev/null 2>&1 || fail "npm is not there." "Install it with Node.js from https://nodejs.org, then run this again."
}

install_version() {
  staging="$share/versions/.new.$$"
  trap 'rm -rf "$staging"' EXIT
  trap 'exit 130' INT TERM
  run mkdir -p "$staging"
  run npm install --prefix "$staging" --no-audit --no-fund --loglevel=error "$source"
  if [ "$dry_run" = 1 ]; then
    say "would put it in $share/versions/VERSION and link $bin/cerver to it"
    return
  fi
  version=$(node -p 'require(process.argv[1]).version' "$staging/node_modules/cerver/package.json") ||
    fail "What was installed from $source is not cerver." "Check CERVER_SOURCE."
  "$staging/node_modules/.bin/cerver" --version >/dev/null || fail "The installed cerver does not start." "Look at the message above."
  rm -rf "$share/versions/$version"
  mv "$staging" "$share/versions/$version"
  ln -sfn "versions/$version" "$share/current"
  mkdir -p "$bin"
  for name in cerver cerver-mcp; do ln -sf "$share/current/node_modules/.bin/$name" "$bin/$name"; done
  say "Installed cerver $version: $bin/cerver"
  case ":$PATH:" in
    *":$bin:"*) ;;
    *) say "Add $bin to your PATH to type just: cerver" ;;
  esac
}

uninstall() {
  run rm -rf "$share/versions" "$share/current" "$bin/cerver" "$bin/cerver-mcp"
  say "Removed cerver's programs. Settings (~/.config/cerver) and data ($share) stay; remove them by hand if you wish."
}

main() {
  dry_run=0
  start=1
  remove=0
  wanted=
  while [ $# -gt 0 ]; do
    case $1 in
      --version) [ $# -gt 1 ] || fail "--version needs a version." "For example --version 0.1.0."; wanted=$2; shift ;;
      --no-start) start=0 ;;
      --dry-run) dry_run=1 ;;
      --uninstall) remove=1 ;;
      --help | -h) usage; return 0 ;;
      --) shift; break ;;
      *) fail "There is no option $1." "See --help." ;;
    esac
    shift
  done
  [ -n "${HOME:-}" ] || fail "HOME is not set." "Run this as the user who shall have cerver."
  share="${XDG_DATA_HOME:-$HOME/.local/share}/cerver"
  bin="$HOME/.local/bin"
  if [ "$remove" = 1 ]; then
    uninstall
    return 0
  fi
  source=${CERVER_SOURCE:-cerver}
  [ -z "$wanted" ] || source="$source@$wanted"
  check_node
  install_version
  [ "$start" = 1 ] || return 0
  [ "$dry_run" = 0 ] || { say "would run: $bin/cerver relay $*"; return 0; }
  exec "$bin/cerver" relay "$@"
}

main "$@"

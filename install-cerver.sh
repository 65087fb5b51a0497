#!/bin/sh
# Installs cerver for this user, and starts its relay:
#
#   curl -fsSL https://kompany.dev/install-cerver.sh | bash
#
# Everything is in main(), called on the last line: a download that breaks off does nothing. What is new is made in one
# folder and renamed into its place when it works, so that an interrupted installation changes nothing.
set -eu

# The line of Node that is installed where there is none, or none that is new enough.
node_line=24

usage() {
  cat <<'EOT'
Installs cerver under ~/.local and starts `cerver relay`, which makes this machine a compute of your account.

Usage: install-cerver.sh [options] [relay options] [-- relay options]
  --version VERSION   the version to install: of npm, or the branch, tag or commit of a git repository
  --no-start          install only
  --dry-run           say what would be done, and change nothing
  --uninstall         remove cerver's programs; settings and data stay
  --help              this text

Environment:
  CERVER_SOURCE       what to install: npm:cerver (unless said), npm:cerver@VERSION, git+https://HOST/PATH[#REF],
                      git+file:///PATH[#REF], or a tarball: FILE.tgz
  CERVER_NODE_MIRROR  where Node comes from, if there is none that is new enough: https://nodejs.org/dist unless said
  XDG_DATA_HOME       where programs and data are, instead of ~/.local/share
  Proxies are those of curl and npm: https_proxy, no_proxy.

Examples:
  $ sh install-cerver.sh --no-start
  $ sh install-cerver.sh --name mac-mini --allow-dir ~/work
  $ CERVER_SOURCE=./cerver-0.1.0.tgz sh install-cerver.sh --dry-run
EOT
}

say() { printf '%s\n' "$*"; }
fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

# Runs a command that may take long, so that a signal is acted on at once and ends the command too.
child() {
  "$@" </dev/null &
  child_pid=$!
  status=0
  wait "$child_pid" || status=$?
  child_pid=
  return "$status"
}

# Called by trap.
# shellcheck disable=SC2317,SC2329
stopped() {
  trap '' HUP INT TERM
  if [ -n "$child_pid" ]; then
    kill "$child_pid" 2>/dev/null || true
    # npm does not heed it while it downloads; what it was making is thrown away.
    sleep 1
    kill -s KILL "$child_pid" 2>/dev/null || true
    wait "$child_pid" 2>/dev/null || true
  fi
  printf 'Interrupted: nothing was changed that is not said above.\n' >&2
  exit "$1"
}

clean_up() {
  [ -z "$work" ] || rm -rf "$work"
  work=
  [ "$dry_run" = 0 ] || return 0
  # Folders that are left without anything in them.
  rmdir "$share/versions" "$share/node" "$share" 2>/dev/null || true
  for made in "$made_bin" "$made_data" "$made_local"; do
    [ -z "$made" ] || rmdir "$made" 2>/dev/null || true
  done
}

# The folder in which everything new is made. It is also the lock: only one installer has it.
begin_work() {
  trap clean_up EXIT
  trap 'stopped 129' HUP
  trap 'stopped 130' INT
  trap 'stopped 143' TERM
  if [ "$dry_run" = 1 ]; then
    work=$(mktemp -d "${TMPDIR:-/tmp}/cerver-install.XXXXXX")
    return
  fi
  [ -d "$bin" ] || made_bin=$bin
  [ -d "$data" ] || made_data=$data
  [ -d "$HOME/.local" ] || made_local="$HOME/.local"
  mkdir -p "$share" 2>/dev/null || fail "$share cannot be made." "Look at who owns the folders above it, or set XDG_DATA_HOME."
  if ! mkdir "$share/.installing" 2>/dev/null; then
    other=$(cat "$share/.installing/pid" 2>/dev/null) || other=
    if [ -n "$other" ] && kill -0 "$other" 2>/dev/null; then
      fail "Another installation is running, as process $other." "Wait for it. If it is none, remove $share/.installing and run this again."
    fi
    rm -rf "$share/.installing"
    mkdir "$share/.installing" || fail "$share cannot be written." "Look at who owns it."
  fi
  work="$share/.installing"
  echo $$ >"$work/pid"
}

npm_quietly() {
  # A cache of npm's own is left to nobody who had none.
  if [ -n "${npm_config_cache:-}" ] || [ -d "$HOME/.npm" ]; then cache=; else cache="npm_config_cache=$work/npm-cache"; fi
  child env ${cache:+"$cache"} npm_config_logs_max=0 npm_config_update_notifier=false npm_config_audit=false \
    npm_config_fund=false npm_config_loglevel=error npm_config_global=false npm_config_ignore_scripts=true \
    npm_config_progress=false npm_config_package_lock=true npm "$@"
}

# git asks nobody for a password, and gives up on a connection that is dead.
git_quietly() {
  child env GIT_TERMINAL_PROMPT=0 GIT_HTTP_LOW_SPEED_LIMIT=1000 GIT_HTTP_LOW_SPEED_TIME=60 git "$@"
}

# download URL FILE: by https, or from this machine.
download() {
  case $1 in
    https://*) protocol='=https' ;;
    http://localhost[:/]* | http://127.0.0.1[:/]*) protocol='=http' ;;
    *) fail "Node is not downloaded from $1: it is no https: address." "Set CERVER_NODE_MIRROR to one, or install Node.js 20.19 or newer yourself." ;;
  esac
  if command -v curl >/dev/null 2>&1; then
    child curl -fsSL --proto "$protocol" --proto-redir "$protocol" --tlsv1.2 --connect-timeout 20 --retry 2 \
      --speed-limit 1000 --speed-time 60 --max-time 1800 -o "$2" "$1"
  elif command -v wget >/dev/null 2>&1; then
    child wget -q -T 60 -O "$2" "$1"
  else
    fail "There is neither curl nor wget to download Node with." "Install one of them, or Node.js 20.19 or newer."
  fi || fail "$1 could not be downloaded." "Look at the message above; behind a proxy set https_proxy. CERVER_NODE_MIRROR names another place."
}

sha256() {
  if command -v sha256sum >/dev/null 2>&1; then
    sha256sum <"$1"
  elif command -v shasum >/dev/null 2>&1; then
    shasum -a 256 <"$1"
  else
    openssl dgst -sha256 -r <"$1"
  fi | cut -d ' ' -f 1
}

is_new_enough() {
  [ -n "$1" ] && [ "$("$1" -p 'const [a, b] = process.versions.node.split("."); a > 20 || (a == 20 && b >= 19)' 2>/dev/null </dev/null)" = true ]
}

# Sets `node` to the absolute path of a Node that is new enough, and PATH so that npm uses it.
find_node() {
  found=$(command -v node 2>/dev/null) || found=
  if is_new_enough "$found"; then
    if command -v npm >/dev/null 2>&1; then
      node=$("$found" -p process.execPath)
      # Where Homebrew has it changes with each update; what leads there does not.
      case $node in */Cellar/*) node=$found ;; esac
      say "Node: $("$node" --version), $node"
      return
    fi
    say "Node: $found has no npm"
  elif [ -n "$found" ]; then
    say "Node: $found is $("$found" --version 2>/dev/null || echo broken); cerver needs 20.19 or newer"
  fi
  for node in "$share"/node/*/bin/node; do
    if is_new_enough "$node"; then
      PATH="$(dirname "$node"):$PATH"
      say "Node: $("$node" --version), $node"
      return
    fi
  done
  node=
  install_node
}

install_node() {
  mirror=${CERVER_NODE_MIRROR:-https://nodejs.org/dist}
  mirror=${mirror%/}/latest-v$node_line.x
  case $(uname -s) in
    Linux) os=linux ;;
    Darwin) os=darwin ;;
    *) fail "Node is not installed by this script on $(uname -s)." "Install Node.js 20.19 or newer, then run this again." ;;
  esac
  case $(uname -m) in
    x86_64 | amd64) arch=x64 ;;
    aarch64 | arm64) arch=arm64 ;;
    *) arch=$(uname -m) ;;
  esac
  # A shell under Rosetta says that the processor is an Intel one.
  [ "$os-$arch" != darwin-x64 ] || [ "$(sysctl -n sysctl.proc_translated 2>/dev/null)" != 1 ] || arch=arm64
  for musl in /lib/ld-musl-*; do
    [ ! -e "$musl" ] || [ -e /lib64/ld-linux-x86-64.so.2 ] || [ -e /lib/ld-linux-aarch64.so.1 ] ||
      fail "The Node of $mirror does not run with this system's C library, musl." "Install it with the package manager, as in: apk add nodejs npm"
  done
  download "$mirror/SHASUMS256.txt" "$work/SHASUMS256.txt"
  line=$(grep -E "^[0-9a-f]{64} +node-v[0-9.]+-$os-$arch\.tar\.gz\$" "$work/SHASUMS256.txt" | head -n 1) || line=
  [ -n "$line" ] || fail "$mirror has no Node for $os-$arch." "Install Node.js 20.19 or newer yourself, then run this again."
  archive=${line##* }
  folder="$share/node/${archive%.tar.gz}"
  if [ "$dry_run" = 1 ]; then
    say "Node: would be installed from $mirror/$archive into $folder"
    return
  fi
  say "Node: downloading $mirror/$archive"
  download "$mirror/$archive" "$work/$archive"
  sum=$(sha256 "$work/$archive")
  [ "$sum" = "${line%% *}" ] ||
    fail "$archive is not what SHASUMS256.txt says: its SHA-256 is $sum, and has to be ${line%% *}." \
      "Nothing was installed. Try again; if it stays so, the mirror $mirror is not to be trusted."
  mkdir "$work/node"
  child tar -xzf "$work/$archive" -C "$work/node" || fail "$archive could not be unpacked." "Is the disk full? Look at the message above."
  is_new_enough "$work/node/${archive%.tar.gz}/bin/node" ||
    fail "The Node of $archive does not run here." "Install Node.js 20.19 or newer by the package manager, then run this again."
  mkdir -p "$share/node"
  rm -rf "$folder"
  mv "$work/node/${archive%.tar.gz}" "$folder"
  rm -f "$work/$archive"
  node="$folder/bin/node"
  PATH="$folder/bin:$PATH"
  say "Node: $("$node" --version) installed, its checksum is right: $node"
}

# Sets `version`, the name of the version's folder, and `kind`. What has a commit or a checksum carries it in its name: a
# folder that is there is never written to again.
find_version() {
  case $source in
    npm:?*) find_npm_version "${source#npm:}" ;;
    git+*) find_commit "${source#git+}" ;;
    *.tgz | *.tar.gz) find_tarball "$source" ;;
    *) fail "CERVER_SOURCE is $source, which is none of the known kinds." "Set it to npm:cerver@VERSION, git+https://HOST/PATH#REF, or the path of a .tgz file." ;;
  esac
}

find_npm_version() {
  kind=npm
  package=$1
  case $package in
    ?*@*)
      [ -z "$wanted" ] || fail "CERVER_SOURCE is $source, and --version says $wanted." "Give the version in one of them."
      name=${package%@*}
      ;;
    *)
      name=$package
      package="$package@${wanted:-latest}"
      ;;
  esac
  npm_quietly view "$package" version >"$work/answer" ||
    fail "npm has no $package, or cannot be reached." "Look at the message above: a version that exists, npm's registry and proxy settings, or another CERVER_SOURCE."
  version=$(cat "$work/answer")
  case $version in
    [0-9]*.[0-9]*.[0-9]*) ;;
    *) version= ;;
  esac
  case $version in
    '' | *[!0-9A-Za-z.+-]*) fail "$package does not name one version." "Name one, as in --version 0.1.0." ;;
  esac
  spec="$name@$version"
  what="$name $version of npm"
}

find_commit() {
  kind=git
  spec="$work/cerver.tgz"
  address=${1%%#*}
  ref=
  case $1 in *'#'*) ref=${1#*#} ;; esac
  [ -z "$wanted" ] || [ -z "$ref" ] || fail "CERVER_SOURCE names $ref, and --version says $wanted." "Give the version in one of them."
  ref=${ref:-${wanted:-HEAD}}
  case $address in -*) fail "$address is no address of a repository." "Set CERVER_SOURCE to git+https://HOST/PATH#REF." ;; esac
  command -v git >/dev/null 2>&1 || fail "There is no git, and CERVER_SOURCE is a git repository." "Install git, or install from npm or a tarball."
  git_quietly ls-remote "$address" >"$work/refs" ||
    fail "$address cannot be read." "Look at the message above: the address, the network, or what git needs to log in."
  # A tag's own commit, then the tag, a version's tag, a branch, or what the repository points at.
  commit=
  for name in "refs/tags/$ref^{}" "refs/tags/$ref" "refs/tags/v$ref^{}" "refs/tags/v$ref" "refs/heads/$ref" "$ref"; do
    [ -n "$commit" ] || commit=$(name=$name awk '$2 == ENVIRON["name"] { print $1; exit }' "$work/refs")
  done
  if [ -z "$commit" ]; then
    case $ref in
      *[!0-9a-f]*) ;;
      ????????????????????????????????????????) commit=$ref ;;
    esac
  fi
  [ -n "$commit" ] || fail "$address has no branch, tag or commit $ref." "See what there is: git ls-remote $address. A commit is written in full."
  version="git-$(printf %.12s "$commit")"
  what="commit $(printf %.12s "$commit") ($ref) of $address"
}

find_tarball() {
  kind=tarball
  spec="$work/cerver.tgz"
  [ -f "$1" ] || fail "There is no file $1." "CERVER_SOURCE is the path of a .tgz file, as npm pack makes it."
  tarball="$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"
  # What is checked is what is installed.
  if [ "$dry_run" = 0 ]; then
    cp "$tarball" "$work/cerver.tgz"
    packed="$work/cerver.tgz"
  else
    packed=$tarball
  fi
  number=$(tar -xzOf "$packed" package/package.json 2>/dev/null |
    "$node" -p 'JSON.parse(fs.readFileSync(0, "utf8")).version' 2>/dev/null) || number=
  case $number in
    '' | *[!0-9A-Za-z.+-]*) fail "$tarball is not a package of npm." "Make one with npm pack, in a folder of cerver that is built." ;;
  esac
  [ -z "$wanted" ] || [ "$wanted" = "$number" ] || fail "$tarball holds version $number, and --version says $wanted." "Leave out --version."
  version="$number-$(sha256 "$packed" | cut -c 1-12)"
  what="cerver $number of $tarball"
}

# The commit's tree becomes a tarball, as it would before it is published.
build_commit() {
  tree="$work/tree"
  git_quietly -c init.defaultBranch=main init -q "$tree"
  git_quietly -C "$tree" fetch -q --depth 1 "$address" "$commit" 2>/dev/null ||
    git_quietly -C "$tree" fetch -q "$address" '+refs/*:refs/cerver/*' ||
    fail "$address could not be fetched." "Look at the message above."
  git_quietly -C "$tree" -c advice.detachedHead=false checkout -q "$commit" || fail "$address has no commit $commit." "Name a branch or a tag."
  (cd "$tree" && [ -f package-lock.json ] && [ -f package.json ]) || fail "$what is not cerver." "Check the address in CERVER_SOURCE."
  npm_quietly ci --prefix "$tree" --include=dev >/dev/null || fail "The libraries that $what is built with could not be installed." "Look at the message above: npm's registry, or its proxy."
  npm_quietly run --prefix "$tree" --silent build >"$work/build.log" 2>&1 || {
    tail -n 20 "$work/build.log" >&2
    fail "$what could not be built." "Look at the message above, or install another version."
  }
  npm_quietly pack "$tree" --silent --pack-destination "$work" >"$work/packed"
  mv "$work/$(tail -n 1 "$work/packed")" "$work/cerver.tgz"
  rm -rf "$tree"
}

install_version() {
  say "Installing $what"
  [ "$kind" != git ] || build_commit
  staging="$work/version"
  mkdir "$staging"
  echo '{"private":true}' >"$staging/package.json"
  npm_quietly install --prefix "$staging" --no-save --omit=dev "$spec" >/dev/null ||
    fail "$what could not be installed." "Look at the message above: npm's registry or proxy, or a full disk."
  [ -e "$staging/node_modules/.bin/cerver" ] || fail "What was installed from $source is not cerver." "Check CERVER_SOURCE."
  "$node" "$staging/node_modules/.bin/cerver" --version >/dev/null </dev/null || fail "The installed cerver does not start." "Look at the message above."
  rm -f "$staging/package.json"
  mkdir -p "$share/versions"
  mv "$staging" "$share/versions/$version"
  say "Installed $share/versions/$version"
}

# Makes this version the one that `cerver` starts. Every step is one rename.
use_version() {
  if [ "$(readlink "$share/current" 2>/dev/null)" != "versions/$version" ]; then
    ln -s "versions/$version" "$work/current"
    # mv would move it into the folder that the old link leads to.
    "$node" -e 'fs.renameSync(process.argv[1], process.argv[2])' "$work/current" "$share/current" ||
      fail "$share/current cannot be replaced." "Move it away, then run this again."
    say "Linked $share/current to versions/$version"
    changed=1
  fi
  mkdir -p "$bin"
  for name in cerver cerver-mcp; do
    launcher "$name" >"$work/$name"
    if ! cmp -s "$work/$name" "$bin/$name" || [ -L "$bin/$name" ]; then
      chmod 755 "$work/$name"
      mv -f "$work/$name" "$bin/$name"
      say "Wrote $bin/$name"
      changed=1
    fi
  done
  remove_old_versions
}

# For returning to, the two before this one stay; a relay that still runs from an older one has loaded what it uses.
remove_old_versions() {
  kept=0
  # shellcheck disable=SC2012 # the names are ours, and only ls knows the order
  ls -1t "$share/versions" | while read -r old; do
    [ "$old" != "$version" ] || continue
    kept=$((kept + 1))
    [ "$kept" -gt 2 ] || continue
    rm -rf "$share/versions/${old:?}"
    say "Removed $share/versions/$old"
  done
}

quoted() { printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }

launcher_mark='# Written by install-cerver.sh; --uninstall removes it.'
launcher() {
  cat <<EOT
#!/bin/sh
$launcher_mark
node=$(quoted "$node")
[ -x "\$node" ] || node=\$(command -v node) || {
  echo "error: The Node that cerver was installed with is gone, and there is no other." >&2
  echo "hint: Run install-cerver.sh again: it installs one." >&2
  exit 1
}
exec "\$node" $(quoted "$share/current/node_modules/.bin/$1") "\$@"
EOT
}

is_ours() {
  if [ -L "$1" ]; then
    case $(readlink "$1") in "$share/"*) return 0 ;; *) return 1 ;; esac
  fi
  [ -f "$1" ] && grep -qxF "$launcher_mark" "$1"
}

refuse_other_programs() {
  for name in cerver cerver-mcp; do
    if [ -e "$bin/$name" ] || [ -L "$bin/$name" ]; then
      is_ours "$bin/$name" || fail "$bin/$name is another program, which this script did not write." "Move it away, then run this again."
    fi
  done
}

uninstall() {
  remove_service
  begin_work
  made_bin=$bin
  made_data=$data
  made_local="$HOME/.local"
  removed=0
  for path in "$bin/cerver" "$bin/cerver-mcp" "$share/current" "$share/versions" "$share/node"; do
    [ -e "$path" ] || [ -L "$path" ] || continue
    case $path in "$bin"/*) is_ours "$path" || continue ;; esac
    removed=1
    if [ "$dry_run" = 1 ]; then
      say "Would remove $path"
    else
      rm -rf "$path"
      say "Removed $path"
    fi
  done
  [ "$removed" = 1 ] || say "There is nothing of cerver to remove."
  clean_up
  for path in "$share" "${XDG_CONFIG_HOME:-$HOME/.config}/cerver" "${XDG_STATE_HOME:-$HOME/.local/state}/cerver"; do
    [ ! -d "$path" ] || [ "$dry_run" = 1 ] || say "Left settings or data: $path"
  done
}

# A service would go on starting what is not there any more.
remove_service() {
  is_ours "$bin/cerver" || return 0
  "$bin/cerver" relay --help </dev/null 2>/dev/null | grep -q '^ *service ' || return 0
  for unit in "${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user/cerver-relay.service" "$HOME/Library/LaunchAgents/dev.kompany.cerver.relay.plist"; do
    [ -f "$unit" ] || continue
    if [ "$dry_run" = 1 ]; then
      say "Would remove the service: $unit"
    else
      "$bin/cerver" relay service uninstall </dev/null || say "The service could not be removed: $unit"
    fi
  done
  for unit in /etc/systemd/system/cerver-relay.service /Library/LaunchDaemons/dev.kompany.cerver.relay.plist; do
    grep -qF "$share/" "$unit" 2>/dev/null || continue
    case $unit in
      /etc/*) end="systemctl disable --now cerver-relay" ;;
      *) end="launchctl bootout system/dev.kompany.cerver.relay" ;;
    esac
    say "Left, because it is the machine's: sudo $end; sudo rm $unit"
  done
}

say_path() {
  case ":$PATH_BEFORE:" in *":$bin:"*) return ;; esac
  say
  say "$bin is not on your PATH. To type just cerver, in this shell and in new ones:"
  # shellcheck disable=SC2016 # the shell that reads the line expands it
  case ${SHELL:-} in
    */fish) say '  fish_add_path "$HOME/.local/bin"' ;;
    */zsh) say '  echo '\''export PATH="$HOME/.local/bin:$PATH"'\'' >>~/.zshrc; . ~/.zshrc' ;;
    */bash) say '  echo '\''export PATH="$HOME/.local/bin:$PATH"'\'' >>~/.bashrc; . ~/.bashrc' ;;
    *) say '  echo '\''export PATH="$HOME/.local/bin:$PATH"'\'' >>~/.profile; . ~/.profile' ;;
  esac
}

say_next() {
  say
  say "Next: $bin/cerver relay"
  # Where this version has a service, it keeps the relay running.
  if "$bin/cerver" relay --help </dev/null 2>/dev/null | grep -q '^ *service '; then
    say "To keep it running: $bin/cerver relay service install"
  fi
}

main() {
  dry_run=0
  start=1
  remove=0
  wanted=
  work=
  child_pid=
  changed=0
  made_bin=
  made_data=
  made_local=
  # Options are taken out one by one; what is the relay's goes to the end.
  left=$#
  while [ "$left" -gt 0 ]; do
    option=$1
    shift
    left=$((left - 1))
    case $option in
      --version)
        [ "$left" -gt 0 ] || fail "--version needs a version." "For example --version 0.1.0."
        wanted=$1
        shift
        left=$((left - 1))
        ;;
      --version=*) wanted=${option#*=} ;;
      --no-start) start=0 ;;
      --dry-run) dry_run=1 ;;
      --uninstall) remove=1 ;;
      --help | -h) usage; return 0 ;;
      --) while [ "$left" -gt 0 ]; do set -- "$@" "$1"; shift; left=$((left - 1)); done ;;
      *) set -- "$@" "$option" ;;
    esac
  done
  if [ $# -gt 0 ] && { [ "$start" = 0 ] || [ "$remove" = 1 ]; }; then
    fail "There is no option $1 here." "Options of the relay need a relay that is started. See --help."
  fi
  case $wanted in -*) fail "--version needs a version, and got $wanted." "For example --version 0.1.0." ;; esac
  [ -d "${HOME:-}" ] || fail "HOME is not set to a folder." "Run this as the user who shall have cerver."
  if [ "$(id -u)" = 0 ] && [ -z "$(find "$HOME" -prune -user 0)" ]; then
    fail "This runs as root, and $HOME is somebody else's." "Run it as that user, without sudo."
  fi
  # As the XDG specification has it, a relative path is none.
  case ${XDG_DATA_HOME:-} in /*) data=$XDG_DATA_HOME ;; *) data="$HOME/.local/share" ;; esac
  share="$data/cerver"
  bin="$HOME/.local/bin"
  PATH_BEFORE=$PATH
  if [ "$remove" = 1 ]; then
    uninstall
    return 0
  fi
  source=${CERVER_SOURCE:-npm:cerver}

  refuse_other_programs
  begin_work
  node=
  find_node
  if [ -z "$node" ]; then
    say "Would install $source into $share/versions, and write $bin/cerver"
  else
    find_version
    if [ -d "$share/versions/$version" ]; then
      say "There already: $share/versions/$version"
    elif [ "$dry_run" = 1 ]; then
      say "Would install $what into $share/versions/$version"
    else
      install_version
      changed=1
    fi
    if [ "$dry_run" = 0 ]; then
      use_version
      [ "$changed" = 1 ] || say "Nothing had to be changed."
    else
      say "Would link $share/current to it, and write $bin/cerver and $bin/cerver-mcp"
    fi
  fi
  clean_up
  trap - EXIT HUP INT TERM
  if [ "$dry_run" = 1 ]; then
    [ "$start" = 0 ] || say "Would start: $bin/cerver relay${*:+ $*}"
    return 0
  fi
  say_path
  if [ "$start" = 0 ]; then
    say_next
    return 0
  fi
  say
  say "Starting: $bin/cerver relay${*:+ $*}"
  export PATH="$PATH_BEFORE"
  # What curl pipes in is this script.
  if [ ! -t 0 ]; then
    if (: </dev/tty) 2>/dev/null; then exec </dev/tty; else exec </dev/null; fi
  fi
  exec "$bin/cerver" relay "$@"
}

main "$@"

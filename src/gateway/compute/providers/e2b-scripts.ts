/**
 * What runs in an E2B sandbox around a command, as texts for bash, which every E2B template has. Their only other tools
 * are setsid, grep, sleep, mv and rm.
 */

/** The variable that marks the processes of one run; children inherit it. */
export const RUN_KEY = "CERVER_RUN";
/** Where a run's own variables travel: a login shell sets PATH and others anew, so they are set after it. */
export const ENV_PREFIX = "CERVER_ENV_";
/**
 * The names of files in {@link OWN_FOLDER}: the input of a run, which is gone before it begins, and texts too long for an
 * argument. A module is moved to where its imports resolve from.
 */
export const STDIN_FILE = "CERVER_STDIN";
export const SCRIPT_FILE = "CERVER_SCRIPT";
export const MODULE_FILE = "CERVER_MODULE";

/** The folder that sessions work in, and the one for our own files, in the words of envd: `~` is the user's home. */
export const WORK_FOLDER = "~/work";
export const OWN_FOLDER = "~/.cerver";

/** The name of the file in {@link OWN_FOLDER} which says that a run that has not begun is over, and is not to begin. */
export const endedFile = (key: string) => `${key}.ended`;

/**
 * Runs its arguments in a session of their own, and exits as they do: with 128 + n after signal n.
 *
 * envd tells an end only when the output's pipes are closed. So whatever the command left behind in its process group,
 * session or at the pipes is ended when it has exited, as on one's own machine. What went into a session of its own and
 * let go of the output stays: a server, for example.
 */
export const LAUNCH = `
exec 8>&2 2>/dev/null
own=$HOME/.cerver me=$$
[[ -e $own/$CERVER_RUN.ended ]] && exit 143
if [[ -n $CERVER_STDIN ]]; then
  exec <"$own/$CERVER_STDIN"
  rm -f -- "$own/$CERVER_STDIN"
fi
if [[ -n $CERVER_SCRIPT ]]; then
  printf -v code '. %q' "$own/$CERVER_SCRIPT"
  set -- /bin/sh -c "$code"
fi
if [[ -n $CERVER_MODULE ]]; then
  mv -- "$own/$CERVER_MODULE" ".cerver-$CERVER_MODULE"
  set -- node ".cerver-$CERVER_MODULE"
fi
setsid=$(type -P setsid)
(
  unset CERVER_STDIN CERVER_SCRIPT CERVER_MODULE code own me
  for __cerver in "\${!CERVER_ENV_@}"; do
    export "\${__cerver#CERVER_ENV_}=\${!__cerver}"
    unset "$__cerver"
  done
  exec $setsid "$@"
) <&0 2>&8 8>&- &
child=$!
wait "$child"
code=$?
left() {
  local folder pid stat
  found=()
  for folder in /proc/[0-9]*; do
    pid=\${folder#/proc/}
    [[ $pid == "$me" ]] && continue
    if [[ $folder/fd/1 -ef /proc/$me/fd/1 || $folder/fd/1 -ef /proc/$me/fd/8 ||
      $folder/fd/2 -ef /proc/$me/fd/1 || $folder/fd/2 -ef /proc/$me/fd/8 ]]; then
      found+=("$pid")
      continue
    fi
    read -r stat <"$folder/stat" || continue
    set -- \${stat##*) }
    [[ $1 != Z && ($3 == "$child" || $4 == "$child") ]] && found+=("$pid")
  done
}
for ((look = 0; look < 60; look++)); do
  left
  ((\${#found[@]})) || break
  if ((look == 0)); then kill -TERM "\${found[@]}"; fi
  if ((look >= 40)); then kill -KILL "\${found[@]}"; fi
  sleep 0.05
done
[[ -n $CERVER_SCRIPT ]] && rm -f -- "$own/$CERVER_SCRIPT"
[[ -n $CERVER_MODULE ]] && rm -f -- ".cerver-$CERVER_MODULE"
exit "$code"
`;

/**
 * Ends every process of a run, given as `CERVER_KEY` (which marks them) and `CERVER_FIRST` (the first one's pid, where it
 * is known): TERM, after 2 s KILL, until two looks find nothing. Prints how many are alive at the end: 0, unless the system
 * itself holds one.
 *
 * A process belongs to a run when it carries the mark, or descends from one that does, or is in the session or group of
 * one, or did so at an earlier look.
 */
export const END_TREE = `
exec 2>/dev/null
declare -A known told
[[ -n $CERVER_FIRST ]] && known[$CERVER_FIRST]=1
look() {
  local file pid stat line grew=1
  local -A member
  local -a table
  for file in $(grep -lsxzF -e "CERVER_RUN=$CERVER_KEY" /proc/[0-9]*/environ); do
    file=\${file#/proc/}
    member[\${file%/environ}]=1
  done
  for file in /proc/[0-9]*/stat; do
    read -r stat <"$file" || continue
    table+=("\${stat%% *} \${stat##*) }")
  done
  while ((grew)); do
    grew=0
    for line in "\${table[@]}"; do
      set -- $line
      [[ -n \${member[$1]} || $1 == "$$" ]] && continue
      if [[ -n \${known[$1]}\${member[$3]}\${member[$4]}\${member[$5]}\${known[$4]}\${known[$5]} ]]; then
        member[$1]=1
        grew=1
      fi
    done
  done
  alive=()
  for line in "\${table[@]}"; do
    set -- $line
    [[ -n \${member[$1]} && $2 != [ZX] ]] && alive+=("$1")
  done
  for pid in "\${alive[@]}"; do known[$pid]=1; done
}
SECONDS=0
for ((empty = 0; empty < 2; )); do
  look
  if ((\${#alive[@]} == 0)); then
    ((empty++))
    sleep 0.02
    continue
  fi
  empty=0
  ((SECONDS >= 8)) && break
  if ((SECONDS >= 2)); then
    kill -KILL "\${alive[@]}"
  else
    for pid in "\${alive[@]}"; do
      [[ -n \${told[$pid]} ]] && continue
      told[$pid]=1
      kill -TERM "$pid"
      kill -CONT "$pid"
    done
  fi
  sleep 0.02
done
echo "\${#alive[@]}"
`;

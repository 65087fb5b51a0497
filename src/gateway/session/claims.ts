import type { ClaimKind } from "../../protocol/digest.js";

/** A sentence in which something is said to be so. */
export interface Claim {
  kind: ClaimKind;
  text: string;
}

/** What is claimed, and in what words. */
const CLAIMS: readonly [ClaimKind, RegExp][] = [
  [
    "tests",
    /\b(?:tests?|specs?|test suite|suite|test cases?)\b[^.!?]{0,40}?\b(?:pass(?:es|ed|ing)?|succeed(?:s|ed)?|green)\b|\b(?:passed|passing|green)\b[^.!?]{0,15}\b(?:tests?|specs?|suite)\b|\b(\d+)\s*(?:\/|of|out of)\s*\1\s+(?:tests?\s+)?(?:pass\w*|green)|^\s*\d+ passed\b/i,
  ],
  [
    "build",
    /\b(?:build|compilation|bundle)\b[^.!?]{0,25}?\b(?:pass(?:es|ed|ing)?|succeed(?:s|ed)?|works|clean|green|successful(?:ly)?)\b|\b(?:builds|compiles|compiled|built)\b\s+(?:fine|cleanly|successfully|without (?:any )?(?:errors?|warnings?))|\bsuccessful (?:build|compilation)\b/i,
  ],
  [
    "lint",
    /\b(?:lint(?:er|ing)?|eslint|biome|ruff|clippy|prettier)\b[^.!?]{0,25}?\b(?:pass(?:es|ed|ing)?|clean|green|happy|succeed(?:s|ed)?|no (?:errors?|warnings?|issues|complaints))\b|\bno lint(?:er|ing)? (?:errors?|warnings?|issues)\b/i,
  ],
  [
    "types",
    /\b(?:type[- ]?check(?:s|er|ing)?|types|tsc|mypy|pyright)\b[^.!?]{0,25}?\b(?:pass(?:es|ed|ing)?|clean|green|succeed(?:s|ed)?|happy|check out|no errors?)\b|\bno type errors?\b|\bit type[- ]?checks\b/i,
  ],
  [
    "deploy",
    /\b(?:deploy(?:ed|ment)?|release[d]?|rollout)\b[^.!?]{0,25}?\b(?:succeeded|successful(?:ly)?|is live|went through|is out|complete[d]?)\b|\b(?:successfully|have|has been|is now|was) (?:deployed|published|released)\b|\b(?:is|are) (?:now )?live (?:on|in|at)\b/i,
  ],
];
/** Each claim has one of these beginnings of words in it; most of what is said has none, and is not looked at any closer. */
const MAY_CLAIM =
  /pass|succe|green|works|clean|fine|happy|compil|buil|live|complete|went through|is out|deploy|publish|releas|error|warning|issues|complaints|check/i;
/** Words that make a sentence something else than a claim: a wish, a plan, a condition, a doubt, a question, a denial. */
const NO_CLAIM =
  /\?\s*$|\b(?:if|unless|until|once|when|whether|should|would|could|might|may|must|will|shall|let me|let's|i'll|we'll|going to|gonna|want(?:s|ed)?|need(?:s|ed)?|make sure|ensure|verify that|to (?:see|check|confirm|verify|make)|so that|before|please|try(?:ing)? to|hope(?:fully)?|expect(?:ed)?|assum(?:e|ing)|probably|maybe|perhaps|likely|not|n't|no longer|never|fail(?:s|ed|ing|ure)?|broken|cannot|can't|doesn't|don't|didn't|isn't|aren't|wasn't|without running|haven't|hasn't|almost|only some|some of|most of|half of|used to)\b|\b(?:not|n't) /i;
/** Denials that are part of a claim. */
const FINE =
  /\b(?:no|without(?: any)?|zero|0) (?:type |lint(?:er|ing)? )?(?:errors?|warnings?|issues|failures|failed|failing)\b/gi;

/** What a command that shows each kind looks like. */
const SHOWS: Record<ClaimKind, RegExp> = {
  tests:
    /\b(?:vitest|jest|mocha|pytest|tox|nox|rspec|phpunit|ctest|ava|playwright test|(?:npm|pnpm|yarn|bun|deno|cargo|go|dotnet|mix|swift|bazel|gradle|gradlew|make|just|rake|mvn|node)\b(?: \S+)*? \S*(?:test|check|verify)\S*|python3? -m (?:pytest|unittest)|node --test)\b/i,
  build:
    /\b(?:(?:npm|pnpm|yarn|bun|cargo|go|dotnet|swift|bazel|gradle|gradlew|docker|just|make)\b(?: \S+)*? \S*(?:build|compile|bundle|install|all)\S*|make(?=\s*$|\s*[;&|])|tsc|esbuild|webpack|vite build|rollup|gcc|clang|rustc|javac|mvn (?:package|compile|install)|cmake)\b/i,
  lint: /\b(?:eslint|biome|ruff|flake8|pylint|clippy|golangci-lint|prettier|rubocop|shellcheck|stylelint|oxlint|\S*lint\S*|(?:npm|pnpm|yarn|bun|make|just) (?:run )?(?:-s )?check)\b/i,
  types:
    /\b(?:tsc|mypy|pyright|pyre|flow check|cargo check|go vet|vue-tsc|\S*type-?check\S*|(?:npm|pnpm|yarn|bun|make|just) (?:run )?(?:-s )?check)\b/i,
  deploy:
    /\b(?:\S*deploy\S*|npm publish|cargo publish|twine upload|docker push|kubectl (?:apply|rollout)|helm (?:install|upgrade)|terraform apply|\S+ --prod|fly|wrangler|netlify|git push|gh release|systemctl (?:restart|reload))\b/i,
};

/** The claims in what a model said; code, quotations and tables aside. One of each kind. */
export function claimsIn(said: string): Claim[] {
  if (!MAY_CLAIM.test(said)) return [];
  const prose = said
    .replace(/```[\s\S]*?(?:```|$)/g, "\n")
    .replace(/^\s*>.*$/gm, "")
    .replace(/^\s*\|.*$/gm, "");
  const found = new Map<ClaimKind, Claim>();
  for (const raw of prose.split(/(?<=[.!?])\s+|\n+|;\s+|,? but\s+/)) {
    if (!MAY_CLAIM.test(raw)) continue;
    const text = raw.replace(/^[\s*#\-•]+|[\s*]+$/g, "").replace(/[`*_]/g, "");
    if (text === "" || NO_CLAIM.test(text.replace(FINE, ""))) continue;
    for (const [kind, words] of CLAIMS)
      if (!found.has(kind) && words.test(text)) found.set(kind, { kind, text: text.slice(0, 200) });
  }
  return [...found.values()];
}

/** Whether a command, when it succeeds, shows what claims of this kind say. */
export function shows(command: string, kind: ClaimKind): boolean {
  // What is printed or looked for was not run.
  if (
    /^\s*(?:echo|printf|cat|grep|rg|ls|which|man|sed|head|tail|less|find|git (?!push))\b/.test(command) &&
    !/&&|;|\|\|/.test(command)
  )
    return false;
  return SHOWS[kind].test(command);
}

/** Something that happened in a session, in order: a command with its end, or a file that was changed. */
export type Deed =
  | { seq: number; command: string; succeeded: boolean | undefined }
  | { seq: number; changed: string };

type Command = Extract<Deed, { command: string }>;

/** What a record has to show for what is claimed in it. Each command is looked at once for each kind of claim. */
export class Evidence {
  readonly #deeds: readonly Deed[];
  /** For each kind, what shows it, in order. */
  readonly #shown = new Map<ClaimKind, Command[]>();
  readonly #changes: number[];

  /** @param deeds in the order of their `seq` */
  constructor(deeds: readonly Deed[]) {
    this.#deeds = deeds;
    this.#changes = deeds.filter((deed) => "changed" in deed).map(({ seq }) => seq);
  }

  /** Why nothing on the record shows what a claim says; undefined when something does. */
  whyUnbacked({
    kind,
    seq,
  }: Pick<Claim, "kind"> & { seq: number }): "no_run" | "run_failed" | "changed_since" | undefined {
    const last = lastBefore(this.#showing(kind), seq, (deed) => deed.seq);
    if (!last) return "no_run";
    if (last.succeeded !== true) return "run_failed";
    const changedAt = lastBefore(this.#changes, seq, (at) => at);
    // What is live stays so whatever is edited here.
    if (kind !== "deploy" && changedAt !== undefined && changedAt > last.seq) return "changed_since";
    return undefined;
  }

  #showing(kind: ClaimKind): Command[] {
    let shown = this.#shown.get(kind);
    if (!shown) {
      shown = this.#deeds.filter((deed): deed is Command => "command" in deed && shows(deed.command, kind));
      this.#shown.set(kind, shown);
    }
    return shown;
  }
}

/** The last of a sorted list that comes before `seq`. */
function lastBefore<T>(sorted: readonly T[], seq: number, seqOf: (one: T) => number): T | undefined {
  let [from, to] = [0, sorted.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (seqOf(sorted[middle]!) < seq) from = middle + 1;
    else to = middle;
  }
  return sorted[from - 1];
}

import { appendFile, mkdir, readFile, rename, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { GatewayClient } from "../src/client/gateway-client.js";
import type { TranscriptEntry } from "../src/client/wire.js";
import { CerverError } from "../src/protocol/errors.js";
import { syncConfig } from "../src/sync/config.js";
import { SyncState } from "../src/sync/state.js";
import { Syncer } from "../src/sync/syncer.js";
import { type Cerver, startCerver } from "./harness.js";
import { type Home, newHome } from "./run-cerver.js";

let cerver: Cerver;
let home: Home;
let env: Record<string, string>;
beforeAll(async () => {
  cerver = await startCerver({ relay: false });
  home = await newHome();
  env = { CERVER_GATEWAY_URL: cerver.gateway.url, CERVER_API_TOKEN: cerver.token };
});
afterAll(async () => {
  await home?.remove();
  await cerver?.stop();
});

const SEED = 20260102;
/** mulberry32: the same numbers at each run. */
function seeded(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const claude = (session: string, n: number, words: string, agentId?: string) =>
  `${JSON.stringify({ type: n % 2 ? "assistant" : "user", uuid: `${session}${agentId ?? ""}-${n}`, sessionId: session, cwd: home.folder, gitBranch: "main", isSidechain: agentId !== undefined, ...(agentId && { agentId }), timestamp: new Date(1.767e12 + n * 1000).toISOString(), message: { role: "x", model: "m", content: [{ type: "text", text: words }] } })}\n`;
const codex = (n: number, words: string) =>
  `${JSON.stringify({ timestamp: new Date(1.767e12 + n * 1000).toISOString(), type: "response_item", payload: { type: "message", role: n % 2 ? "assistant" : "user", content: [{ type: "input_text", text: words }] } })}\n`;

/** Every synced session, by its label, with the words of its entries. */
async function synced(): Promise<
  Map<string, { id: string; parent: string | null; name: string; entries: TranscriptEntry[] }>
> {
  const found = new Map();
  let cursor: string | undefined;
  do {
    const page = await cerver.client.sessions({ limit: 200, cursor });
    for (const { sessionId, labels } of page.sessions) {
      if (!labels?.sync) continue;
      expect(found.has(labels.sync), `two sessions for ${labels.sync}`).toBe(false);
      const record = await cerver.client.session(sessionId, { full: "1" });
      found.set(labels.sync, {
        id: sessionId,
        parent: record.parentSessionId ?? null,
        name: record.sessionName,
        entries: record.transcript ?? [],
      });
    }
    cursor = page.next_cursor;
  } while (cursor !== undefined);
  return found;
}

test("no entry twice, none missing, while it is killed and files grow, rotate and are truncated", async () => {
  const random = seeded(SEED);
  const pick = (n: number) => Math.floor(random() * n);
  const expected = new Map<string, Set<string>>();
  const expect_ = (id: string, words: string) => {
    const set = expected.get(id) ?? new Set();
    expected.set(id, set.add(words));
  };
  const claudeDir = join(home.folder, ".claude/projects/-p");
  const codexDir = join(home.folder, ".codex/sessions/2026/01/02");
  const geminiDir = join(home.folder, ".gemini/tmp/hash/chats");
  for (const folder of [claudeDir, codexDir, geminiDir]) await mkdir(folder, { recursive: true });
  const codexId = "0199aaaa-0000-7000-8000-00000000000";
  const rollout = (i: number) => join(codexDir, `rollout-2026-01-02T03-04-0${i}-${codexId}${i}.jsonl`);
  for (let i = 0; i < 3; i++)
    await writeFile(
      rollout(i),
      `${JSON.stringify({ timestamp: "2026-01-02T03:04:05.000Z", type: "session_meta", payload: { id: `${codexId}${i}`, cwd: home.folder } })}\n`,
    );
  const messages: object[][] = [[], []];

  let syncer = home.start(["sync"], env);
  let kills = 0;
  let rotations = 0;
  let truncations = 0;
  for (let n = 0; n < 240; n++) {
    const i = pick(3);
    const words = `words ${n} ${"x".repeat(pick(200))}`;
    const kind = pick(4);
    if (kind === 0) {
      const line = claude(`c${i}`, n, words);
      const path = join(claudeDir, `c${i}.jsonl`);
      // Half a line now, the rest a little later.
      const half = pick(line.length);
      await appendFile(path, line.slice(0, half));
      if (pick(3) === 0) await new Promise((resolve) => setTimeout(resolve, 30));
      await appendFile(path, line.slice(half));
      expect_(`claude-code:c${i}`, words);
    } else if (kind === 1) {
      await appendFile(join(claudeDir, `agent-a${i}.jsonl`), claude(`c${i}`, n, words, `a${i}`));
      expect_(`claude-code:c${i}/a${i}`, words);
    } else if (kind === 2) {
      await appendFile(rollout(i), codex(n, words));
      expect_(`codex:${codexId}${i}`, words);
    } else {
      const g = i % 2;
      messages[g]!.push({ id: `m${n}`, timestamp: "2026-01-02T03:04:05.000Z", type: "user", content: words });
      await writeFile(
        join(geminiDir, `session-g${g}.json`),
        JSON.stringify({ sessionId: `g${g}`, messages: messages[g] }),
      );
      expect_(`gemini:g${g}`, words);
    }
    const fate = pick(30);
    if (fate === 0) {
      // Moved away and written anew with the same beginning: another inode.
      await writeFile(`${rollout(i)}.new`, await readFile(rollout(i)));
      await rename(`${rollout(i)}.new`, rollout(i));
      rotations++;
    } else if (fate === 1) {
      const whole = await readFile(rollout(i));
      await truncate(rollout(i), 0);
      if (pick(2)) await new Promise((resolve) => setTimeout(resolve, 250));
      await appendFile(rollout(i), whole);
      truncations++;
    } else if (fate < 5) {
      syncer.child.kill("SIGKILL");
      await syncer.exited;
      kills++;
      if (pick(3) === 0)
        await rm(join(home.folder, ".local/state/cerver/sync"), { recursive: true, force: true });
      syncer = home.start(["sync"], env);
    }
    await new Promise((resolve) => setTimeout(resolve, pick(60)));
  }
  syncer.child.kill("SIGKILL");
  await syncer.exited;
  // The young ones are given their time for a name.
  await new Promise((resolve) => setTimeout(resolve, 5_100));
  const last = await home.run(["sync", "--once", "--json"], { env });
  expect(last.stderr + last.stdout).toContain('"problems":[]');
  expect([kills, rotations, truncations].every((count) => count > 0)).toBe(true);

  const found = await synced();
  const words = new Map(
    [...found].map(([id, { entries }]) => [id, entries.map(({ content }) => content).sort()]),
  );
  for (const [id, set] of expected) expect(words.get(id), id).toEqual([...set].sort());
  expect([...found.keys()].filter((id) => !expected.has(id))).toEqual([]);
  for (let i = 0; i < 3; i++)
    expect(found.get(`claude-code:c${i}/a${i}`)!.parent).toBe(found.get(`claude-code:c${i}`)!.id);

  const again = JSON.parse((await home.run(["sync", "--once", "--json"], { env })).stdout);
  expect(again).toMatchObject({ changed: 0, entries: 0 });
}, 120_000);

test("private passages, odd lines and folders that opt out", async () => {
  const fixture = (name: string) => readFile(join(import.meta.dirname, "fixtures/sync", name));
  const folder = join(home.folder, ".claude/projects/-q");
  const secret = join(home.folder, "secret");
  await mkdir(folder, { recursive: true });
  await mkdir(secret);
  await writeFile(join(secret, ".cerverignore"), "# all of it\n");
  await writeFile(
    join(folder, "s1.jsonl"),
    Buffer.concat([
      await fixture("claude-code.jsonl"),
      Buffer.from([0xff, 0xfe, 10]),
      Buffer.from(`${"z".repeat(17 * 1024 * 1024)}\n`),
    ]),
  );
  const hidden = claude("s2", 0, "not for others").replace(
    JSON.stringify(home.folder),
    JSON.stringify(join(secret, "deep")),
  );
  await writeFile(join(folder, "s2.jsonl"), hidden);
  // Its first line is longer than a beginning, as with a picture in it, and only the second names the folder.
  const nameless = claude("s3", 0, `not for others ${"x".repeat(1_500_000)}`).replace(/"cwd":"[^"]*",/, "");
  await writeFile(join(folder, "s3.jsonl"), nameless + hidden.replaceAll('"s2', '"s3'));
  await writeFile(
    join(folder, "s4.jsonl"),
    claude("s4", 0, "not for others yet").replace(/"cwd":"[^"]*",/, ""),
  );
  const { stdout, stderr, code } = await home.run(["sync", "--once", "--json"], { env });
  expect([code, stderr]).toEqual([0, ""]);
  expect(JSON.parse(stdout)).toMatchObject({
    raw: 4,
    ignored: 2,
    problems: [{ problem: expect.stringContaining("names its working folder yet") }],
  });
  const found = await synced();
  const s1 = found.get("claude-code:s1")!;
  expect(s1.name).toBe("Fix the login page");
  const all = JSON.stringify([...found.values()]);
  for (const gone of ["my phone", "hidden", "not for others"]) expect(all).not.toContain(gone);
  expect(s1.entries.find(({ content }) => content.includes("[private] Thanks"))).toBeDefined();
  expect(s1.entries.at(-1)!.content).toMatch(/^\(a line of 17825792 bytes/);
  expect(found.get("claude-code:s1/a7")!.parent).toBe(s1.id);
  const status = JSON.parse((await home.run(["sync", "status", "--json"], { env })).stdout);
  expect(status.files.find(({ path }: { path: string }) => path.endsWith("s2.jsonl")).state).toBe("ignored");
}, 60_000);

test("an append whose answer is lost is not appended again", async () => {
  const own = await newHome();
  const config = syncConfig({ HOME: own.folder });
  const folder = join(config.codexDir, "2026/01/03");
  await mkdir(folder, { recursive: true });
  const meta = {
    timestamp: "2026-01-03T00:00:00Z",
    type: "session_meta",
    payload: { id: "lost-answer", cwd: own.folder },
  };
  await writeFile(join(folder, "rollout-x.jsonl"), `${JSON.stringify(meta)}\n${codex(0, "once")}`);
  const client = new GatewayClient({ gatewayUrl: cerver.gateway.url, token: cerver.token });
  const { appendTranscript } = client;
  let lost = 0;
  client.appendTranscript = async (...args) => {
    const answer = await appendTranscript(...args);
    if (lost++ === 0) throw new CerverError("gateway_unreachable", "The answer is lost.");
    return answer;
  };
  const state = await SyncState.open(config.stateDir, cerver.gateway.url);
  const syncer = new Syncer({ config, state, client, signal: new AbortController().signal });
  await expect(syncer.pass()).rejects.toThrow("The answer is lost.");
  await syncer.pass();
  expect(lost).toBe(2);
  const entries = (await synced()).get("codex:lost-answer")!.entries;
  expect(entries.filter(({ content }) => content === "once")).toHaveLength(1);
  await own.remove();
}, 30_000);

test("one syncer a user", async () => {
  const first = home.start(["sync"], env);
  await first.prints(/Following/);
  await new Promise((resolve) => setTimeout(resolve, 300));
  const second = await home.run(["sync", "--once"], { env });
  expect(second.stderr).toMatch(/Another cerver sync runs here already \(process \d+/);
  expect(second.code).not.toBe(0);
  first.child.kill("SIGTERM");
  expect((await first.exited).code).toBe(0);
}, 30_000);

test("a relay follows transcripts beside its runs", async () => {
  const folder = join(home.folder, ".claude/projects/-r");
  await mkdir(folder, { recursive: true });
  const relay = home.start(["relay", "--name", "syncing", "--sync"], env);
  await relay.prints(/Compute: /);
  await writeFile(join(folder, "s3.jsonl"), claude("s3", 0, "beside a relay"));
  await relay.prints(/Sync: sent 1 entries of 1 sessions/);
  expect((await synced()).get("claude-code:s3")!.entries.map(({ content }) => content)).toEqual([
    "beside a relay",
  ]);
  relay.child.kill("SIGTERM");
  expect((await relay.exited).code).toBe(0);
}, 60_000);

test("while the gateway is away nothing gets lost", async () => {
  const folder = join(home.folder, ".claude/projects/-t");
  await mkdir(folder, { recursive: true });
  const away = await startCerver({ relay: false });
  const port = Number(new URL(away.gateway.url).port);
  const here = { CERVER_GATEWAY_URL: away.gateway.url, CERVER_API_TOKEN: away.token };
  const path = join(folder, "s4.jsonl");
  await writeFile(path, claude("s4", 0, "before"));
  const syncer = home.start(["sync"], here);
  await syncer.prints(/Sent \d+ entries/);
  const dataDir = join(away.folder, "data");
  await away.gateway.stop();
  await appendFile(path, claude("s4", 1, "meanwhile"));
  await syncer.prints(/Next try in/);
  const back = await startCerver({ relay: false, gateway: { port, dataDir } });
  try {
    const { GatewayClient } = await import("../src/client/gateway-client.js");
    const client = new GatewayClient({ gatewayUrl: back.gateway.url, token: away.token });
    const { sessions } = await client.sessions({ labels: { sync: "claude-code:s4" } });
    expect(sessions).toHaveLength(1);
    await expect
      .poll(
        async () => (await client.session(sessions[0]!.sessionId)).transcript?.map(({ content }) => content),
        { timeout: 30_000 },
      )
      .toEqual(["before", "meanwhile"]);
    syncer.child.kill("SIGTERM");
    expect((await syncer.exited).code).toBe(0);
  } finally {
    await back.stop();
    await rm(away.folder, { recursive: true, force: true });
  }
}, 90_000);

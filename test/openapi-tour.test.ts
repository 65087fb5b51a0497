import { afterAll, beforeAll, expect, test } from "vitest";
import { readEventStream } from "../src/util/event-stream.js";
import { type Cerver, startCerver } from "./harness.js";
import { everyObject, lookUp, newAjv } from "./openapi-rules.js";

// Real answers of a running gateway, held against the document that it serves itself.

let cerver: Cerver;
let document: any;
let ajv: ReturnType<typeof newAjv>;
const seen = new Set<string>();

beforeAll(async () => {
  cerver = await startCerver();
  const response = await fetch(`${cerver.gateway.url}/openapi.json`);
  expect(response.status).toBe(200);
  document = await response.json();
  ajv = newAjv(closed(document));
});
afterAll(() => cerver.stop());

/** The document with no room for fields that it does not name: what is answered beyond it is drift. */
function closed(open: unknown): unknown {
  const copy = structuredClone(open) as any;
  for (const [name, schema] of Object.entries(copy.components.schemas)) {
    if (name === "ErrorBody") continue;
    for (const one of everyObject(schema))
      if (one.type === "object" && one.properties && one.additionalProperties === undefined)
        one.additionalProperties = false;
  }
  return copy;
}

/** `POST /v2/sessions/sess_1/run` → the path of the document that it is of. */
function templateOf(method: string, path: string): string {
  const plain = path.replace(/\?.*/, "").replace(/^\/gateway\//, "/v2/");
  const candidates = Object.keys(document.paths).filter(
    (one) =>
      document.paths[one][method.toLowerCase()] &&
      new RegExp(`^${one.replaceAll(".", "\\.").replace(/\{\w+\}/g, "[^/]+")}$`).test(plain),
  );
  // A path without parameters comes before one with them (OpenAPI 3.1, section 4.8.8.1).
  return candidates.sort((a, b) => a.split("{").length - b.split("{").length)[0]!;
}

/** Where in the document an answer stands, as a pointer. */
function pointerTo(method: string, template: string, response: Response): string {
  const at = `#/paths/${template.replaceAll("~", "~0").replaceAll("/", "~1")}/${method.toLowerCase()}/responses/${response.status}`;
  const type = response.headers.get("content-type")!.replace(/;.*/, "");
  const media = `${at}/content/${type.replace("/", "~1")}`;
  expect(lookUp(document, media), `${method} ${template} answers ${response.status} ${type}`).toBeDefined();
  return media;
}

function valid(pointer: string, value: unknown, said: string): void {
  const ok = ajv.validate({ $ref: `https://cerver.example/openapi.json${encodeURI(pointer)}` }, value);
  expect(ok ? "" : `${said}: ${ajv.errorsText(ajv.errors)}\n${JSON.stringify(value)}`).toBe("");
}

async function ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const response = await cerver.call(method, path, body, headers);
  const template = templateOf(method, path);
  expect(template, `${method} ${path} is in the document`).toBeDefined();
  const media = pointerTo(method, template, response);
  const { operationId, responses } = document.paths[template][method.toLowerCase()];
  const { headers: promised = {} } = responses[response.status];
  for (const name of Object.keys(promised))
    if (name !== "Retry-After") expect(response.headers.has(name), `${operationId}: ${name}`).toBe(true);
  seen.add(`${operationId} ${response.status}`);
  return { response, media, said: `${operationId} ${response.status}` };
}

/** Asks for JSON and gives it back, once it is what the document says. */
async function json(
  status: number,
  method: string,
  path: string,
  body?: unknown,
  headers = {},
): Promise<any> {
  const { response, media, said } = await ask(method, path, body, headers);
  const value: any = await response.json();
  expect(response.status, JSON.stringify(value)).toBe(status);
  valid(`${media}/schema`, value, said);
  return value;
}

/** Asks for a stream and holds each item against the document, until `last` or the stream's end. */
async function items(
  method: string,
  path: string,
  options: {
    body?: unknown;
    accept?: string;
    last?: (item: any) => boolean;
    meanwhile?: () => Promise<unknown>;
  } = {},
): Promise<any[]> {
  const accept = options.accept ?? "text/event-stream";
  const { response, media, said } = await ask(method, path, options.body, { accept });
  const found: any[] = [];
  const work = options.meanwhile?.();
  for await (const text of accept.endsWith("ndjson") ? linesOf(response) : dataOf(response)) {
    const item = JSON.parse(text);
    valid(`${media}/x-item-schema`, item, said);
    found.push(item);
    if (options.last?.(item)) break;
  }
  await work;
  expect(found.length, said).toBeGreaterThan(0);
  return found;
}

async function* dataOf({ body }: Response) {
  for await (const { data } of readEventStream(body!)) yield data;
}

async function* linesOf(response: Response) {
  yield* (await response.text()).split("\n").filter(Boolean);
}

test("meta, auth and the account", async () => {
  expect(
    (await json(200, "GET", "/", undefined, { accept: "application/json" })).endpoints.length,
  ).toBeGreaterThan(60);
  await json(200, "GET", "/health");
  await json(200, "GET", "/v2/docs");
  await json(200, "GET", "/v2/auth/whoami");
  await json(200, "GET", "/v2/auth/account");
  const { key } = await json(201, "POST", "/v2/auth/keys", { label: "tour", scopes: ["read"] });
  await json(200, "GET", "/v2/auth/keys");
  await json(403, "POST", "/v2/sessions", {}, { authorization: `Bearer ${key}` });
  await json(200, "DELETE", `/v2/auth/keys/${key.slice(0, 11)}`);
  await json(401, "GET", "/v2/sessions", undefined, { authorization: `Bearer ${key}` });
  await json(200, "GET", "/v2/auth/clients");
  await json(404, "DELETE", "/v2/auth/clients/nobody");
  await json(201, "POST", "/v2/auth/signin-links");
  const login = await json(200, "POST", "/v2/auth/device", { machine_name: "tour" });
  await json(202, "GET", `/v2/auth/device?device_code=${login.device_code}`);
  await json(200, "GET", "/v2/auth/device?device_code=nobody");

  await json(200, "GET", "/gateway/providers");
  await json(200, "GET", "/v2/account/providers");
  await json(400, "POST", "/v2/account/providers", { provider: "e2b" });
  await json(404, "DELETE", "/v2/account/providers/e2b");
  await json(200, "GET", "/v2/account/orphans");
  await json(200, "GET", "/v2/account/limits");
  await json(200, "PUT", "/v2/account/limits", { max_sessions: 50 });
  await json(400, "PUT", "/v2/account/limits", { max_sessions: -1 });
  await json(200, "PUT", "/v2/account/limits", { max_sessions: null });
  await json(201, "POST", "/v2/audit/secret-uses", { name: "BUFFER_API_KEY", backend: "env" });
  await json(200, "GET", "/v2/audit");
});

test("computes", async () => {
  const [compute] = (await json(200, "GET", "/v2/computes")).computes;
  await json(200, "GET", `/v2/computes/${compute.compute_id}`);
  await json(404, "GET", "/v2/computes/cmp_nobody");
  const exec = `/v2/computes/${compute.compute_id}/exec`;
  const info = await json(200, "POST", exec, { path: "/api/cerver/provider" });
  expect(info).toMatchObject({ label: "test-host", status: "ready" });
  await json(404, "POST", exec, { path: "/api/nothing" });
  await json(400, "POST", exec, { path: "/health" });
  await json(400, "POST", exec, { path: "/api/../health" });
  await json(404, "POST", "/v2/computes/cmp_nobody/exec", { path: "/api/cerver/provider" });
  const second = await json(200, "POST", "/v2/computes/register", { label: "tour" });
  await json(200, "POST", `/v2/computes/${second.compute_id}/heartbeat`, {});
  await json(200, "DELETE", `/v2/computes/${second.compute_id}`);
});

test("a session, its runs and its life", async () => {
  const made = await json(201, "POST", "/v2/sessions", {
    task: "tour",
    labels: { a: "b" },
    metadata: { source: "x" },
  });
  const session = `/v2/sessions/${made.session_id}`;
  await json(200, "GET", "/v2/sessions?label=a=b&metadata.source=x");
  await json(400, "GET", "/v2/sessions?limit=0");
  await json(200, "PATCH", session, { metadata: { step: 1 } });
  await json(404, "GET", "/v2/sessions/sess_nobody");

  await items("GET", `${session}/events`, {
    last: ({ type }) => type === "transcript",
    meanwhile: () => json(200, "POST", `${session}/run`, { code: "echo out; echo err >&2; exit 3" }),
  });
  await items("GET", "/v2/events", {
    last: ({ type }) => type === "session",
    meanwhile: () => json(200, "PATCH", session, { metadata: { step: 2 } }),
  });
  await json(400, "POST", `${session}/run`, { code: "true", colour: "red" });
  await items("POST", `${session}/run/stream`, { body: { code: "echo streamed; head -c 3 /dev/urandom" } });
  await items("POST", `${session}/run/stream`, {
    body: { code: "echo lines" },
    accept: "application/x-ndjson",
  });
  const run = await json(
    202,
    "POST",
    `${session}/runs`,
    { code: "cat; echo done", stdin_open: true },
    { "idempotency-key": "k1" },
  );
  const at = `${session}/runs/${run.run_id}`;
  await json(409, "POST", `${session}/runs`, { code: "something else" }, { "idempotency-key": "k1" });
  await json(202, "POST", `${session}/run`, { code: "true", background: true });
  await json(200, "POST", `${at}/stdin`, { data: "in\n" });
  await json(200, "POST", `${at}/stdin/close`);
  await items("GET", `${at}/stream`, { last: ({ type }) => type === "exit" });
  await json(200, "GET", at);
  await json(200, "GET", `${session}/runs?limit=1`);
  await json(200, "GET", "/v2/runs");
  await json(200, "GET", `/v2/runs/${run.run_id}`);
  await json(404, "GET", "/v2/runs/run_nobody");
  for (const [range, status] of [
    [undefined, 200],
    ["bytes=0-1", 206],
  ] as const) {
    const { response } = await ask("GET", `${at}/output`, undefined, { ...(range && { range }) });
    expect(response.status).toBe(status);
    await response.body?.cancel();
  }
  await json(416, "GET", `${at}/output`, undefined, { range: "bytes=1000-" });
  const long = await json(202, "POST", `${session}/runs`, { code: "sleep 60 & sleep 60" });
  await json(200, "POST", `${session}/runs/${long.run_id}/cancel`);

  await json(200, "POST", `${session}/transcript`, { entries: [{ role: "user", content: "hi" }] });
  await json(200, "POST", `${session}/input`, { content: "hello" });
  await json(200, "GET", `${session}/transcript?tail=2`);
  await json(200, "GET", session);
  await json(200, "GET", "/v2/search?q=tour");
  await json(400, "GET", "/v2/search?q=-");
  await json(200, "GET", `${session}/digest?max_tokens=500`);
  await items("GET", `${session}/export?format=jsonl`, { accept: "application/x-ndjson" });
  for (const what of ["metrics", "routing", "why", "cost"]) await json(200, "GET", `${session}/${what}`);
  await json(200, "POST", `${session}/pause`, {});
  await json(200, "POST", `${session}/resume`, {});
  await json(200, "POST", `${session}/compute`, { compute: null });
  await json(409, "POST", `${session}/run`, { code: "true" });
  await json(200, "POST", `${session}/change-compute`, { compute_priority: [made.compute_id] });
  await json(201, "POST", `${session}/spawn`, { task: "child" });
  await json(200, "POST", `${session}/status`, { status: "ready" });
  await json(200, "POST", `${session}/close`);
  await json(410, "POST", `${session}/input`, { content: "late" });
  await json(410, "POST", `${session}/run`, { code: "true" });
  await json(200, "DELETE", `${session}?purge=1`);
});

test("routing and stress tests", async () => {
  await json(200, "POST", "/v2/routing/explain", { task: "tour" });
  await json(200, "GET", "/v2/routing/replay?policy=cheapest");
  await json(400, "GET", "/v2/routing/replay?policy=luckiest");
  await json(409, "POST", "/v2/sessions", { requirements: { region: "the moon" } });
  const test = await json(200, "POST", "/gateway/stress-tests", { sample_size: 2, seed: 1 });
  await json(200, "GET", "/v2/stress-tests");
  await json(200, "GET", `/v2/stress-tests/${test.stress_test_id}`);
  await items("GET", `/v2/stress-tests/${test.stress_test_id}/events`);
  const live = await json(202, "POST", "/v2/stress-tests", {
    mode: "live",
    providers: ["p69"],
    sample_size: 1,
    patterns: ["sequential"],
  });
  await items("GET", `/v2/stress-tests/${live.stress_test_id}/events`);
  await json(200, "DELETE", `/v2/stress-tests/${live.stress_test_id}`);
  await json(404, "GET", "/v2/stress-tests/stress_nobody");
});

test("the ports of a session", async () => {
  const id = (await json(201, "POST", "/v2/sessions", {})).session_id;
  await json(200, "GET", `/v2/sessions/${id}/ports`);
  await json(201, "POST", `/v2/sessions/${id}/ports/3000/link`, {});
  await json(404, "GET", "/v2/sessions/sess_nobody/ports");
});

test("a sandbox without a session", async () => {
  const { sandbox_id } = await json(201, "POST", "/sandbox", {});
  const at = `/sandbox/${sandbox_id}`;
  await json(200, "POST", `${at}/run`, { code: "echo hi" });
  await items("POST", `${at}/run/stream`, { body: { code: "echo hi" } });
  await json(400, "POST", `${at}/install`, { package: "../x" });
  await json(200, "PUT", `${at}/files`, { path: "a/b", content: "hi" });
  await json(200, "GET", `${at}/files?path=a/b`);
  await json(404, "GET", `${at}/files?path=nothing`);
  await json(200, "PUT", `${at}/state`, { step: 1 });
  await json(200, "GET", `${at}/state`);
  await json(200, "DELETE", at);
  await json(404, "POST", `${at}/run`, { code: "true" });
});

test("the tour was to nearly everything", () => {
  const all = Object.values<any>(document.paths).flatMap((path) =>
    Object.values<any>(path).map((one) => one.operationId),
  );
  const missing = all.filter((id) => ![...seen].some((one) => new RegExp(`^${id} 20`).test(one)));
  // What needs a vendor, a registry of packages, a websocket, a client that a person has let in, or was fetched at the start.
  expect(missing.sort()).toEqual([
    "connectRelay",
    "disableProvider",
    "disconnectClient",
    "enableProvider",
    "getOpenApi",
    "installInSandbox",
  ]);
});

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Cerver, startCerver } from "./harness.js";
import { newHome } from "./run-cerver.js";

const SECRETS = { STRIPE_KEY: "stripe-9f8e7d6c5b4a", OTHER_KEY: "other-1a2b3c4d5e6f", TINY_KEY: "ab1" };
let cerver: Cerver;
let session: string;
const warned: string[] = [];

beforeAll(async () => {
  const logger = {
    debug: () => {},
    info: () => {},
    warn: (fields: object, message: string) => void warned.push(`${JSON.stringify(fields)} ${message}`),
    error: () => {},
    child: () => logger,
  };
  cerver = await startCerver({
    env: { ...SECRETS, CERVER_SECRETS_ALLOW: "STRIPE_*, TINY_KEY, GONE" },
    relayLogger: logger,
  });
  session = await cerver.session();
});
afterAll(() => cerver.stop());

const run = (body: object, own = session) => cerver.call("POST", `/v2/sessions/${own}/run`, body);
const output = async (body: object, own?: string) => {
  const answer = (await (await run(body, own)).json()) as { result: { stdout: string; stderr: string } };
  return answer.result.stdout + answer.result.stderr;
};

describe("a run that is given a secret", () => {
  test.each([
    ["by name", { secrets: ["STRIPE_KEY"] }, "STRIPE_KEY"],
    ["by a reference", { envs: { KEY: "secret://STRIPE_KEY" } }, "KEY"],
    ["by a reference that names the backend", { envs: { KEY: "secret://env/STRIPE_KEY" } }, "KEY"],
  ])("%s has its value, and does not show it", async (_, given, variable) => {
    const code = `printf "$${variable}" | wc -c; echo "$${variable}"; [ "$${variable}" = stripe-9f8e7d6c5b4a ] && echo the same`;
    expect(await output({ code, ...given })).toBe(`19\n[redacted:STRIPE_KEY]\nthe same\n`);
  });

  test("counts the bytes that anybody can see", async () => {
    const answer = await cerver.client.run(session, { code: "printf $STRIPE_KEY", secrets: ["STRIPE_KEY"] });
    expect(answer.stdout_bytes).toBe("[redacted:STRIPE_KEY]".length);
    let seen = "";
    for await (const event of cerver.client.runStream(session, {
      code: "printf $STRIPE_KEY; sleep 0.1; printf more",
      secrets: ["STRIPE_KEY"],
    })) {
      if (event.type !== "stdout") continue;
      expect(event.offset).toBe(seen.length);
      seen += event.data;
    }
    expect(seen).toBe("[redacted:STRIPE_KEY]more");
  });

  test("does not start when there is no such secret, or the machine does not give it: the sentence says which", async () => {
    for (const [name, status, code] of [
      ["GONE", 404, "secret_not_found"],
      ["OTHER_KEY", 403, "secret_refused"],
      ["CERVER_API_TOKEN", 403, "secret_refused"],
    ] as const) {
      const before = (await cerver.client.runs(session)).runs.length;
      for (const path of ["run", "run/stream", "runs"]) {
        const response = await cerver.call("POST", `/v2/sessions/${session}/${path}`, {
          code: "echo started",
          secrets: [name],
        });
        expect([path, response.status]).toEqual([path, status]);
        expect(await response.json()).toMatchObject({
          code,
          error: expect.stringContaining(name),
          hint: expect.any(String),
        });
      }
      expect((await cerver.client.runs(session)).runs).toHaveLength(before);
    }
  });

  test("has nothing of a machine whose owner listed nothing", async () => {
    const other = await startCerver({ env: SECRETS });
    try {
      const own = await other.session();
      const response = await other.call("POST", `/v2/sessions/${own}/run`, {
        code: "true",
        secrets: ["STRIPE_KEY"],
      });
      expect(response.status).toBe(403);
      expect(await response.json()).toMatchObject({
        hint: expect.stringContaining("CERVER_SECRETS_ALLOW=STRIPE_KEY"),
      });
    } finally {
      await other.stop();
    }
  });

  test("does not start when a reference is not understood", async () => {
    const response = await run({ code: "true", envs: { KEY: "secret://nowhere/NAME" } });
    expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([
      501,
      "unsupported",
    ]);
  });

  test("only values that are wholly a reference stand for one", async () => {
    expect(await output({ code: 'echo "$A"', envs: { A: "see secret://STRIPE_KEY" } })).toBe(
      "see secret://STRIPE_KEY\n",
    );
  });

  test("has it in every run of a session whose variables refer to it", async () => {
    const own = await cerver.session({ metadata: { env: { PAY: "secret://STRIPE_KEY" } } });
    expect(await output({ code: 'echo "$PAY"; printf "$PAY" | wc -c' }, own)).toBe(
      "[redacted:STRIPE_KEY]\n19\n",
    );
    expect(await output({ code: 'echo "$PAY"', envs: { PAY: "none" } }, own)).toBe("none\n");
  });

  test("of less than four characters shows it, and the relay warns", async () => {
    expect(await output({ code: "echo $TINY_KEY", secrets: ["TINY_KEY"] })).toBe("ab1\n");
    expect(warned.join()).toMatch(/TINY_KEY.*shorter than 4 characters/);
    expect(warned.join()).not.toContain("ab1");
  });

  test("is on the audit as soon as one in the background has begun, and once", async () => {
    const started = await cerver.client.startRun(session, { code: "sleep 30", secrets: ["STRIPE_KEY"] });
    const uses = async () => (await cerver.client.secretUses({ run_id: started.run_id })).uses;
    expect(await uses()).toMatchObject([
      { name: "STRIPE_KEY", backend: "env", by: "run", session_id: session },
    ]);
    await cerver.client.cancelRun(session, started.run_id);
    expect(await uses()).toHaveLength(1);
  });

  test.each([
    ["whole", 0],
    ["cut where its command is", 160],
  ])("does not tell of it in a kill receipt, %s", async (_, before) => {
    const started = await cerver.client.startRun(session, {
      code: `sh -c 'sleep 30; : "$0" ${"x".repeat(before)}' "$STRIPE_KEY"`,
      secrets: ["STRIPE_KEY"],
    });
    await expect
      .poll(async () => JSON.stringify(await cerver.client.getRun(session, started.run_id)))
      .toContain("running");
    await new Promise((resolve) => setTimeout(resolve, 300));
    const { receipt } = await cerver.client.cancelRun(session, started.run_id);
    expect(JSON.stringify(receipt)).toContain("[redacted:");
    expect(JSON.stringify(receipt)).not.toContain("stripe-");
  });
});

describe("without a secret of the machine", () => {
  test("a variable that is named like one is taken out, and one that is not stays", async () => {
    const envs = { MY_API_TOKEN: "plain-value-77", COLOR: "plain-value-88" };
    const settings = { MAX_TOKENS: "100000", SSH_KEY: "/home/ada/.ssh/id", TOKENIZER_PATH: "tokenizer-v2" };
    expect(await output({ code: "echo $MAX_TOKENS $SSH_KEY $TOKENIZER_PATH", envs: settings })).toBe(
      "100000 /home/ada/.ssh/id tokenizer-v2\n",
    );
    expect(await output({ code: "echo $MY_API_TOKEN $COLOR", envs })).toBe(
      "[redacted:MY_API_TOKEN] plain-value-88\n",
    );
  });

  test("the shapes of credentials are taken out", async () => {
    const token = `ghp_${"aB3dE5gH7j".repeat(4).slice(0, 36)}`;
    expect(await output({ code: `echo ${token}` })).toBe("[redacted:github-token]\n");
  });

  test("a prompt is seen while it waits, also when it ends like a secret begins", async () => {
    const started = await cerver.client.startRun(session, {
      code: "printf 'Keys'; read line; echo got $line",
      stdin_open: true,
    });
    let seen = "";
    for await (const event of cerver.client.followRun(session, started.run_id)) {
      if (event.type !== "stdout") continue;
      seen += event.data;
      if (seen === "Keys") await cerver.client.sendStdin(session, started.run_id, "it\n");
    }
    expect(seen).toBe("Keysgot it\n");
  });

  test("what a client appends to a transcript is stored without the shapes, and the entry says so", async () => {
    const key = `sk-ant-api03-${"aB3dE5gH7j".repeat(6)}`;
    const own = await cerver.session({ compute: null });
    await cerver.client.appendTranscript(own, [
      { role: "user", content: `use ${key} please` },
      { role: "assistant", kind: "tool_use", tool_name: "x", tool_input: { a: [`"${key}\\`] } },
      { role: "user", content: "nothing here" },
    ]);
    const text = await (await cerver.call("GET", `/v2/sessions/${own}/transcript`)).text();
    expect(text).not.toContain(key);
    const { transcript } = JSON.parse(text) as { transcript: object[] };
    expect(transcript).toMatchObject([
      { content: "use [redacted:anthropic-key] please", redacted: 1 },
      { tool_input: { a: ['"[redacted:anthropic-key]\\'] }, redacted: 1 },
      { content: "nothing here" },
    ]);
    expect(transcript[2]).not.toHaveProperty("redacted");
  });
});

test("an agent's own use of a secret is reported, and cerver audit shows both", async () => {
  const reader = await cerver.clientWith(["read"]);
  await expect(reader.reportSecretUse({ name: "X", backend: "env" })).rejects.toMatchObject({
    code: "forbidden",
  });
  await cerver.client.reportSecretUse({ name: "BUFFER_KEY", backend: "infisical", session_id: session });
  const home = await newHome();
  try {
    const env = { CERVER_GATEWAY_URL: cerver.gateway.url, CERVER_API_TOKEN: cerver.token };
    const ran = await home.run(["run", "--session", session, "--secret", "STRIPE_KEY", "echo $STRIPE_KEY"], {
      env,
    });
    expect(ran).toMatchObject({ code: 0, stdout: "[redacted:STRIPE_KEY]\n" });
    const { stdout } = await home.run(["audit", "--session", session], { env });
    expect(stdout).toMatch(/BUFFER_KEY +infisical +secret_fetch \(tok_\w+\)/);
    expect(stdout).toMatch(/STRIPE_KEY +env +run +run_\w+/);
    const json = await home.run(["audit", "--name", "BUFFER_KEY", "--json"], { env });
    expect(JSON.parse(json.stdout).uses).toMatchObject([
      { name: "BUFFER_KEY", by: "secret_fetch", token_id: expect.stringMatching(/^tok_/) },
    ]);
  } finally {
    await home.remove();
  }
});

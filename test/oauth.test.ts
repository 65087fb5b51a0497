import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  auth as authOfTwo,
  Client as ModernClient,
  StreamableHTTPClientTransport as ModernTransport,
} from "@modelcontextprotocol/client";
import { auth as authOfOne } from "@modelcontextprotocol/sdk/client/auth.js";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Cerver, startCerver } from "./harness.js";
import { authorizePage, pkce, press, signInByHttp, startWebServer, type WebServer } from "./oauth-flow.js";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
  existsSync,
);

let cerver: Cerver;
let cookie: string;
/** Holds documents about clients: good ones and bad ones. */
let clients: WebServer;
beforeAll(async () => {
  cerver = await startCerver({ relay: false });
  cookie = await signInByHttp(cerver);
  clients = await startWebServer((request, response) => {
    const path = request.url!.split("?")[0]!;
    const document = {
      client_id: `${clients.url}${path}`,
      client_name: "Notebook",
      redirect_uris: ["https://notebook.example/callback", "http://127.0.0.1/callback"],
    };
    const send = (body: object | string, headers: Record<string, string> = {}) =>
      response
        .writeHead(200, { "content-type": "application/json", ...headers })
        .end(typeof body === "string" ? body : JSON.stringify(body));
    if (path === "/moved.json") response.writeHead(302, { location: `${clients.url}/good.json` }).end();
    else if (path === "/huge.json") send({ ...document, padding: "x".repeat(70_000) });
    else if (path === "/other.json") send({ ...document, client_id: "https://other.example/client.json" });
    else if (path === "/secret.json") send({ ...document, client_secret: "hunter2" });
    else if (path === "/key.json") send({ ...document, token_endpoint_auth_method: "private_key_jwt" });
    else if (path === "/script.json") send({ ...document, redirect_uris: ["javascript:alert(1)"] });
    else if (path === "/page.json") send("<html>", { "content-type": "text/html" });
    else if (path === "/broken.json") send("{");
    else if (path === "/gone.json") response.writeHead(404).end();
    else if (path === "/fresh.json") send(document, { "cache-control": "no-store" });
    else if (path === "/odd.json") send({ ...document, client_name: "<b>\u202eevil</b>" });
    else send(document, { "cache-control": "max-age=60" });
  });
});
afterAll(async () => {
  await cerver.stop();
  await clients.stop();
});

const url = () => cerver.gateway.url;
const CALLBACK = "http://127.0.0.1:43210/callback";
const { verifier, challenge } = pkce();

/** An authorization request, with some of it replaced, or left out by `undefined`. */
function ask(changes: Record<string, string | undefined> = {}): URL {
  const address = new URL(`${url()}/oauth/authorize`);
  const query = {
    response_type: "code",
    client_id: `${clients.url}/good.json`,
    redirect_uri: CALLBACK,
    code_challenge: challenge,
    code_challenge_method: "S256",
    resource: `${url()}/mcp`,
    scope: "read run",
    state: "a state",
    ...changes,
  };
  for (const [name, value] of Object.entries(query))
    if (value !== undefined) address.searchParams.set(name, value);
  return address;
}

async function post(path: string, form: Record<string, string | undefined>) {
  const answer = await fetch(url() + path, {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams(
      Object.entries(form).filter((one): one is [string, string] => one[1] !== undefined),
    ),
  });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, body: text ? JSON.parse(text) : undefined };
}

async function newCode(changes: Record<string, string | undefined> = {}): Promise<string> {
  return (await press(ask(changes), cookie)).to!.searchParams.get("code")!;
}

const exchange = (code: string, changes: Record<string, string | undefined> = {}) =>
  post("/oauth/token", {
    grant_type: "authorization_code",
    code,
    code_verifier: verifier,
    client_id: `${clients.url}/good.json`,
    redirect_uri: CALLBACK,
    ...changes,
  });
const refresh = (token: string, changes: Record<string, string | undefined> = {}) =>
  post("/oauth/token", {
    grant_type: "refresh_token",
    refresh_token: token,
    client_id: `${clients.url}/good.json`,
    ...changes,
  });
const whoami = async (token: string) => {
  const answer = await fetch(`${url()}/v2/auth/whoami`, { headers: { authorization: `Bearer ${token}` } });
  return { status: answer.status, body: (await answer.json()) as any };
};
const keys = async () => ((await (await cerver.call("GET", "/v2/auth/keys")).json()) as any).keys as any[];

describe("a client finds its way in", () => {
  test("who guards /mcp, and what the authorization server can do", async () => {
    for (const path of ["", "/mcp"]) {
      const answer = await fetch(`${url()}/.well-known/oauth-protected-resource${path}`);
      expect(answer.headers.get("access-control-allow-origin")).toBe("*");
      expect(await answer.json()).toMatchObject({
        resource: `${url()}/mcp`,
        authorization_servers: [url()],
        scopes_supported: ["read", "run"],
      });
    }
    const answer = await fetch(`${url()}/.well-known/oauth-authorization-server`);
    expect(await answer.json()).toMatchObject({
      issuer: url(),
      authorization_endpoint: `${url()}/oauth/authorize`,
      token_endpoint: `${url()}/oauth/token`,
      code_challenge_methods_supported: ["S256"],
      token_endpoint_auth_methods_supported: ["none"],
      client_id_metadata_document_supported: true,
      authorization_response_iss_parameter_supported: true,
    });
  });

  test.each(["/.well-known/oauth-authorization-server", "/oauth/token", "/oauth/register", "/oauth/revoke"])(
    "a page of another site may ask %s",
    async (path) => {
      const answer = await fetch(url() + path, {
        method: "OPTIONS",
        headers: {
          origin: "https://client.example",
          "access-control-request-method": "POST",
          "access-control-request-headers": "mcp-protocol-version,content-type",
        },
      });
      expect(answer.status).toBe(204);
      expect(answer.headers.get("access-control-allow-origin")).toBe("*");
      expect(answer.headers.get("access-control-allow-headers")).toContain("MCP-Protocol-Version");
      expect(answer.headers.get("access-control-allow-credentials")).toBeNull();
    },
  );

  test("a gateway without tokens has none of it", async () => {
    const open = await startCerver({ relay: false, gateway: { noAuth: true } });
    const statuses = await Promise.all(
      ["/.well-known/oauth-authorization-server", "/oauth/authorize"].map(
        async (path) => (await fetch(open.gateway.url + path)).status,
      ),
    );
    await open.stop();
    expect(statuses).toEqual([404, 404]);
  });
});

/** What both majors of the SDK keep for a client, in memory. */
function memory(extra: object = {}) {
  const kept: any = {};
  return {
    kept,
    provider: {
      redirectUrl: CALLBACK,
      clientMetadata: { client_name: "Workbench", redirect_uris: [CALLBACK] },
      state: () => "the state",
      clientInformation: () => kept.client,
      saveClientInformation: (client: unknown) => {
        kept.client = client;
      },
      tokens: () => kept.tokens,
      saveTokens: (tokens: unknown) => {
        kept.tokens = tokens;
      },
      redirectToAuthorization: (to: URL) => {
        kept.authorizeAt = to;
      },
      saveCodeVerifier: (text: string) => {
        kept.verifier = text;
      },
      codeVerifier: () => kept.verifier,
      saveDiscoveryState: (state: unknown) => {
        kept.discovery = state;
      },
      discoveryState: () => kept.discovery,
      ...extra,
    } as any,
  };
}

/** A client of today's hosts: it shakes hands. */
const firstMajor = (provider: any) => ({
  client: new Client({ name: "test", version: "1" }),
  newTransport: () =>
    new StreamableHTTPClientTransport(new URL(`${url()}/mcp`), { authProvider: provider }) as any,
  finish: (transport: any, answer: URLSearchParams) => transport.finishAuth(answer.get("code")),
  auth: authOfOne as any,
});
/** A client of the stateless revision, which also checks `iss`. */
const secondMajor = (provider: any) => ({
  client: new ModernClient(
    { name: "test", version: "2" },
    { versionNegotiation: { mode: { pin: "2026-07-28" } } },
  ) as unknown as Client,
  newTransport: () => new ModernTransport(new URL(`${url()}/mcp`), { authProvider: provider }) as any,
  finish: (transport: any, answer: URLSearchParams) => transport.finishAuth(answer),
  auth: authOfTwo as any,
});

describe.each([
  ["the first major of the SDK", firstMajor],
  ["the second major of the SDK", secondMajor],
])("%s connects to /mcp with nothing but its URL", (_, major) => {
  const open = async (provider: any, kept: any, decision: Record<string, string> = {}) => {
    const { client, newTransport, finish, auth } = major(provider);
    const first = newTransport();
    await expect(client.connect(first)).rejects.toThrow(/unauthorized/i);
    const { to } = await press(kept.authorizeAt, cookie, decision);
    expect(to!.href.startsWith(`${CALLBACK}?`)).toBe(true);
    expect(to!.searchParams.get("state")).toBe("the state");
    expect(to!.searchParams.get("iss")).toBe(url());
    await finish(first, to!.searchParams);
    await client.connect(newTransport());
    const tools = async () => (await client.listTools()).tools.map(({ name }) => name);
    const list = async () => (await client.callTool({ name: "cerver_session_list", arguments: {} })) as any;
    return { client, tools, list, auth };
  };

  test("by registering; a renewed token goes on in the same connection", async () => {
    const { provider, kept } = memory();
    const { client, tools, list, auth } = await open(provider, kept);
    expect(kept.client.client_id).toMatch(/^cl_/);
    expect(await tools()).toContain("cerver_run");
    expect((await list()).isError).toBeFalsy();
    const before = kept.tokens;
    expect(await auth(provider, { serverUrl: `${url()}/mcp` })).toBe("AUTHORIZED");
    expect(kept.tokens.refresh_token).not.toBe(before.refresh_token);
    expect((await whoami(before.access_token)).status).toBe(401);
    expect((await list()).isError).toBeFalsy();
    await client.close();
  });

  test("refreshes by itself when its token has ended", async () => {
    const { provider, kept } = memory();
    const { client, list } = await open(provider, kept);
    const before = kept.tokens.access_token;
    kept.tokens = { ...kept.tokens, access_token: "ck_expired" };
    expect((await list()).isError).toBeFalsy();
    expect(kept.tokens.access_token).toMatch(/^ck_\w{49}$/);
    expect(kept.tokens.access_token).not.toBe(before);
    await client.close();
  });

  test("with the address of its document, for reading only", async () => {
    const client_id = `${clients.url}/good.json`;
    const { provider, kept } = memory({
      clientInformation: () => kept.client ?? { client_id },
    });
    const { client, tools } = await open(provider, kept, { scope: "read" });
    expect(kept.tokens.scope).toBe("read");
    expect(await tools()).not.toContain("cerver_run");
    await client.close();
  });

  test("a revoked connection leads to a new approval", async () => {
    const { provider, kept } = memory({
      invalidateCredentials: () => {
        kept.tokens = undefined;
      },
    });
    const { client, list } = await open(provider, kept);
    await cerver.call("DELETE", `/v2/auth/keys/${kept.tokens.access_token.slice(0, 11)}`);
    kept.authorizeAt = undefined;
    await expect(list()).rejects.toThrow(/unauthorized/i);
    expect(kept.authorizeAt.pathname).toBe("/oauth/authorize");
    await client.close();
  });
});

describe("the page", () => {
  test("says who asks, where the answer goes, and warns of a program on this computer", async () => {
    const { status, headers, text } = await authorizePage(ask(), cookie);
    expect(status).toBe(200);
    expect(text).toContain("<b>Notebook</b>");
    expect(text).toContain(new URL(clients.url).host);
    expect(text).toContain("a program on this computer (127.0.0.1:43210)");
    expect(text).toContain("Any program here can say that it is Notebook");
    expect(headers.get("content-security-policy")).toContain("frame-ancestors 'none'");
    expect(headers.get("x-frame-options")).toBe("DENY");
    expect(headers.get("cache-control")).toBe("no-store");
    const web = await authorizePage(ask({ redirect_uri: "https://notebook.example/callback" }), cookie);
    expect(web.text).toContain("<dd>notebook.example</dd>");
    expect(web.text).not.toContain("Any program here");
  });

  test("the account lists who was let in, and ends it; another site's page does not", async () => {
    const { body } = await exchange(await newCode());
    await whoami(body.access_token);
    const { clients: connected } = await cerver.client.connectedClients();
    const { client_id, name, scopes } = connected[0]!;
    expect([name, scopes]).toEqual(["Notebook", ["read", "run"]]);
    const end = async (by: string, origin: string) =>
      (
        await fetch(`${url()}/v2/auth/clients/${client_id}`, {
          method: "DELETE",
          headers: { cookie: by, origin },
        })
      ).status;
    expect(await end("", url())).toBe(401);
    expect(await end(cookie, "https://evil.example")).toBe(401);
    expect((await whoami(body.access_token)).status).toBe(200);
    expect(await end(cookie, url())).toBe(200);
    expect((await whoami(body.access_token)).status).toBe(401);
    expect((await refresh(body.refresh_token)).status).toBe(400);
    expect(await end(cookie, url())).toBe(404);
  });

  test("shows a strange name as text", async () => {
    const { text } = await authorizePage(ask({ client_id: `${clients.url}/odd.json` }), cookie);
    expect(text).toContain("<b>&lt;b&gt;evil&lt;/b&gt;</b>");
  });

  test("denied: the client hears it, with its state", async () => {
    const { to } = await press(ask(), cookie, { decision: "deny" });
    expect(Object.fromEntries(to!.searchParams)).toEqual({
      error: "access_denied",
      state: "a state",
      iss: url(),
    });
  });

  test("a person may give less than was asked for, and not more", async () => {
    const less = (await press(ask(), cookie, { scope: "read" })).to!.searchParams.get("code")!;
    const { body } = await exchange(less);
    expect(body.scope).toBe("read");
    expect((await whoami(body.access_token)).body.scopes).toEqual(["read"]);
    const more = (await press(ask({ scope: "read" }), cookie, { scope: "run" })).to!.searchParams.get(
      "code",
    )!;
    expect((await exchange(more)).body.scope).toBe("read");
  });

  test("nobody is let in who is not signed in, and sign-in leads back here", async () => {
    // The longest that a cookie has room for is longer than any client's.
    const address = ask({ state: `with a space+&'(*)~${"+/".repeat(250)}` });
    const answer = await fetch(address);
    expect(answer.status).toBe(401);
    expect(await answer.text()).toContain("cerver signin-link");
    const next = answer.headers.getSetCookie()[0]!.split(";")[0]!;
    const token = new URL(await cerver.gateway.createSigninLink()).searchParams.get("token")!;
    const signedIn = await fetch(`${url()}/signin`, {
      method: "POST",
      redirect: "manual",
      headers: { origin: url(), cookie: next, "content-type": "application/x-www-form-urlencoded" },
      body: new URLSearchParams({ token }),
    });
    const back = new URL(signedIn.headers.get("location")!, url());
    expect(back.origin + back.pathname).toBe(`${url()}/oauth/authorize`);
    expect(Object.fromEntries(back.searchParams)).toEqual(Object.fromEntries(address.searchParams));
    expect((await press(address, "cerver_signin=wrong", {}, { csrf: "x" })).status).toBe(401);
  });

  test("a request that no cookie has room for is to be begun again", async () => {
    const answer = await fetch(ask({ state: "+/".repeat(1_000) }));
    expect(answer.headers.getSetCookie()).toEqual([]);
    expect(await answer.text()).toContain("begin again in the program that sent you here");
  });

  test("what another site makes the browser send is refused", async () => {
    const { csrf } = await authorizePage(ask(), cookie);
    const other = await signInByHttp(cerver);
    const statuses = [
      await press(ask(), cookie, {}, { csrf: "" }),
      await press(ask(), cookie, {}, { csrf: csrf!, origin: "https://evil.example" }),
      await press(ask(), other, {}, { csrf: csrf! }),
      await press(ask({ scope: "read" }), cookie, {}, { csrf: csrf! }),
    ].map(({ status, to }) => ({ status, to }));
    expect(statuses).toEqual(Array(4).fill({ status: 403, to: undefined }));
    expect((await press(ask(), cookie, {}, { csrf: csrf! })).to).toBeDefined();
  });
});

describe("a request that cannot be met", () => {
  test.each<[string, Record<string, string | undefined>, string]>([
    ["no PKCE", { code_challenge: undefined, code_challenge_method: undefined }, "invalid_request"],
    ["plain PKCE", { code_challenge_method: "plain" }, "invalid_request"],
    ["PKCE without a method", { code_challenge_method: undefined }, "invalid_request"],
    ["another resource", { resource: "https://other.example/mcp" }, "invalid_target"],
    ["the API as resource", { resource: "http://127.0.0.1:1/v2" }, "invalid_target"],
    ["the whole account", { scope: "admin" }, "invalid_scope"],
    ["a token in the address", { response_type: "token" }, "unsupported_response_type"],
    ["an endless state", { state: "x".repeat(3_000) }, "invalid_request"],
  ])("%s: a page says so, and only a click tells the client", async (_name, changes, error) => {
    const address = ask(changes);
    const { status, text, csrf, headers } = await authorizePage(address, cookie);
    expect({ status, csrf, location: headers.get("location") }).toEqual({
      status: 400,
      csrf: undefined,
      location: null,
    });
    expect(text).not.toContain("http-equiv");
    const back = new URL(
      /<a href="([^"]+)" rel="noreferrer">Tell the client/.exec(text)![1]!.replaceAll("&amp;", "&"),
    );
    expect(back.searchParams.get("error")).toBe(error);
    expect(back.searchParams.get("state")).toBe(address.searchParams.get("state"));
  });

  test.each<[string, Record<string, string | undefined>]>([
    ["another redirect_uri", { redirect_uri: "https://evil.example/callback" }],
    ["another path on loopback", { redirect_uri: "http://127.0.0.1:43210/other" }],
    ["the other name of loopback", { redirect_uri: "http://localhost:43210/callback" }],
    ["loopback in a user's name", { redirect_uri: "http://127.0.0.1:1@evil.example/callback" }],
    ["more behind a redirect_uri", { redirect_uri: "https://notebook.example/callback/../../evil" }],
    ["a longer host", { redirect_uri: "https://notebook.example.evil.example/callback" }],
    ["a port on the web", { redirect_uri: "https://notebook.example:444/callback" }],
    ["no redirect_uri", { redirect_uri: undefined }],
    ["no client", { client_id: undefined }],
    ["a client that nobody registered", { client_id: "cl_e30.AAAA" }],
  ])("%s: nothing on the page leads there", async (_name, changes) => {
    const { status, text, csrf } = await authorizePage(ask(changes), cookie);
    expect({ status, csrf }).toEqual({ status: 400, csrf: undefined });
    expect(text).not.toContain("Tell the client");
    expect(text).not.toContain("evil");
  });

  test("loopback may come with any port", async () => {
    for (const port of ["", ":1", ":65535"])
      expect(
        (await authorizePage(ask({ redirect_uri: `http://127.0.0.1${port}/callback` }), cookie)).status,
      ).toBe(200);
  });

  test("a parameter that is there twice", async () => {
    const address = ask();
    address.searchParams.append("redirect_uri", "https://evil.example/");
    expect((await authorizePage(address, cookie)).text).toContain("redirect_uri is there more than once");
  });
});

describe("a client's document", () => {
  test.each([
    ["moved", "leads on to another address"],
    ["huge", "larger than 64 KiB"],
    ["other", "its client_id is https://other.example/client.json"],
    ["secret", "holds no secret"],
    ["key", "private_key_jwt"],
    ["script", "No answer can be sent to javascript:alert(1)"],
    ["page", "it is not JSON"],
    ["broken", "it is not JSON"],
    ["gone", "HTTP 404"],
  ])("%s: the page says what is wrong", async (name, words) => {
    const { status, text, csrf } = await authorizePage(
      ask({ client_id: `${clients.url}/${name}.json` }),
      cookie,
    );
    expect({ status, csrf }).toEqual({ status: 400, csrf: undefined });
    expect(text.replaceAll("&#39;", "'")).toContain(words);
  });

  test("is kept as long as it says", async () => {
    const count = (path: string) => clients.asked.filter((one) => one === path).length;
    const look = (path: string) => authorizePage(ask({ client_id: clients.url + path }), cookie);
    for (const path of ["/kept.json", "/fresh.json"]) for (let i = 0; i < 2; i++) await look(path);
    expect([count("/kept.json"), count("/fresh.json")]).toEqual([1, 2]);
  });

  test("is not asked for by somebody who is not signed in", async () => {
    await fetch(ask({ client_id: `${clients.url}/stranger.json` }));
    expect(clients.asked).not.toContain("/stranger.json");
  });

  test("is not read from this machine or over http by a gateway that others reach", async () => {
    const own = await startCerver({ relay: false, gateway: { publicUrl: "https://cerver.example" } });
    const signedIn = await signInByHttp(own);
    const look = async (clientId: string) => {
      const address = new URL(`${own.gateway.url}/oauth/authorize`);
      address.search = ask({ client_id: clientId, resource: undefined }).search;
      return (await authorizePage(address, signedIn)).text;
    };
    const local = `https://127.0.0.1:${new URL(clients.url).port}/good.json`;
    expect(await look(local)).toContain("is not a public address");
    expect(await look("https://[::ffff:a9fe:a9fe]/latest")).toContain("is not a public address");
    expect(await look("https://localhost/good.json")).toContain("is not a public address");
    expect(await look(`${clients.url}/good.json`)).toContain("has to be https");
    await own.stop();
  });
});

describe("registration", () => {
  const register = async (body: unknown) => {
    const answer = await fetch(`${url()}/oauth/register`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
    return { status: answer.status, body: (await answer.json()) as any };
  };

  test("takes public clients, whatever they wish for, and keeps nothing", async () => {
    const { status, body } = await register({
      client_name: "Tool",
      redirect_uris: [CALLBACK, "cursor://tool/callback"],
      token_endpoint_auth_method: "client_secret_basic",
    });
    expect(status).toBe(201);
    expect(body).toMatchObject({ token_endpoint_auth_method: "none", client_name: "Tool" });
    expect(body.client_secret).toBeUndefined();
    const { text } = await authorizePage(ask({ client_id: body.client_id }), cookie);
    expect(text).toContain("nobody has checked its name");
    const app = { client_id: body.client_id, redirect_uri: "cursor://tool/callback" };
    expect((await press(ask(app), cookie)).to!.href).toMatch(/^cursor:\/\/tool\/callback\?code=/);
  });

  test.each<[string, unknown, string]>([
    ["no address", { redirect_uris: [] }, "invalid_client_metadata"],
    ["a script", { redirect_uris: ["javascript:alert(1)"] }, "invalid_redirect_uri"],
    ["http elsewhere", { redirect_uris: ["http://client.example/"] }, "invalid_redirect_uri"],
    ["a fragment", { redirect_uris: ["https://client.example/#x"] }, "invalid_redirect_uri"],
    [
      "too much",
      { redirect_uris: Array(9).fill(`https://x.example/${"x".repeat(400)}`) },
      "invalid_client_metadata",
    ],
    ["another grant", { redirect_uris: [CALLBACK], grant_types: ["password"] }, "invalid_client_metadata"],
    ["no JSON", "{", "invalid_client_metadata"],
    ["no object", "null", "invalid_client_metadata"],
  ])("refuses %s", async (_name, body, error) => {
    expect(await register(body)).toMatchObject({ status: 400, body: { error } });
  });

  test("a registration that was changed is none", async () => {
    const { body } = await register({ redirect_uris: [CALLBACK] });
    const [, signature] = body.client_id.split(".");
    const other = Buffer.from(JSON.stringify({ name: "x", uris: ["https://evil.example/"], at: 1 })).toString(
      "base64url",
    );
    const forged = `cl_${other}.${signature}`;
    const page = await authorizePage(
      ask({ client_id: forged, redirect_uri: "https://evil.example/" }),
      cookie,
    );
    expect(page.status).toBe(400);
    expect(await exchange("x", { client_id: forged })).toMatchObject({
      status: 401,
      body: { error: "invalid_client" },
    });
  });
});

describe("tokens", () => {
  test("a code gives a token of the account that is in its list of keys", async () => {
    const answer = await exchange(await newCode());
    expect(answer.headers.get("cache-control")).toBe("no-store");
    expect(answer.body).toEqual({
      access_token: expect.stringMatching(/^ck_/),
      token_type: "Bearer",
      expires_in: 3600,
      refresh_token: expect.stringMatching(/^cr_[\w-]{43}\.[\w-]{43}$/),
      scope: "read run",
    });
    const mine = (await keys()).find((key) =>
      answer.body.access_token.startsWith(key.key_masked.slice(0, -1)),
    );
    expect(mine).toMatchObject({ label: "Notebook", scopes: ["read", "run"] });
    expect(Date.parse(mine.expires_at) - Date.now()).toBeGreaterThan(3_500_000);
    // A client's token makes no other tokens.
    const made = await fetch(`${url()}/v2/auth/keys`, {
      method: "POST",
      headers: { authorization: `Bearer ${answer.body.access_token}`, "content-type": "application/json" },
      body: "{}",
    });
    expect(made.status).toBe(403);
  });

  test.each<[string, Record<string, string | undefined>, string]>([
    ["the wrong verifier", { code_verifier: "x".repeat(43) }, "invalid_grant"],
    ["another redirect_uri", { redirect_uri: "http://127.0.0.1:1/callback" }, "invalid_grant"],
    ["another client", { client_id: "https://other.example/client.json" }, "invalid_grant"],
  ])("a code with %s is used up", async (_name, changes, error) => {
    const code = await newCode();
    expect(await exchange(code, changes)).toMatchObject({ status: 400, body: { error } });
    expect(await exchange(code)).toMatchObject({ status: 400, body: { error: "invalid_grant" } });
  });

  test.each<[string, Record<string, string | undefined>, string]>([
    ["another resource", { resource: "https://other.example/mcp" }, "invalid_target"],
    ["no verifier", { code_verifier: undefined }, "invalid_request"],
    ["another grant", { grant_type: "password" }, "unsupported_grant_type"],
    ["no client", { client_id: undefined }, "invalid_request"],
  ])("a request with %s is refused, and the code is still good", async (_name, changes, error) => {
    const code = await newCode();
    expect(await exchange(code, changes)).toMatchObject({ status: 400, body: { error } });
    expect((await exchange(code)).status).toBe(200);
  });

  test("a code that is used twice revokes what it gave", async () => {
    const code = await newCode();
    const { body } = await exchange(code);
    expect((await whoami(body.access_token)).status).toBe(200);
    expect(await exchange(code)).toMatchObject({ status: 400, body: { error: "invalid_grant" } });
    expect((await whoami(body.access_token)).status).toBe(401);
    expect((await refresh(body.refresh_token)).status).toBe(400);
  });

  test("of many that use a code at once one gets tokens, and those are revoked", async () => {
    const code = await newCode();
    const answers = await Promise.all(Array.from({ length: 8 }, () => exchange(code)));
    const given = answers.filter(({ status }) => status === 200);
    expect(given).toHaveLength(1);
    for (const { body } of given) expect((await whoami(body.access_token)).status).toBe(401);
  });

  test("a refresh token works once: the second time ends everything", async () => {
    const first = (await exchange(await newCode())).body;
    const second = (await refresh(first.refresh_token)).body;
    const third = (await refresh(second.refresh_token)).body;
    expect((await whoami(first.access_token)).status).toBe(401);
    expect((await whoami(third.access_token)).status).toBe(200);
    expect(
      (await keys()).filter(({ key_masked }) => third.access_token.startsWith(key_masked.slice(0, -1))),
    ).toHaveLength(1);
    expect(await refresh(first.refresh_token)).toMatchObject({
      status: 400,
      body: { error: "invalid_grant" },
    });
    expect((await whoami(third.access_token)).status).toBe(401);
    expect((await refresh(third.refresh_token)).status).toBe(400);
  });

  test("a refresh gives no more than was allowed, and less when asked", async () => {
    const { body } = await exchange(await newCode({ scope: "read run" }));
    expect(await refresh(body.refresh_token, { scope: "read admin" })).toMatchObject({
      status: 400,
      body: { error: "invalid_scope" },
    });
    const less = await refresh(body.refresh_token, { scope: "read" });
    expect((await whoami(less.body.access_token)).body.scopes).toEqual(["read"]);
    const again = await refresh(less.body.refresh_token);
    expect(again.body.scope).toBe("read run");
  });

  test("a key that is revoked in the list is not refreshed", async () => {
    const { body } = await exchange(await newCode());
    const revoked = await cerver.call("DELETE", `/v2/auth/keys/${body.access_token.slice(0, 11)}`);
    expect(revoked.status).toBe(200);
    expect((await whoami(body.access_token)).status).toBe(401);
    expect(await refresh(body.refresh_token)).toMatchObject({
      status: 400,
      body: { error: "invalid_grant" },
    });
  });

  test.each(["access_token", "refresh_token"])("%s: its client may revoke it, no other", async (which) => {
    const { body } = await exchange(await newCode());
    const revoke = (client: string) => post("/oauth/revoke", { token: body[which], client_id: client });
    expect(await revoke("https://other.example/client.json")).toMatchObject({
      status: 400,
      body: { error: "unauthorized_client" },
    });
    expect((await whoami(body.access_token)).status).toBe(200);
    expect((await revoke(`${clients.url}/good.json`)).status).toBe(200);
    expect((await whoami(body.access_token)).status).toBe(401);
    expect((await refresh(body.refresh_token)).status).toBe(400);
    expect((await revoke(`${clients.url}/good.json`)).status).toBe(200);
  });

  test("keeps no code and no token in clear", async () => {
    const code = await newCode();
    const { body } = await exchange(code);
    const { openDatabase } = await import("../src/gateway/store/database.js");
    const db = await openDatabase(join(cerver.folder, "data", "cerver.db"));
    const rows = JSON.stringify([
      await db.selectFrom("oauth_grants").selectAll().execute(),
      await db.selectFrom("api_tokens").selectAll().execute(),
    ]);
    await db.destroy();
    for (const secret of [code, body.access_token, ...body.refresh_token.split(".")])
      expect(rows).not.toContain(secret);
  });
});

describe.skipIf(!CHROMIUM)("in a real browser", () => {
  test("from a page of another site, by sign-in and approval, back to the client", async () => {
    const profile = await mkdtemp(join(tmpdir(), "cerver-chromium-"));
    const context = await chromium.launchPersistentContext(profile, {
      executablePath: CHROMIUM!,
      args: [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
      ],
    });
    const app = await startWebServer((request, response) => {
      response.writeHead(200, { "content-type": "text/html" });
      const link = `<a href="${String(ask({ redirect_uri: `${app.url}/callback` })).replaceAll("&", "&amp;")}">Connect</a>`;
      response.end(request.url!.startsWith("/callback") ? "<h1>Connected</h1>" : link);
    });
    // Another site to the browser: it keeps our cookie back when it comes from there.
    const elsewhere = app.url.replace("127.0.0.1", "localhost");
    try {
      const page = context.pages()[0]!;
      await page.goto(elsewhere);
      await page.getByRole("link", { name: "Connect" }).click();
      await page.getByText("cerver signin-link").waitFor();
      await page.goto(await cerver.gateway.createSigninLink());
      await page.getByRole("button", { name: "Sign in" }).click();
      expect(await page.locator("h1").innerText()).toBe("Let this client in?");
      await page.getByRole("button", { name: "Deny" }).click();
      await page.waitForURL(/callback\?error=access_denied/);

      await page.goto(elsewhere);
      await page.getByRole("link", { name: "Connect" }).click();
      await page.getByRole("button", { name: "Approve" }).waitFor();
      await page.getByRole("radio").last().check();
      await page.getByRole("button", { name: "Approve" }).click();
      await page.waitForURL(/callback\?code=/);
      expect(await page.locator("h1").innerText()).toBe("Connected");
      const code = new URL(page.url()).searchParams.get("code")!;
      const { body } = await exchange(code, { redirect_uri: `${app.url}/callback` });
      expect((await whoami(body.access_token)).body.scopes).toEqual(["read"]);
    } finally {
      await context.close();
      await app.stop();
      await rm(profile, { recursive: true, force: true });
    }
  }, 60_000);
});

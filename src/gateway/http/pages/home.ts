import { Hono } from "hono";
import { html } from "hono/html";
import type { SessionRecord, SessionSummary } from "../../../protocol/sessions.js";
import type { TranscriptEntry } from "../../../protocol/transcript.js";
import type { BrowserSignins } from "../../account/browser-signins.js";
import type { Connection, OAuthGrants } from "../../account/oauth-grants.js";
import type { Computes } from "../../compute/computes.js";
import type { Sessions } from "../../session/sessions.js";
import { readForm } from "../form.js";
import { csrfToken, isOwnForm } from "./csrf.js";
import { ago, page } from "./layout.js";
import { foreign, howToSignIn, signedInAccount } from "./signin.js";

/** What the form is about that ends a client's access. */
const DISCONNECT = "disconnect";

export interface HomePagesDeps {
  signins: BrowserSignins;
  computes: Computes;
  sessions: Sessions;
  oauthGrants: OAuthGrants;
  publicUrl: () => string;
  /** The account behind a gateway without tokens. */
  localAccountId?: string | undefined;
}

/** `/` and `/sessions/:id`: what the account has, for people. Agents read the same through the API. */
export function homePages({
  signins,
  computes,
  sessions,
  oauthGrants,
  publicUrl,
  localAccountId,
}: HomePagesDeps) {
  return new Hono()
    .get("/", async (c) => {
      const accountId = (await signedInAccount(c, signins)) ?? localAccountId;
      if (!accountId) return c.html(welcome());
      const [attached, { sessions: newest }, connected] = await Promise.all([
        computes.list(accountId),
        sessions.list(accountId, { limit: 50 }),
        oauthGrants.list(accountId),
      ]);
      return c.html(
        page(
          { title: "Your account", signedIn: true },
          html`<h2>Computes</h2>
<div class="card">${
            attached.length === 0
              ? html`<p>Nothing is attached yet. On the machine you want to use, type</p><pre>cerver relay --gateway ${publicUrl()}</pre>`
              : html`<table><thead><tr><th>Name</th><th>State</th><th>Id</th></tr></thead><tbody>${attached.map(
                  (compute) =>
                    html`<tr><td>${compute.label}</td><td class="${compute.status === "ready" ? "good" : "bad"}">${compute.status}</td><td><code>${compute.compute_id}</code></td></tr>`,
                )}</tbody></table>`
          }</div>
${connected.length === 0 ? "" : html`<h2>Clients that may use your account</h2><div class="card">${clientTable(connected, csrfToken(c, DISCONNECT))}</div>`}
<h2>Sessions</h2>
<div class="card">${newest.length === 0 ? html`<p>No sessions yet. Try <code>cerver run 'echo hello'</code>.</p>` : sessionTable(newest)}</div>`,
        ),
      );
    })
    .post("/disconnect", async (c) => {
      const accountId = await signedInAccount(c, signins);
      if (!accountId) return c.html(welcome(), 401);
      const form = await readForm(c);
      if (!isOwnForm(c, DISCONNECT, form.get("csrf"))) return c.html(foreign(), 403);
      await oauthGrants.disconnect(accountId, form.get("client") ?? "");
      return c.redirect("/", 303);
    })
    .get("/sessions/:id", async (c) => {
      const accountId = (await signedInAccount(c, signins)) ?? localAccountId;
      if (!accountId) return c.html(welcome(), 401);
      const session = await sessions.get(accountId, c.req.param("id")).catch(() => undefined);
      if (!session) {
        return c.html(
          page(
            { title: "No such session", narrow: true, signedIn: true },
            html`<div class="card"><p>Your account has no session under this address.</p><p><a href="/">All sessions</a></p></div>`,
          ),
          404,
        );
      }
      return c.html(sessionPage(await sessions.record(session, {})));
    });
}

function clientTable(connected: Connection[], csrf: string) {
  const now = Date.now();
  return html`<table><thead><tr><th>Client</th><th>May</th><th>Since</th><th>Last used</th><th></th></tr></thead><tbody>${connected.map(
    ({ id, clientName, scopes, createdAt, lastUsedAt }) =>
      html`<tr><td>${clientName}</td><td>${scopes}</td><td>${ago(createdAt, now)}</td><td>${lastUsedAt === null ? "never" : ago(lastUsedAt, now)}</td><td><form method="post" action="/disconnect"><input type="hidden" name="csrf" value="${csrf}"><input type="hidden" name="client" value="${id}"><button>Disconnect</button></form></td></tr>`,
  )}</tbody></table>`;
}

function sessionTable(sessions: SessionSummary[]) {
  const now = Date.now();
  return html`<table><thead><tr><th>Name</th><th>State</th><th>Entries</th><th>Changed</th></tr></thead><tbody>${sessions.map(
    (session) =>
      html`<tr><td><a href="/sessions/${session.sessionId}">${session.sessionName}</a></td><td>${session.status}</td><td>${session.messageCount}</td><td>${ago(Date.parse(session.updatedAt), now)}</td></tr>`,
  )}</tbody></table>`;
}

function sessionPage(session: SessionRecord) {
  const { transcript, transcriptTotal = transcript.length } = session;
  return page(
    { title: session.sessionName, signedIn: true },
    html`<dl>
<dt>State</dt><dd>${session.status}${session.endReason ? ` (${session.endReason})` : ""}</dd>
<dt>Provider</dt><dd>${session.provider ?? "none"}${session.computeId ? html` · <code>${session.computeId}</code>` : ""}</dd>
<dt>Id</dt><dd><code>${session.sessionId}</code></dd>
<dt>Entries</dt><dd>${transcriptTotal}${transcript.length < transcriptTotal ? `, the newest ${transcript.length} below` : ""}</dd>
</dl>
${transcript.map(entry)}`,
  );
}

function entry({ role, kind, content, tool_name, tool_input }: TranscriptEntry) {
  const code = (tool_input as { code?: unknown } | undefined)?.code;
  const text =
    kind === "tool_use"
      ? typeof code === "string"
        ? code
        : JSON.stringify(tool_input ?? {}, null, 2)
      : content;
  return html`<article><h3>${role} · ${tool_name ?? kind}</h3><pre>${text}</pre></article>`;
}

function welcome() {
  return page(
    { title: "A cerver gateway", narrow: true },
    html`<div class="card"><p>Apps use sessions. Providers supply compute.</p>${howToSignIn()}</div>`,
  );
}

import { type Context, Hono } from "hono";
import { html } from "hono/html";
import type { Scope } from "../../../protocol/scopes.js";
import type { BrowserSignins } from "../../account/browser-signins.js";
import type { OAuthClient, OAuthClients } from "../../account/oauth-clients.js";
import { OAuthError } from "../../account/oauth-error.js";
import type { OAuthGrants } from "../../account/oauth-grants.js";
import { isThisMachine, withAnswer } from "../../account/redirect-uri.js";
import { type AuthorizationRequest, AuthorizationRequests, Unanswerable } from "../authorization-request.js";
import { readForm } from "../form.js";
import { csrfToken, isOwnForm } from "./csrf.js";
import { page } from "./layout.js";
import { SCOPE_MEANING } from "./scope-meaning.js";
import { comeBackTo, foreign, signedInAccount, signInFirst } from "./signin.js";

export interface AuthorizePagesDeps {
  oauthClients: OAuthClients;
  oauthGrants: OAuthGrants;
  signins: BrowserSignins;
  publicUrl: () => string;
}

/**
 * `/oauth/authorize`: where a person lets a client in that came by URL, or not (RFC 6749, section 4.1).
 *
 * No browser is sent anywhere without a person's click: whoever likes may be a client, so an automatic way back would lead
 * from here to any place (RFC 9700, section 4.11.2).
 */
export function authorizePages({ oauthClients, oauthGrants, signins, publicUrl }: AuthorizePagesDeps) {
  const requests = new AuthorizationRequests({ clients: oauthClients, publicUrl });
  return new Hono()
    .get("/oauth/authorize", async (c) => {
      if (!(await signedInAccount(c, signins))) return askToSignIn(c);
      return explained(c, publicUrl(), async () => {
        const request = await requests.read(queryOf(c));
        return c.html(decision(request, queryOf(c), csrfToken(c, aboutRequest(c))));
      });
    })
    .post("/oauth/authorize", async (c) => {
      const accountId = await signedInAccount(c, signins);
      if (!accountId) return c.html(signInFirst(), 401);
      const form = await readForm(c);
      if (!isOwnForm(c, aboutRequest(c), form.get("csrf"))) return c.html(foreign(), 403);
      return explained(c, publicUrl(), async () => {
        const request = await requests.read(queryOf(c));
        const { client, redirectUri, state, codeChallenge } = request;
        const iss = publicUrl();
        if (form.get("decision") !== "approve")
          return c.html(goBack(request, withAnswer(redirectUri, { error: "access_denied", state, iss })));
        const scopes = lowered(request.scopes, form.get("scope"));
        const grant = { accountId, clientId: client.id, clientName: client.name, redirectUri, codeChallenge };
        const code = await oauthGrants.create({ ...grant, scopes });
        return c.html(goBack(request, withAnswer(redirectUri, { code, state, iss })));
      });
    });
}

function queryOf(c: Context): string {
  return new URL(c.req.url).search;
}

function aboutRequest(c: Context): string {
  return `authorize ${queryOf(c)}`;
}

/** A browser that comes from another site keeps its cookie to itself until one of our own pages leads it here. */
function askToSignIn(c: Context) {
  const here = `/oauth/authorize${queryOf(c)}`;
  if (c.req.header("sec-fetch-site") === "cross-site") {
    const onward = html`<div class="card"><p><a href="${here}">Continue</a></p></div>`;
    return c.html(page({ title: "One moment", narrow: true, goesOnTo: here }, onward));
  }
  // Only letters that a path of our own may have: spaces and the like come as `%20`.
  const comesBack = comeBackTo(c, here.replace(/[^\w\-./?=&%]/g, percent));
  return c.html(signInFirst(comesBack), 401);
}

function percent(letter: string): string {
  return letter === "+" ? "%20" : `%${letter.charCodeAt(0).toString(16).toUpperCase()}`;
}

/** Shows a request that cannot be met as a page. */
async function explained(c: Context, iss: string, show: () => Promise<Response>): Promise<Response> {
  try {
    return await show();
  } catch (error) {
    if (!(error instanceof OAuthError)) throw error;
    if (!(error instanceof Unanswerable)) return c.html(refusal(error), 400);
    const back = withAnswer(error.redirectUri, { ...error.toBody(), state: error.state, iss });
    return c.html(refusal(error, back), 400);
  }
}

/** What a person leaves of the scopes that a client wants. */
function lowered(scopes: readonly Scope[], choice: string | null): readonly Scope[] {
  return choice === "read" ? ["read"] : scopes;
}

function decision({ client, redirectUri, scopes }: AuthorizationRequest, query: string, csrf: string) {
  const mayRun = scopes.includes("run");
  const choice = (scope: Scope, checked: boolean) =>
    html`<label class="choice"><input type="radio" name="scope" value="${scope}"${checked ? html` checked` : ""}> <span>${SCOPE_MEANING[scope]}</span></label>`;
  return page(
    { title: "Let this client in?", narrow: true, signedIn: true },
    html`<div class="card">
<dl>
<dt>Client</dt><dd><b>${client.name}</b></dd>
<dt>Known at</dt><dd>${client.host ?? "nowhere: it registered itself, and nobody has checked its name"}</dd>
<dt>Answer goes to</dt><dd>${destination(redirectUri)}</dd>
</dl>
${warning(client, redirectUri)}
<form method="post" action="/oauth/authorize${query}">
<input type="hidden" name="csrf" value="${csrf}">
<p>It may then, in your account:</p>
${mayRun ? html`${choice("run", true)}${choice("read", false)}` : choice("read", true)}
<p class="soft">Approve only if you have just connected this client yourself. You can end its access in the page's settings.</p>
<div class="row"><button class="main" name="decision" value="approve">Approve</button>
<button name="decision" value="deny">Deny</button></div>
</form></div>`,
  );
}

function destination(redirectUri: string): string {
  const url = new URL(redirectUri);
  if (isThisMachine(url)) return `a program on this computer (${url.host})`;
  return url.protocol === "https:" ? url.host : `the application of ${url.protocol}//`;
}

/** Whoever runs a program on this machine can take a name that is known elsewhere. */
function warning({ name }: OAuthClient, redirectUri: string) {
  const url = new URL(redirectUri);
  if (url.protocol === "https:" && !isThisMachine(url)) return "";
  return html`<p class="bad">A program on this computer gets the access. Any program here can say that it is ${name}.</p>`;
}

function goBack({ client }: AuthorizationRequest, to: string) {
  return page(
    { title: "Back to the client", narrow: true, signedIn: true, goesOnTo: to },
    html`<div class="card"><p>If nothing happens: <a href="${to}" rel="noreferrer">go back to ${client.name}</a>.</p></div>`,
  );
}

function refusal({ message }: OAuthError, back?: string) {
  return page(
    { title: "This client cannot be let in", narrow: true, signedIn: true },
    html`<div class="card"><p class="bad">${message}</p>
<p>Begin again in the client. If that does not help, its makers have to mend it.</p>
${back === undefined ? "" : html`<p><a href="${back}" rel="noreferrer">Tell the client</a></p>`}</div>`,
  );
}

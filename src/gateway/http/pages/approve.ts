import { type Context, Hono } from "hono";
import { html } from "hono/html";
import { CerverError } from "../../../protocol/errors.js";
import type { BrowserSignins } from "../../account/browser-signins.js";
import type { DeviceCodes, PendingLogin } from "../../account/device-codes.js";
import { callerAddress } from "../routes/device-login.js";
import { csrfToken, isOwnForm } from "./csrf.js";
import { ago, page } from "./layout.js";
import { SCOPE_MEANING } from "./scope-meaning.js";
import { comeBackTo, foreign, signedInAccount, signInFirst } from "./signin.js";

export interface ApprovePagesDeps {
  devices: DeviceCodes;
  signins: BrowserSignins;
  /** The account behind a gateway without tokens. */
  localAccountId?: string | undefined;
}

/** `/approve`: where a person lets a machine in, or not. */
export function approvePages({ devices, signins, localAccountId }: ApprovePagesDeps) {
  const whoIs = async (c: Context) => (await signedInAccount(c, signins)) ?? localAccountId;
  const visitor = (c: Context, accountId: string) => `${accountId} ${callerAddress(c)}`;

  return new Hono()
    .get("/approve", async (c) => {
      const accountId = await whoIs(c);
      if (!accountId) {
        comeBackTo(c, `/approve?code=${encodeURIComponent(c.req.query("code") ?? "")}`);
        return c.html(signInFirst(), 401);
      }
      const code = c.req.query("code") ?? "";
      if (code === "") return c.html(askForCode());
      const login = await find(devices, code, visitor(c, accountId));
      if (login instanceof CerverError) return c.html(tooMany(login), 429);
      if (!login) return c.html(askForCode(code), 404);
      return c.html(decision(login, csrfToken(c, "approve")));
    })
    .post("/approve", async (c) => {
      const accountId = await whoIs(c);
      if (!accountId) return c.html(signInFirst(), 401);
      const form = await c.req.parseBody();
      if (!isOwnForm(c, "approve", form.csrf)) return c.html(foreign(), 403);
      const code = String(form.code ?? "");
      const login = await find(devices, code, visitor(c, accountId));
      if (login instanceof CerverError) return c.html(tooMany(login), 429);
      const verdict = form.decision === "approve" ? "approved" : "denied";
      if (!login || !(await devices.decide(login.id, accountId, verdict)))
        return c.html(askForCode(code), 404);
      return c.html(done(login, verdict));
    });
}

async function find(devices: DeviceCodes, code: string, visitor: string) {
  try {
    return await devices.find(code, visitor);
  } catch (error) {
    if (error instanceof CerverError && error.code === "too_many_requests") return error;
    throw error;
  }
}

function decision(login: PendingLogin, csrf: string) {
  return page(
    { title: "Let this machine in?", narrow: true, signedIn: true },
    html`<div class="card">
<p class="code">${login.userCode}</p>
<dl>
<dt>Machine</dt><dd>${login.machineName}</dd>
<dt>Asked</dt><dd>${ago(login.createdAt, Date.now())}</dd>
<dt>From</dt><dd>${login.ip}</dd>
<dt>May then</dt><dd>${login.scopes.map((scope) => html`${SCOPE_MEANING[scope]}<br>`)}</dd>
</dl>
<p>Approve only if you started this login, and the same code stands on that machine.</p>
<form class="row" method="post" action="/approve">
<input type="hidden" name="code" value="${login.userCode}"><input type="hidden" name="csrf" value="${csrf}">
<button class="main" name="decision" value="approve">Approve</button>
<button name="decision" value="deny">Deny</button>
</form></div>`,
  );
}

function done({ machineName }: PendingLogin, verdict: "approved" | "denied") {
  return page(
    { title: verdict === "approved" ? "Approved" : "Denied", narrow: true, signedIn: true },
    html`<div class="card"><p>${
      verdict === "approved"
        ? html`<b>${machineName}</b> is logged in. You can close this page.`
        : html`<b>${machineName}</b> was not let in.`
    }</p><p><a href="/">Go to the start page</a></p></div>`,
  );
}

function askForCode(wrong?: string) {
  return page(
    { title: "Connect a machine", narrow: true, signedIn: true },
    html`<div class="card">
${wrong === undefined ? "" : html`<p class="bad">No login waits under the code ${wrong}. It may have expired after 15 minutes, or been used.</p>`}
<form method="get" action="/approve"><label for="code">The code that the machine shows</label>
<p><input type="text" id="code" name="code" autocomplete="off" autocapitalize="characters" maxlength="9" placeholder="XXXX-XXXX" required></p>
<button class="main">Continue</button></form></div>`,
  );
}

function tooMany({ message, hint }: CerverError) {
  return page(
    { title: "Wait a while", narrow: true, signedIn: true },
    html`<div class="card"><p class="bad">${message}</p><p>${hint ?? ""}</p></div>`,
  );
}

import { newId } from "../../../../protocol/ids.js";
import { type ConformanceCheck, must, same } from "../check.js";

/** What a cloud vendor's adapter promises beyond the contract. */
export const CLOUD: readonly ConformanceCheck[] = [
  {
    name: "cloud-verify",
    about: "Credentials that work are found to work, and others are refused as credentials_refused.",
    async run(c) {
      const { cloud } = c.adapter;
      if (!cloud) return c.skip("It needs no credentials.");
      for (const name of cloud.credentialNames.required)
        must(Boolean(c.env().credentials[name]), `The credential ${name} is not given.`);
      await cloud.verify(c.env());
      const secret = cloud.credentialNames.required.find((name) => /key|token/.test(name));
      if (!secret) return;
      const credentials = { ...c.env().credentials, [secret]: mangled(c.env().credentials[secret]!) };
      await c.refused(`verify() with another ${secret}`, () => cloud.verify({ ...c.env(), credentials }), [
        "credentials_refused",
      ]);
    },
  },
  {
    name: "cloud-find",
    about: "The sandbox of a session is found by the session's id, and not any more once it is deleted.",
    async run(c) {
      const { cloud } = c.adapter;
      if (!cloud) return c.skip("It is no cloud vendor's.");
      const sessionId = newId("sess");
      const record = await c.fresh({ cerver_session_id: sessionId });
      const ids = async () => (await cloud.find(sessionId, c.env())).map(({ sandboxId }) => sandboxId);
      await c.until(
        async () => (await ids()).includes(record.sandboxId),
        20,
        "find() does not tell the sandbox that was made for the session.",
      );
      same(await ids(), [record.sandboxId], "The sandboxes of the session");
      same(await cloud.find(newId("sess"), c.env()), [], "The sandboxes of a session that never was");
      await c.delete(record);
      await c.until(
        async () => (await ids()).length === 0,
        30,
        "find() still tells a sandbox that was deleted.",
      );
    },
  },
];

/** A secret of the same shape, with other letters at its end. */
function mangled(secret: string): string {
  const end = Math.min(12, secret.length);
  const other = [...secret.slice(-end)].map((letter) => (letter === "0" ? "1" : "0")).join("");
  return secret.slice(0, secret.length - end) + other;
}

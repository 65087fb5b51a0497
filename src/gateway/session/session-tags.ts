import { type RawBuilder, sql } from "kysely";
import { CerverError } from "../../protocol/errors.js";
import type { Labels, Metadata } from "../../protocol/sessions.js";
import type { Database } from "../store/schema.js";

/** Longer values are kept, and not found by. */
const MAX_VALUE_LENGTH = 256;
/** A session is found by so many of its metadata. */
const MAX_METADATA_TAGS = 64;
/** So many sessions are few enough to be named one by one in a query. */
const FEW = 200;

/** Makes a session findable by its labels and its plain metadata, in the place of what it was found by before. */
export async function writeTags(
  tx: Database,
  session: { id: string; account_id: string },
  labels: Labels,
  metadata: Metadata,
): Promise<void> {
  const plain = Object.entries(metadata)
    .filter(([, value]) => ["string", "number", "boolean"].includes(typeof value))
    .slice(0, MAX_METADATA_TAGS)
    .map(([name, value]): [string, string] => [`metadata:${name}`, String(value)]);
  const tags = [
    ...Object.entries(labels).map(([name, value]): [string, string] => [`label:${name}`, value]),
    ...plain,
  ];
  await tx.deleteFrom("session_tags").where("session_id", "=", session.id).execute();
  const rows = tags
    .filter(([, value]) => value.length <= MAX_VALUE_LENGTH)
    .map(([name, value]) => ({ session_id: session.id, account_id: session.account_id, name, value }));
  if (rows.length > 0) await tx.insertInto("session_tags").values(rows).execute();
}

/** What a list asks for: `label=NAME=VALUE`, once or more, and `metadata.KEY=VALUE`. */
export function wantedTags(
  label: string | readonly string[] | undefined,
  metadata: Readonly<Record<string, string>>,
): [name: string, value: string][] {
  const labels = label === undefined ? [] : [label].flat();
  return [
    ...labels.map((text): [string, string] => {
      const at = text.indexOf("=");
      if (at > 0) return [`label:${text.slice(0, at)}`, text.slice(at + 1)];
      throw new CerverError("invalid_request", `label: "${text}" is not NAME=VALUE.`, {
        hint: "For example ?label=team=web, which may be repeated.",
      });
    }),
    ...Object.entries(metadata).map(([name, value]): [string, string] => [`metadata:${name}`, value]),
  ];
}

/** Whether a session carries a tag; `session` is the column that has its id. */
export function carriesTag(session: string, name: string, value: string): RawBuilder<boolean> {
  return sql<boolean>`exists (select 1 from session_tags as o where o.session_id = ${sql.ref(session)}
    and o.name = ${name} and o.value = ${value})`;
}

/**
 * The sessions of an account that carry all of these tags, unless they are many: undefined then. It reads only as many
 * as carry the first tag, however many sessions there are.
 */
export async function fewTagged(
  db: Database,
  accountId: string,
  [first, ...others]: readonly [name: string, value: string][],
): Promise<string[] | undefined> {
  if (first === undefined) return undefined;
  let query = db
    .selectFrom("session_tags as t")
    .select("t.session_id")
    .where("t.account_id", "=", accountId)
    .where("t.name", "=", first[0])
    .where("t.value", "=", first[1]);
  for (const [name, value] of others) query = query.where(carriesTag("t.session_id", name, value));
  const rows = await query.limit(FEW + 1).execute();
  return rows.length > FEW ? undefined : rows.map(({ session_id }) => session_id);
}

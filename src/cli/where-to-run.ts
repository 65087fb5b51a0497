import type { GatewayClient } from "../client/gateway-client.js";
import { CerverError } from "../protocol/errors.js";
import type { CreateSessionRequest } from "../protocol/sessions.js";

/**
 * What `--on` says, as the part of a create request: labels (`gpu=yes`) that the compute must carry, or one compute by
 * its id or its name.
 */
export async function whereToRun(
  client: GatewayClient,
  wishes: readonly string[],
): Promise<Pick<CreateSessionRequest, "requirements" | "target_compute_id">> {
  const labels = wishes.filter((wish) => wish.indexOf("=") > 0);
  const [name, ...more] = wishes.filter((wish) => !labels.includes(wish));
  if (more.length > 0)
    throw new CerverError("invalid_request", `--on names two machines: ${name} and ${more[0]}.`, {
      hint: "Name one; labels (NAME=VALUE) may be given again.",
    });
  return {
    ...(labels.length > 0 && { requirements: { labels: Object.fromEntries(labels.map(pair)) } }),
    ...(name !== undefined && { target_compute_id: await computeNamed(client, name) }),
  };
}

function pair(text: string): [string, string] {
  const at = text.indexOf("=");
  return [text.slice(0, at), text.slice(at + 1)];
}

async function computeNamed(client: GatewayClient, name: string): Promise<string> {
  const computes = await client.computes();
  const wanted = name.toLowerCase();
  const isNamed = ({ label }: { label: string }) => label.toLowerCase() === wanted;
  const found =
    computes.find(({ compute_id }) => compute_id === name) ??
    single(computes.filter(isNamed)) ??
    single(computes.filter(({ label }) => label.toLowerCase().includes(wanted)));
  if (found) return found.compute_id;
  const many = computes.filter(({ label }) => label.toLowerCase().includes(wanted));
  if (many.length > 0)
    throw new CerverError("invalid_request", `${many.length} computes are called like "${name}".`, {
      hint: `Give the id of one: ${many.map(({ compute_id }) => compute_id).join(", ")}.`,
    });
  throw new CerverError("compute_not_found", `No compute of this account is called "${name}".`, {
    hint: "`cerver computes` lists them; a label is NAME=VALUE, as in --on gpu=yes.",
  });
}

function single<T>(all: readonly T[]): T | undefined {
  return all.length === 1 ? all[0] : undefined;
}

import type { Env } from "../../util/paths.js";

/**
 * Names that look like they hold a secret. A run gets none of them from the host, unless the relay was started with
 * `--allow-env NAME`: code of strangers must not read this machine's keys.
 */
const SECRET_NAME =
  /TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|(?:^|_)PASS(?:_|$)|CREDENTIAL|PRIVATE|COOKIE|(?:^|_)(?:API|ACCESS|SIGNING|ENCRYPTION|MASTER|LICENSE|DEPLOY)?_?KEYS?(?:_|$)|APIKEY|(?:^|_)AUTH(?:_|$|ORIZATION)|(?:^|_)(?:DSN|JWT|PAT|SAS)(?:_|$)|(?:DATABASE|REDIS|MONGO(?:DB)?|POSTGRES(?:QL)?|MYSQL|AMQP|NATS|SMTP|WEBHOOK)_?(?:URL|URI)$|CONNECTION_STRING|SERVICE_ACCOUNT/i;
/** Names with these beginnings configure cerver or a cloud account, or lead to an agent that holds keys. */
const SECRET_PREFIX =
  /^(?:CERVER_|INFISICAL_|P69_|AWS_|AZURE_|GOOGLE_|GCP_|VERCEL_|E2B_|CLOUDFLARE_|OP_|VAULT_|DOPPLER_|SSH_|GPG_|NPM_CONFIG__|BW_)/i;

/** What the shell that started the relay says of itself. */
const SHELL_OWN = new Set(["PWD", "OLDPWD", "SHLVL", "_"]);

/** Whether a host variable of this name is kept from runs. */
export function looksSecret(name: string): boolean {
  return SECRET_PREFIX.test(name) || SECRET_NAME.test(name);
}

/** What every run of this relay starts from: the host's environment without what looks secret. */
export function hostEnvironment(env: Env, allowed: readonly string[]): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && !SHELL_OWN.has(name) && (allowed.includes(name) || !looksSecret(name)))
      kept[name] = value;
  }
  return kept;
}

/**
 * A run's environment, later ones winning: the host's, the session's `metadata.env`, the run's own `envs`, and the
 * marks by which its processes are found again.
 */
export function runEnvironment(
  host: Record<string, string>,
  session: Record<string, string>,
  run: Record<string, string> | undefined,
  marks: Record<string, string>,
): Record<string, string> {
  return { ...host, ...session, ...run, ...marks };
}

/** Names of files that look like secrets, in lower case. */
const SECRET_NAMES = [
  /^\.env(?:\..+|rc)?$/,
  /^\.dev\.vars(?:\..+)?$/,
  /\.(?:pem|key|p12|pfx|p8|jks|keystore|kdbx|ppk|asc|gpg|age)$/,
  /^id_[^/]+$/,
  /^credentials(?:[._-].*)?$/,
  /^(?:client_)?secrets?(?:[._-].*)?$/,
  /^service[-_]?account.*\.json$/,
  /^(?:\.netrc|_netrc|\.pgpass|\.pypirc|\.htpasswd|\.git-credentials|\.vault-token|\.envrc)$/,
  /\.(?:tfvars|tfstate)(?:\.json)?$/,
];

/** Folders in which every file counts as a secret. */
const SECRET_FOLDERS =
  /(?:^|\/)(?:\.ssh|\.aws|\.gnupg|\.azure|\.kube|\.docker|\.gcloud|\.config\/gcloud|\.password-store)\//;

/** What these names end in is a text for people or programs, not a secret: `credentials.ts`, `.env.example`, `id_rsa.pub`. */
const NO_SECRET =
  /\.(?:example|sample|template|dist|pub|md|[cm]?[jt]sx?|map|py|pyc|pyi|go|rs|rb|java|class|kt|php|c|h|cc|cpp|hpp|o|cs|swift|css|html?|svg|vue|svelte)$/;

/** Where package managers put what anybody can fetch: test keys in there are nobody's secret. */
const INSTALLED = /(?:^|\/)(?:node_modules|site-packages)\//;

/** Files whose content decides, and what gives a secret away in them. */
const TELLING_CONTENT: [name: RegExp, secret: RegExp][] = [
  [/^(?:\.npmrc|\.yarnrc(?:\.yml)?)$/, /_authToken|_auth\b|_password|npmAuth(?:Token|Ident)/],
  [/^(?:pip\.conf|\.condarc)$/, /:\/\/[^/\s:@]+:[^/\s@]+@/],
];

/**
 * Whether a file looks like a secret by its path, which is relative to the folder that is carried. Those of
 * {@link TELLING_CONTENT} are asked for their text.
 */
export async function looksSecret(path: string, read: () => Promise<string>): Promise<boolean> {
  if (INSTALLED.test(path)) return false;
  const lower = path.toLowerCase();
  if (SECRET_FOLDERS.test(lower)) return true;
  const name = lower.slice(lower.lastIndexOf("/") + 1);
  for (const [telling, secret] of TELLING_CONTENT) if (telling.test(name)) return secret.test(await read());
  return !NO_SECRET.test(name) && SECRET_NAMES.some((pattern) => pattern.test(name));
}

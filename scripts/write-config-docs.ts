// Writes docs/configuration.md from the configuration schemas; with --check it only says whether the file is current.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { GatewayConfig } from "../src/gateway/config.js";
import { UserConfig } from "../src/login/user-config.js";
import { RelayConfig } from "../src/relay/config.js";

const target = join(import.meta.dirname, "../docs/configuration.md");

interface Property {
  description?: string;
  default?: unknown;
}

function table(schema: z.ZodType): string {
  const { properties = {} } = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as {
    properties?: Record<string, Property>;
  };
  const rows = Object.entries(properties)
    .filter(([, { description }]) => description)
    .map(
      ([name, { description, default: value }]) =>
        `| \`${name}\` | ${description} | ${value === undefined ? "" : `\`${JSON.stringify(value)}\``} |`,
    );
  return ["| name | meaning | default |", "|---|---|---|", ...rows].join("\n");
}

const text = `# Configuration

<!-- Written by \`npm run docs\` from the schemas. -->

Settings come from flags, then the environment, then the defaults. Files are under \`$XDG_CONFIG_HOME/cerver\`,
\`$XDG_DATA_HOME/cerver\` and \`$XDG_STATE_HOME/cerver\` (\`~/.config\`, \`~/.local/share\`, \`~/.local/state\`); \`CERVER_HOME\` puts all
of them under one folder.

## Environment

| variable | meaning |
|---|---|
| \`CERVER_GATEWAY_URL\` | the gateway that commands, the relay and the MCP server speak to |
| \`CERVER_API_TOKEN\` | the token to use; \`CERVER_API_KEY\` is taken as well |
| \`CERVER_CREDENTIALS\` | where a login is kept: \`keychain\`, or \`file\`; left out, it is the system's keychain where that works, else the file |
| \`CERVER_DATABASE_URL\` | a \`postgres://\` URL for the gateway |
| \`CERVER_PUBLIC_URL\` | the address others reach the gateway under |
| \`P69_BASE_URL\` | for the gateway: the address of a relay that listens, such as \`http://127.0.0.1:18081\`; it becomes a compute of the account |
| \`P69_API_TOKEN\` | that relay's token, at both ends: the gateway shows it, \`cerver relay --listen\` wants it |
| \`CERVER_PREVIEW_HOST\` | a wildcard name such as \`*.preview.example.com\` that leads to the gateway; see [preview.md](preview.md) |
| \`CERVER_MASTER_KEY\` | the key that seals credentials and signs links; several separated by commas, the current one first |
| \`CERVER_REHEARSAL\` | for the gateway: cassettes to play as providers, paths separated by commas; see [rehearsal.md](rehearsal.md) |
| \`CERVER_LOG\` | debug, info, warn, error or silent |
| \`CERVER_LABELS\` | for the relay: labels of this machine, as \`--label\` has them, separated by commas |
| \`CERVER_MACHINE_ID\` | for the relay: tells this machine from copies of its disk, where they share the system's machine id |
| \`CERVER_REDACT\` | for the relay: what is taken out of the output of runs; \`all\` (secrets and the shapes of credentials), \`secrets\` or \`off\` |
| \`CERVER_SECRETS_BACKEND\` | where \`secret_fetch\` and the secrets of runs look: \`env\`, \`infisical\`, \`1password\`, \`aws\`, \`gcp\` or \`exec\`; see [secrets.md](secrets.md) |
| \`CERVER_SECRETS_EXEC\` | the program of \`exec\`: its path, or a JSON array of it and its arguments |
| \`CERVER_SECRETS_EXEC_ENV\` | variables that this program gets beside the usual ones, separated by commas; \`*\` may end one |
| \`CERVER_SECRETS_OP_REFERENCE\` | where \`1password\` looks for a bare name, such as \`op://agents/{name}/credential\` |
| \`CERVER_SECRETS_ALLOW\` | the only secrets that are handed out, separated by commas; \`*\` may end one. Of its own variables a relay gives runs none that is not on it |
| \`CERVER_HOME\` | one folder for all files |
| \`NO_COLOR\`, \`FORCE_COLOR\` | colours off, colours on |

Which gateway: \`--gateway\`, \`CERVER_GATEWAY_URL\`, \`.cerver.json\` (\`{"gateway_url": "…"}\`) in this folder or above, the user's
\`config.json\`, the public gateway.

## The gateway

${table(GatewayConfig)}

## The relay

${table(RelayConfig)}

## The user's config.json

${table(UserConfig)}
`;

if (process.argv.includes("--check")) {
  if ((await readFile(target, "utf8").catch(() => "")) !== text) {
    console.error("docs/configuration.md is not current: run `npm run docs` and commit it.");
    process.exit(1);
  }
} else {
  await writeFile(target, text);
}

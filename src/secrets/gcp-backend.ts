import { GoogleAuth } from "google-auth-library";
import { CerverError } from "../protocol/errors.js";
import type { Env } from "../util/paths.js";
import { Login } from "./login-token.js";
import type { SecretBackend } from "./secret-backend.js";
import { jsonAnswer } from "./store-answer.js";
import { notSetUp, notText, type Store, statusFailure, storeFailure } from "./store-failure.js";

const PROJECT = "[a-z][a-z0-9.:-]{2,62}|[0-9]{1,20}";
const ID = "[A-Za-z0-9_-]{1,255}";
const VERSION = "[0-9]{1,18}|latest";
/** `[PROJECT/]NAME[/VERSION]`, or Google's own `projects/PROJECT/secrets/NAME[/versions/VERSION]`. */
const SHORT = new RegExp(`^(?:(${PROJECT})/)?(${ID})(?:/(${VERSION}))?$`);
const LONG = new RegExp(`^projects/(${PROJECT})/secrets/(${ID})(?:/versions/(${VERSION}))?$`);
/** Two words of which the second is a version. */
const PINNED = new RegExp(`^(${ID})/(${VERSION})$`);

/** Google's own is 1 h. */
const DEFAULT_TOKEN_MS = 300_000;

const STORE: Store = {
  title: "Google Secret Manager",
  hints: {
    not_found: "Check the name, its project and its version, or create the secret.",
    refused:
      "Grant the identity roles/secretmanager.secretAccessor on it, and see that the version is enabled.",
    expired:
      "Renew them: a new key for GOOGLE_APPLICATION_CREDENTIALS, or `gcloud auth application-default login`.",
    unreachable: "Check this machine's connection to googleapis.com, then ask again.",
    rate_limited: "Wait a minute, then ask again.",
  },
};

/**
 * Google Secret Manager: Google's library for the credentials, one request of its REST API for the value.
 *
 * The gRPC client of the same vendor does no more for one value, and brings a protocol stack of many megabytes.
 */
export function gcpBackend(env: Env, fetch: typeof globalThis.fetch): SecretBackend {
  const keyFile = env.GOOGLE_APPLICATION_CREDENTIALS;
  const base = (
    env.CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER || "https://secretmanager.googleapis.com/"
  ).replace(/\/*$/, "/");
  let project = env.GOOGLE_CLOUD_PROJECT || env.GCLOUD_PROJECT || env.CLOUDSDK_CORE_PROJECT;

  const login = new Login(async (signal) => {
    const auth = new GoogleAuth({
      ...(keyFile && { keyFilename: keyFile }),
      scopes: "https://www.googleapis.com/auth/cloud-platform",
      clientOptions: {
        transporterOptions: {
          fetchImplementation: (url, init) => fetch(url, { ...init, signal }),
          retryConfig: { retry: 1 },
        },
      },
    });
    const client = await auth.getClient().catch(() => {
      throw notSetUp(
        "gcp",
        keyFile ? "usable key file" : "credentials",
        "Set GOOGLE_APPLICATION_CREDENTIALS to a service account's key file, or run `gcloud auth application-default login`.",
      );
    });
    project ||= client.projectId ?? undefined;
    const { token } = await client.getAccessToken();
    return { token: token!, expiresAt: client.credentials.expiry_date ?? Date.now() + DEFAULT_TOKEN_MS };
  });

  return {
    name: "gcp",
    setup: [
      keyFile ? `key file ${keyFile}` : "application default credentials",
      project && `project ${project}`,
      env.CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER && base,
    ]
      .filter(Boolean)
      .join(", "),
    async fetch(name, signal) {
      const [asked, id, version = "latest"] = parts(name);
      const read = async (token: string) => {
        const owner = asked ?? project;
        if (!owner) throw notSetUp("gcp", "project", "Set GOOGLE_CLOUD_PROJECT, or ask for PROJECT/NAME.");
        const response = await fetch(`${base}v1/projects/${owner}/secrets/${id}/versions/${version}:access`, {
          headers: { authorization: `Bearer ${token}` },
          redirect: "error",
          signal,
        });
        if (!response.ok) throw await failure(name, response);
        return (await jsonAnswer(response)) as { payload: { data: string } };
      };
      try {
        const { payload } = await login.use(read, isExpired);
        return { name, value: text(name, payload.data), source: "gcp" };
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof CerverError) throw error;
        throw loginFailure(name, error);
      }
    },
  };
}

function isExpired(error: unknown): boolean {
  return error instanceof CerverError && error.code === "secret_expired";
}

function parts(name: string): [project: string | undefined, id: string, version: string | undefined] {
  const pinned = PINNED.exec(name);
  if (pinned) return [undefined, pinned[1]!, pinned[2]];
  const [, project, id, version] = LONG.exec(name) ?? SHORT.exec(name) ?? [];
  if (id !== undefined) return [project, id, version];
  throw new CerverError("invalid_request", "name: this is no name of a secret at Google.", {
    hint: "For example stripe-key, my-project/stripe-key, or my-project/stripe-key/3 for its version 3.",
  });
}

function text(name: string, base64: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.from(base64, "base64"));
  } catch {
    throw notText(STORE.title, name);
  }
}

/** A version that is disabled or destroyed is a failed precondition. */
async function failure(name: string, response: Response): Promise<CerverError> {
  const { error } = ((await jsonAnswer(response)) ?? {}) as { error?: { status?: string } };
  if (error?.status === "FAILED_PRECONDITION") return storeFailure(STORE, "refused", name);
  return statusFailure(STORE, response.status, name);
}

/** Where Google gives out tokens, a refusal of the credentials is a 400 or a 401. */
function loginFailure(name: string, error: unknown): CerverError {
  const { response, status = response?.status } = error as {
    response?: { status?: number };
    status?: number;
  };
  const refused = typeof status === "number" && [400, 401, 403].includes(status);
  return refused
    ? storeFailure(STORE, "expired", name)
    : statusFailure(STORE, typeof status === "number" ? status : undefined, name);
}

import {
  GetSecretValueCommand,
  SecretsManagerClient,
  type SecretsManagerClientConfig,
} from "@aws-sdk/client-secrets-manager";
import { CerverError } from "../protocol/errors.js";
import type { Env } from "../util/paths.js";
import type { SecretBackend } from "./secret-backend.js";
import {
  notSetUp,
  notText,
  type Store,
  type StoreFailure,
  statusFailure,
  storeFailure,
} from "./store-failure.js";

/** A name or an ARN, then a key of its JSON object. */
const NAME = /^([\w/+=.@:-]{1,512})(?:#(.{1,256}))?$/;

const STORE: Store = {
  title: "AWS Secrets Manager",
  hints: {
    not_found: "Check the name and AWS_REGION, or create the secret.",
    refused: "Allow the identity secretsmanager:GetSecretValue on it, and kms:Decrypt on its key.",
    expired:
      "Set or renew them, for example with `aws sso login`, and see that this machine's clock is right.",
    unreachable: "Check AWS_REGION, AWS_ENDPOINT_URL and this machine's connection, then ask again.",
    rate_limited: "Wait some seconds, then ask again.",
  },
};

/** AWS's names of its errors. */
const FAILURES: Record<string, StoreFailure> = {
  ResourceNotFoundException: "not_found",
  AccessDeniedException: "refused",
  DecryptionFailure: "refused",
  ExpiredTokenException: "expired",
  ExpiredToken: "expired",
  UnrecognizedClientException: "expired",
  InvalidSignatureException: "expired",
  SignatureDoesNotMatch: "expired",
  IncompleteSignature: "expired",
  MissingAuthenticationToken: "expired",
  InvalidClientTokenId: "expired",
  CredentialsProviderError: "expired",
  TokenProviderError: "expired",
  ThrottlingException: "rate_limited",
  TooManyRequestsException: "rate_limited",
};

/**
 * AWS Secrets Manager, by AWS's own variables and, where those give no credentials, the SDK's default chain of them.
 * `NAME#KEY` is one field of a secret that is a JSON object.
 */
export function awsBackend(env: Env): SecretBackend {
  const config = clientConfig(env);
  const client = new SecretsManagerClient(config);
  return {
    name: "aws",
    setup: [
      config.region ?? "the region of the profile",
      config.profile && `profile ${config.profile}`,
      config.endpoint,
    ]
      .filter(Boolean)
      .join(", "),
    async fetch(name, signal) {
      const [, id, key] = NAME.exec(name) ?? [];
      if (id === undefined)
        throw new CerverError("invalid_request", "name: this is no name of a secret at AWS.", {
          hint: "For example prod/db, or prod/db#password for a field of a JSON object.",
        });
      await client.config.region().catch(() => {
        throw notSetUp("aws", "region", "Set AWS_REGION, for example to eu-west-1.");
      });
      let answer: { SecretString?: string | undefined };
      try {
        answer = await client.send(new GetSecretValueCommand({ SecretId: id }), { abortSignal: signal });
      } catch (error) {
        signal.throwIfAborted();
        throw failure(name, error);
      }
      if (answer.SecretString === undefined) throw notText(STORE.title, name);
      return {
        name,
        value: key === undefined ? answer.SecretString : field(name, key, answer.SecretString),
        source: "aws",
      };
    },
  };
}

function clientConfig(env: Env) {
  const region = env.AWS_REGION || env.AWS_DEFAULT_REGION;
  const endpoint = env.AWS_ENDPOINT_URL_SECRETS_MANAGER || env.AWS_ENDPOINT_URL;
  const {
    AWS_PROFILE: profile,
    AWS_ACCESS_KEY_ID: id,
    AWS_SECRET_ACCESS_KEY: key,
    AWS_SESSION_TOKEN: token,
  } = env;
  return {
    maxAttempts: 2,
    ...(region && { region }),
    ...(endpoint && { endpoint }),
    ...(profile && { profile }),
    // As in the default chain, keys go before nothing but a profile.
    ...(!profile &&
      id &&
      key && {
        credentials: { accessKeyId: id, secretAccessKey: key, ...(token && { sessionToken: token }) },
      }),
  } satisfies SecretsManagerClientConfig;
}

function field(name: string, key: string, text: string): string {
  let object: unknown;
  try {
    object = JSON.parse(text);
  } catch {
    // Told apart from an object without the key by nobody: neither has it.
  }
  const value = object && Object.hasOwn(object, key) ? (object as Record<string, unknown>)[key] : undefined;
  if (value === undefined || value === null)
    throw new CerverError("secret_not_found", `The secret behind ${name} at AWS has no such field.`, {
      hint: "Check the key after the #, and that the secret is a JSON object.",
    });
  return typeof value === "string" ? value : JSON.stringify(value);
}

function failure(name: string, error: unknown): CerverError {
  const { name: word, $metadata } = error as { name?: string; $metadata?: { httpStatusCode?: number } };
  const kind = word !== undefined && Object.hasOwn(FAILURES, word) ? FAILURES[word] : undefined;
  return kind ? storeFailure(STORE, kind, name) : statusFailure(STORE, $metadata?.httpStatusCode, name);
}

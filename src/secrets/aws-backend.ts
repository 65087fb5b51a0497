import { GetSecretValueCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";
import { CerverError } from "../protocol/errors.js";
import type { SecretBackend } from "./secret-backend.js";

/** A name or an ARN, then a key of its JSON object. */
const NAME = /^([\w/+=.@:-]{1,512})(?:#(.{1,256}))?$/;

/**
 * AWS Secrets Manager, by the SDK's default chain of credentials and its own variables (`AWS_REGION`, `AWS_PROFILE`,
 * `AWS_ENDPOINT_URL`). `NAME#KEY` is one field of a secret that is a JSON object.
 */
export function awsBackend(): SecretBackend {
  const client = new SecretsManagerClient({ maxAttempts: 2 });
  return {
    name: "aws",
    async fetch(name, signal) {
      const [, id, key] = NAME.exec(name) ?? [];
      if (id === undefined)
        throw new CerverError("invalid_request", "name: this is no name of a secret at AWS.", {
          hint: "For example prod/db, or prod/db#password for a field of a JSON object.",
        });
      let answer: { SecretString?: string | undefined };
      try {
        answer = await client.send(new GetSecretValueCommand({ SecretId: id }), { abortSignal: signal });
      } catch (error) {
        signal.throwIfAborted();
        throw failure(name, error);
      }
      if (answer.SecretString === undefined)
        throw new CerverError("unsupported", `The value of ${name} at AWS is binary.`, {
          hint: "Store it as a text, for example in base64.",
        });
      return {
        name,
        value: key === undefined ? answer.SecretString : field(name, key, answer.SecretString),
        source: "aws",
      };
    },
  };
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

/** AWS's own messages are left out: they can hold account numbers, ARNs and parts of keys. */
function failure(name: string, error: unknown): CerverError {
  const word = (error as { name?: unknown })?.name;
  switch (word) {
    case "ResourceNotFoundException":
      return new CerverError(
        "secret_not_found",
        `There is no secret ${name} at AWS Secrets Manager in this region.`,
        {
          hint: "Check the name and AWS_REGION, or create the secret.",
        },
      );
    case "AccessDeniedException":
    case "DecryptionFailure":
      return new CerverError("secret_refused", `AWS Secrets Manager refuses to give out ${name}.`, {
        hint: "Allow the identity secretsmanager:GetSecretValue on it, and kms:Decrypt on its key.",
      });
    case "ExpiredTokenException":
    case "ExpiredToken":
    case "UnrecognizedClientException":
    case "InvalidSignatureException":
    case "InvalidClientTokenId":
    case "CredentialsProviderError":
    case "TokenProviderError":
      return new CerverError(
        "secret_expired",
        `AWS does not take the credentials that ${name} was asked with.`,
        {
          hint: "Renew them, for example with `aws sso login`, and see that this machine's clock is right.",
        },
      );
    case "ThrottlingException":
    case "TooManyRequestsException":
      return new CerverError("secret_rate_limited", "AWS Secrets Manager was asked too often.", {
        hint: "Wait some seconds, then ask again.",
      });
    default:
      return new CerverError("secret_unreachable", `AWS Secrets Manager gave no answer about ${name}.`, {
        hint: "Check AWS_REGION, AWS_ENDPOINT_URL and this machine's connection, then ask again.",
      });
  }
}

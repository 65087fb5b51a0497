// Asks the system's keychain once: a request as JSON on stdin, an answer as a line of JSON on stdout. It is a process of its
// own because the native module blocks, from its first word with D-Bus to a prompt that nobody answers: a process can be ended.
import type { KeychainAnswer, KeychainRequest } from "./keychain.js";

const SERVICE = "cerver";
/** Elsewhere than in the Secret Service, Linux would keep it in the kernel's keyring, which a restart empties. */
const OPTIONS = { linux: { store: "secret-service" } } as const;

process.stdout.write(`${JSON.stringify(await answer())}\n`);

async function answer(): Promise<KeychainAnswer> {
  try {
    return await ask(JSON.parse(await text(process.stdin)) as KeychainRequest);
  } catch (error) {
    return { error: (error as Error).message };
  }
}

async function ask(request: KeychainRequest): Promise<KeychainAnswer> {
  const { AsyncEntry } = await import("@napi-rs/keyring").catch(() => {
    throw new Error("the package @napi-rs/keyring is not installed for this system");
  });
  const entry = (name: string) => new AsyncEntry(SERVICE, name, OPTIONS);
  switch (request.ask) {
    case "get":
      return { value: (await entry(request.name).getPassword()) ?? null };
    case "put":
      for (const [name, value] of Object.entries(request.entries)) {
        await entry(name).setPassword(value);
        if ((await entry(name).getPassword()) !== value)
          throw new Error("what was kept could not be read back");
      }
      return {};
    case "remove":
      for (const name of request.names) await entry(name).deleteCredential();
      return {};
  }
}

async function text(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

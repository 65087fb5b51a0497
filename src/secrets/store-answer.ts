/** A value of 64 KiB with every character escaped, and what a store says about it. */
const MAX_BYTES = 1_048_576;

/** A store's answer in JSON, up to 1 MiB of it; undefined when it is no JSON. Throws when it is longer. */
export async function jsonAnswer(response: Response): Promise<unknown> {
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for await (const chunk of response.body ?? []) {
    const bytes = chunk as Uint8Array;
    size += bytes.byteLength;
    if (size > MAX_BYTES) throw new Error("The answer is too long.");
    text += decoder.decode(bytes, { stream: true });
  }
  try {
    return JSON.parse(text + decoder.decode());
  } catch {
    return undefined;
  }
}

import type { Run } from "../src/relay/host/run.js";

/** What a run printed, byte by byte, and how it ended. */
export async function resultOf(run: Run) {
  const read = async (pipe: Run["stdout"]) => {
    const chunks: Buffer[] = [];
    for await (const chunk of pipe) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString("latin1");
  };
  const [stdout, stderr, { status, exitCode, signal }] = await Promise.all([
    read(run.stdout),
    read(run.stderr),
    run.ended,
  ]);
  return { status, exitCode, signal, stdout, stderr };
}

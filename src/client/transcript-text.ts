import type { GatewayClient } from "./gateway-client.js";
import type { EntrySource, TranscriptEntry } from "./wire.js";

export * from "../protocol/transcript-text.js";

/** How many entries are fetched at a time. */
const PAGE = 500;

/** Every entry of a session, oldest first, a page at a time; with `min_trust`, those of this source and of more trusted ones. */
export async function* allEntries(
  client: Pick<GatewayClient, "session">,
  sessionId: string,
  from = 0,
  min_trust?: EntrySource,
): AsyncGenerator<TranscriptEntry> {
  for (let since = from; ; ) {
    const { transcript, transcriptTotal } = await client.session(sessionId, {
      since,
      limit: PAGE,
      min_trust,
    });
    yield* transcript;
    since = (transcript.at(-1)?.seq ?? since + transcript.length - 1) + 1;
    if (transcript.length === 0 || since >= (transcriptTotal ?? 0)) return;
  }
}

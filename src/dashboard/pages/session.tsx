import type { TranscriptEntry } from "../../client/index.js";
import { cerver } from "../api.js";
import { StatusBadge } from "../components/badge.js";
import { ErrorLine, ErrorState } from "../components/error-state.js";
import { Facts } from "../components/facts.js";
import { Loading } from "../components/loading.js";
import { PageHeader } from "../components/page-header.js";
import { Time } from "../components/time.js";
import { href } from "../router.js";
import { useLoaded } from "../use-loaded.js";

/** `#sessions/ID`: one session, and its newest entries. */
export function SessionPage({ id }: { id: string }) {
  const { data, error, reload } = useLoaded(
    `session ${id}`,
    (signal) => cerver.session(id, {}, signal),
    (news) => "session_id" in news && news.session_id === id,
  );
  if (!data) {
    return error ? (
      <div className="p-4">
        <ErrorState error={error} retry={reload} />
      </div>
    ) : (
      <Loading what="the session" />
    );
  }
  const { transcript, transcriptTotal = transcript.length } = data;
  return (
    <>
      <PageHeader
        title={data.sessionName}
        about={
          <a className="text-accent" href={href("sessions")}>
            All sessions
          </a>
        }
      />
      <div className="flex flex-col gap-4 px-4 pb-8">
        <ErrorLine error={error} />
        <Facts
          facts={{
            State: (
              <>
                <StatusBadge status={data.status} /> {data.endReason}
              </>
            ),
            Provider: data.provider,
            Compute: data.computeId && <code>{data.computeId}</code>,
            Id: <code>{data.sessionId}</code>,
            Changed: <Time at={data.updatedAt} />,
            Entries:
              transcript.length < transcriptTotal
                ? `${transcriptTotal}, the newest ${transcript.length} below`
                : transcriptTotal,
          }}
        />
        {transcript.map((entry) => (
          <Entry key={entry.seq} entry={entry} />
        ))}
      </div>
    </>
  );
}

function Entry({ entry: { role, kind, content, tool_name, tool_input } }: { entry: TranscriptEntry }) {
  const code = (tool_input as { code?: unknown } | undefined)?.code;
  const called = typeof code === "string" ? code : JSON.stringify(tool_input ?? {}, null, 2);
  return (
    <article>
      <h2 className="text-sm text-soft">
        {role} · {tool_name ?? kind}
      </h2>
      <pre className="whitespace-pre-wrap rounded-md border border-line bg-surface px-3 py-2 [overflow-wrap:anywhere]">
        {kind === "tool_use" ? called : content}
      </pre>
    </article>
  );
}

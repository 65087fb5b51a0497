import { useCallback, useState } from "react";
import type { SessionList, SessionSummary } from "../../client/index.js";
import { asCerverError, cerver } from "../api.js";
import { StatusBadge } from "../components/badge.js";
import { CopyCommand } from "../components/copy-command.js";
import { EmptyState } from "../components/empty-state.js";
import { ErrorLine, ErrorState } from "../components/error-state.js";
import { Loading } from "../components/loading.js";
import { PageHeader } from "../components/page-header.js";
import { Time } from "../components/time.js";
import { toast } from "../components/toast.js";
import { VirtualList } from "../components/virtual-list.js";
import { href } from "../router.js";
import { useLoaded } from "../use-loaded.js";
import type { PageProps } from "./index.js";
import { SessionPage } from "./session.js";

const PAGE_SIZE = 100;

/** `#sessions`: all of the account's sessions, newest first, while they change. */
export default function SessionsPage({ rest, query }: PageProps) {
  return rest[0] ? <SessionPage id={rest[0]} /> : <Sessions status={query.get("status") ?? ""} />;
}

function Sessions({ status }: { status: string }) {
  const filter = status === "" ? {} : { status };
  const first = useLoaded(
    `sessions ${status}`,
    (signal) => cerver.sessions({ limit: PAGE_SIZE, ...filter }, signal),
    (news) => news.type === "session" || news.type === "run" || news.type === "transcript",
  );
  const [more, setMore] = useState<SessionList & { of: string }>();
  const older = more?.of === status ? more : undefined;
  const cursor = older ? older.next_cursor : first.data?.next_cursor;
  const sessions = together(first.data?.sessions, older?.sessions);

  const readOn = useCallback(async () => {
    if (!cursor) return;
    try {
      const page = await cerver.sessions({ limit: PAGE_SIZE, cursor, ...(status !== "" && { status }) });
      setMore((before) => ({
        of: status,
        sessions: [...(before?.of === status ? before.sessions : []), ...page.sessions],
        next_cursor: page.next_cursor,
      }));
    } catch (error) {
      toast(asCerverError(error).message, "bad");
    }
  }, [cursor, status]);

  if (!first.data) {
    return first.error ? (
      <div className="p-4">
        <ErrorState error={first.error} retry={first.reload} />
      </div>
    ) : (
      <Loading what="sessions" lines={10} />
    );
  }
  return (
    <>
      <PageHeader title="Sessions" />
      {first.error && (
        <div className="px-4 pb-3">
          <ErrorLine error={first.error} />
        </div>
      )}
      {sessions.length === 0 ? (
        <EmptyState title="No sessions yet">
          <p className="text-center text-soft">A session binds work to one compute. Start one:</p>
          <CopyCommand text="cerver run 'echo hello'" />
        </EmptyState>
      ) : (
        <div className="px-2 pb-8">
          <VirtualList
            label="Sessions"
            items={sessions}
            keyOf={({ sessionId }) => sessionId}
            estimate={45}
            render={(session) => <SessionRow session={session} />}
            onEnd={readOn}
          />
        </div>
      )}
    </>
  );
}

/** The newest page over what was read on of older ones; none is there twice. */
function together(first: SessionSummary[] = [], older: SessionSummary[] = []): SessionSummary[] {
  const seen = new Set(first.map(({ sessionId }) => sessionId));
  return [...first, ...older.filter(({ sessionId }) => !seen.has(sessionId))];
}

function SessionRow({ session }: { session: SessionSummary }) {
  const { sessionId, sessionName, status, provider, messageCount, updatedAt } = session;
  return (
    <a
      data-row
      href={href("sessions", [sessionId])}
      className="grid grid-cols-[minmax(0,1fr)_auto] items-center gap-x-4 border-line border-b px-2 py-3 -outline-offset-2 hover:bg-raised sm:grid-cols-[minmax(0,1fr)_5rem_6rem_5rem_6rem]"
    >
      <span className="truncate font-medium">{sessionName}</span>
      <span className="justify-self-start">
        <StatusBadge status={status} />
      </span>
      <span className="hidden truncate text-soft sm:block">{provider}</span>
      <span
        className="hidden text-right text-soft tabular-nums sm:block"
        title={`${messageCount} transcript entries`}
      >
        {messageCount}
      </span>
      <span className="hidden text-right text-soft sm:block">
        <Time at={updatedAt} />
      </span>
    </a>
  );
}

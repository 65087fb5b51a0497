import type { Compute } from "../../client/index.js";
import { cerver } from "../api.js";
import { StatusBadge } from "../components/badge.js";
import { CopyCommand } from "../components/copy-command.js";
import { EmptyState } from "../components/empty-state.js";
import { ErrorLine, ErrorState } from "../components/error-state.js";
import { Loading } from "../components/loading.js";
import { PageHeader } from "../components/page-header.js";
import { VirtualList } from "../components/virtual-list.js";
import { useLoaded } from "../use-loaded.js";

/** `#computes`: what is attached to the account, and whether it is there now. */
export default function ComputesPage() {
  const { data, error, reload } = useLoaded(
    "computes",
    () => cerver.computes(),
    (news) => news.type === "compute",
  );
  if (!data) {
    return error ? (
      <div className="p-4">
        <ErrorState error={error} retry={reload} />
      </div>
    ) : (
      <Loading what="computes" />
    );
  }
  return (
    <>
      <PageHeader title="Computes" />
      <ErrorLine error={error} />
      {data.length === 0 ? (
        <EmptyState title="Nothing is attached yet">
          <p className="text-center text-soft">On the machine that you want to use, type</p>
          <CopyCommand text={`cerver relay --gateway ${location.origin}`} />
        </EmptyState>
      ) : (
        <div className="px-2 pb-8">
          <VirtualList
            label="Computes"
            items={data}
            keyOf={({ compute_id }) => compute_id}
            estimate={45}
            render={(compute) => <ComputeRow compute={compute} />}
          />
        </div>
      )}
    </>
  );
}

function ComputeRow({ compute: { compute_id, label, status } }: { compute: Compute }) {
  return (
    <div
      data-row
      tabIndex={-1}
      className="grid grid-cols-[minmax(0,1fr)_auto] items-center gap-x-4 border-line border-b px-2 py-3 sm:grid-cols-[minmax(0,1fr)_6rem_16rem]"
    >
      <span className="truncate font-medium">{label}</span>
      <span>
        <StatusBadge status={status} />
      </span>
      <code className="hidden truncate text-soft sm:block">{compute_id}</code>
    </div>
  );
}
